#include "suanli/model/safetensors.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "suanli/base/text.h"
#include "suanli/model/strict_json.h"

namespace suanli::model {
namespace {

using graph::DType;
using nlohmann::json;

constexpr std::size_t kLengthBytes = 8;
constexpr std::size_t kAlignment = 64;  // of the data in files that we write
constexpr int kMaxDepth = 3;            // {"name": {"shape": [
constexpr std::string_view kMetadataKey = "__metadata__";
constexpr std::string_view kRestore = "restore the file from a copy or download it again";

struct DTypeName {
  std::string_view name;
  DType dtype;
};
constexpr DTypeName kDTypes[] = {{"F32", DType::f32},
                                 {"BF16", DType::bf16},
                                 {"I32", DType::i32},
                                 {"I64", DType::i64},
                                 {"U8", DType::u8}};
// Of the format, but not of suanli.
constexpr std::string_view kOtherDTypes[] = {"BOOL", "I8",  "F8_E5M2", "F8_E4M3", "I16",
                                             "U16",  "F16", "U32",     "F64",     "U64"};

std::string_view file_name_of(DType dtype) {
  return std::ranges::find(kDTypes, dtype, &DTypeName::dtype)->name;
}

tl::unexpected<Error> refuse(ErrorCode code, std::string_view place, std::string message) {
  return fail(code, std::move(message), std::string(place), std::string(kRestore));
}

std::string quote(std::string_view name) { return "'" + printable(name) + "'"; }

// One place for the messages about one tensor.
struct Context {
  std::string_view place, tensor;
  tl::unexpected<Error> corrupt(const std::string& message) const {
    return refuse(ErrorCode::corrupt, place, "tensor " + quote(tensor) + " " + message);
  }
};

struct Entry {
  TensorView view;
  std::uint64_t begin = 0, end = 0;  // bytes in the data
};

Result<std::string_view> find_header(ByteSpan bytes, std::string_view place) {
  if (bytes.empty()) return refuse(ErrorCode::empty, place, "the file is empty");
  if (bytes.size() < kLengthBytes)
    return refuse(ErrorCode::corrupt, place,
                  "the file ends after " + std::to_string(bytes.size()) +
                      " bytes, before its header length of 8 bytes");
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i)
    length |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * i);
  if (length > static_cast<std::uint64_t>(kMaxSafetensorsHeader))
    return refuse(ErrorCode::foreign, place,
                  "not a safetensors file: it begins with a header length of " +
                      std::to_string(length) + " bytes, more than " +
                      std::to_string(kMaxSafetensorsHeader));
  if (length > bytes.size() - kLengthBytes)
    return refuse(ErrorCode::corrupt, place,
                  "the header should have " + std::to_string(length) + " bytes but the file has " +
                      std::to_string(bytes.size() - kLengthBytes) + " after its length");
  const auto header = bytes.subspan(kLengthBytes, static_cast<std::size_t>(length));
  const std::string_view text(reinterpret_cast<const char*>(header.data()), header.size());
  if (!text.starts_with('{'))
    return refuse(
        ErrorCode::foreign, place,
        "not a safetensors file: its header begins with " + quote(text.substr(0, 8)) + ", not '{'");
  return text;
}

Result<DType> parse_dtype(const json& entry, const Context& context) {
  const auto field = entry.find("dtype");
  if (field == entry.end() || !field->is_string()) return context.corrupt("has no text 'dtype'");
  const auto& name = field->get_ref<const std::string&>();
  if (const auto* known = std::ranges::find(kDTypes, name, &DTypeName::name);
      known != std::end(kDTypes))
    return known->dtype;
  if (std::ranges::find(kOtherDTypes, name) != std::end(kOtherDTypes))
    return fail(ErrorCode::unsupported,
                "tensor " + quote(context.tensor) + " has dtype " + name +
                    "; suanli reads F32, BF16, I32, I64 and U8",
                std::string(context.place), "convert the tensor to F32 or BF16");
  return context.corrupt("has the unknown dtype " + quote(name));
}

Result<graph::Shape> parse_shape(const json& entry, const Context& context) {
  const auto field = entry.find("shape");
  if (field == entry.end() || !field->is_array()) return context.corrupt("has no list 'shape'");
  graph::Shape shape;
  for (const json& dimension : *field) {
    if (!dimension.is_number_unsigned() ||
        dimension.get<std::uint64_t>() > static_cast<std::uint64_t>(graph::kMaxElements))
      return context.corrupt("has the dimension " + printable(dimension.dump()) +
                             " in its shape, not a whole number from 0 to " +
                             std::to_string(graph::kMaxElements));
    shape.push_back(dimension.get<std::int64_t>());
  }
  if (!graph::is_valid(shape))
    return context.corrupt("has the shape " + printable(field->dump()) +
                           " with too many dimensions or elements");
  return shape;
}

Result<Entry> parse_entry(const std::string& name, const json& entry, ByteSpan data,
                          std::string_view place) {
  const Context context{place, name};
  if (!entry.is_object()) return context.corrupt("is described by no JSON object");
  SUANLI_ASSIGN_OR_RETURN(DType dtype, parse_dtype(entry, context));
  SUANLI_ASSIGN_OR_RETURN(graph::Shape shape, parse_shape(entry, context));
  const auto offsets = entry.find("data_offsets");
  if (offsets == entry.end() || !offsets->is_array() || offsets->size() != 2 ||
      !(*offsets)[0].is_number_unsigned() || !(*offsets)[1].is_number_unsigned())
    return context.corrupt("has no 'data_offsets' of two whole numbers");

  Entry result{{name, {dtype, std::move(shape)}, {}},
               (*offsets)[0].get<std::uint64_t>(),
               (*offsets)[1].get<std::uint64_t>()};
  const std::string range =
      "has data_offsets " + std::to_string(result.begin) + " to " + std::to_string(result.end);
  if (result.begin > result.end) return context.corrupt(range + ", which run backwards");
  if (result.end > data.size())
    return context.corrupt(range + " but the file holds " + std::to_string(data.size()) +
                           " bytes of data");
  const auto size = static_cast<std::uint64_t>(result.view.type.bytes().value());
  if (result.end - result.begin != size)
    return context.corrupt(range + " but its type " + result.view.type.to_string() + " takes " +
                           std::to_string(size) + " bytes");
  result.view.data = data.subspan(static_cast<std::size_t>(result.begin),
                                  static_cast<std::size_t>(result.end - result.begin));
  return result;
}

// Sorts by offset. Each tensor begins where the one before it ends, and the last one ends with the
// file.
Status check_packing(std::vector<Entry>& entries, std::size_t data_size, std::string_view place) {
  std::ranges::sort(entries, {}, [](const Entry& e) { return std::tie(e.begin, e.end); });
  std::uint64_t position = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != position)
      return Context{place, entry.view.name}.corrupt(
          "begins at data byte " + std::to_string(entry.begin) +
          (entry.begin < position ? " inside the tensor before it, which ends at "
                                  : " and leaves a hole after ") +
          std::to_string(position));
    position = entry.end;
  }
  if (position != data_size)
    return refuse(ErrorCode::corrupt, place,
                  "the tensors end at data byte " + std::to_string(position) +
                      " but the file holds " + std::to_string(data_size) + " bytes of data");
  return {};
}

Result<std::map<std::string, std::string>> parse_metadata(const json& field,
                                                          std::string_view place) {
  if (!field.is_object())
    return refuse(ErrorCode::corrupt, place, "'__metadata__' is not a JSON object");
  std::map<std::string, std::string> metadata;
  for (const auto& [key, value] : field.items()) {
    if (!value.is_string())
      return refuse(ErrorCode::corrupt, place,
                    "'__metadata__' holds " + quote(key) + ", which is not text");
    metadata.emplace(key, value.get<std::string>());
  }
  return metadata;
}

}  // namespace

const TensorView* Safetensors::find(std::string_view name) const {
  const auto found = std::ranges::find(tensors, name, &TensorView::name);
  return found == tensors.end() ? nullptr : &*found;
}

Result<Safetensors> parse_safetensors(ByteSpan bytes, std::string_view place) {
  SUANLI_ASSIGN_OR_RETURN(std::string_view text, find_header(bytes, place));
  SUANLI_ASSIGN_OR_RETURN(json header, parse_strict_json(text, place, kMaxDepth));

  Safetensors result;
  result.header_bytes = kLengthBytes + text.size();
  const ByteSpan data = bytes.subspan(result.header_bytes);
  std::vector<Entry> entries;
  for (const auto& [name, field] : header.items()) {
    if (name == kMetadataKey) {
      SUANLI_ASSIGN_OR_RETURN(result.metadata, parse_metadata(field, place));
      continue;
    }
    SUANLI_ASSIGN_OR_RETURN(Entry entry, parse_entry(name, field, data, place));
    entries.push_back(std::move(entry));
  }
  SUANLI_RETURN_IF_ERROR(check_packing(entries, data.size(), place));
  for (Entry& entry : entries) result.tensors.push_back(std::move(entry.view));
  return result;
}

std::string safetensors_header(std::span<const TensorView> tensors,
                               const std::map<std::string, std::string>& metadata) {
  std::string text(kLengthBytes, '\0');
  text += '{';
  if (!metadata.empty()) text += json(kMetadataKey).dump() + ":" + json(metadata).dump();
  std::set<std::string_view> names{kMetadataKey};
  std::int64_t offset = 0;
  for (const TensorView& tensor : tensors) {
    SUANLI_CHECK(names.insert(tensor.name).second);
    SUANLI_CHECK(static_cast<std::int64_t>(tensor.data.size()) == tensor.type.bytes().value());
    const std::int64_t end = offset + tensor.type.bytes().value();
    text += text.size() == kLengthBytes + 1 ? "" : ",";
    text += json(tensor.name).dump() + ":{\"dtype\":\"" +
            std::string(file_name_of(tensor.type.dtype)) +
            "\",\"shape\":" + json(tensor.type.shape).dump() + ",\"data_offsets\":[" +
            std::to_string(offset) + "," + std::to_string(end) + "]}";
    offset = end;
  }
  text += '}';
  text.append((kAlignment - text.size() % kAlignment) % kAlignment, ' ');
  const std::uint64_t length = text.size() - kLengthBytes;
  SUANLI_CHECK(length <= static_cast<std::uint64_t>(kMaxSafetensorsHeader));
  for (std::size_t i = 0; i < kLengthBytes; ++i) text[i] = static_cast<char>(length >> (8 * i));
  return text;
}

Status write_safetensors(AtomicFile& file, std::span<const TensorView> tensors,
                         const std::map<std::string, std::string>& metadata) {
  SUANLI_RETURN_IF_ERROR(file.write(as_bytes(safetensors_header(tensors, metadata))));
  for (const TensorView& tensor : tensors) SUANLI_RETURN_IF_ERROR(file.write(tensor.data));
  return {};
}

Status save_safetensors(const std::string& path, std::span<const TensorView> tensors,
                        const std::map<std::string, std::string>& metadata) {
  SUANLI_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(path));
  SUANLI_RETURN_IF_ERROR(write_safetensors(file, tensors, metadata));
  return file.commit();
}

}  // namespace suanli::model
