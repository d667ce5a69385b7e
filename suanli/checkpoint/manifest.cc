#include "suanli/checkpoint/manifest.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "suanli/base/text.h"
#include "suanli/model/strict_json.h"

namespace suanli::checkpoint {
namespace {

using nlohmann::json;

constexpr std::string_view kFormat = "suanli checkpoint";
// The end of every manifest of every version: SHA-256 of all bytes before this line.
constexpr std::string_view kSealStart = "  \"sha256\": \"";
constexpr std::string_view kSealEnd = "\"\n}\n";
constexpr std::size_t kSealBytes = kSealStart.size() + 64 + kSealEnd.size();
constexpr int kMaxDepth = 64;  // of the meta part
constexpr std::string_view kRestore =
    "restore the file from a copy, or go back to an older snapshot";

tl::unexpected<Error> refuse(ErrorCode code, std::string_view place, std::string message) {
  return fail(code, std::move(message), std::string(place), std::string(kRestore));
}

// Reads fields of one JSON object; `where` names the object in errors.
class Fields {
 public:
  Fields(const json& object, std::string_view place, std::string where)
      : object_(object), place_(place), where_(std::move(where)) {}

  Result<std::int64_t> whole(const char* key) const {
    const auto field = object_.find(key);
    if (field == object_.end() || !field->is_number_unsigned() ||
        field->get<std::uint64_t>() > std::uint64_t{INT64_MAX})
      return wrong(key, "a whole number");
    return field->get<std::int64_t>();
  }

  Result<std::string> text(const char* key) const {
    const auto field = object_.find(key);
    if (field == object_.end() || !field->is_string()) return wrong(key, "text");
    return field->get<std::string>();
  }

  Result<Digest> digest(const char* key) const {
    SUANLI_ASSIGN_OR_RETURN(std::string hex, text(key));
    auto digest = Digest::from_hex(hex);
    if (!digest) return wrong(key, "a SHA-256 of 64 hexadecimal digits");
    return *digest;
  }

  Result<const json*> object(const char* key) const {
    const auto field = object_.find(key);
    if (field == object_.end() || !field->is_object()) return wrong(key, "an object");
    return &*field;
  }

  Result<const json*> list(const char* key) const {
    const auto field = object_.find(key);
    if (field == object_.end() || !field->is_array()) return wrong(key, "a list");
    return &*field;
  }

  tl::unexpected<Error> wrong(const char* key, std::string_view expected) const {
    const auto field = object_.find(key);
    const std::string found = field == object_.end() ? "missing" : printable(field->dump(), 60);
    return refuse(ErrorCode::corrupt, place_,
                  "'" + std::string(key) + "' of " + where_ + " is " + found + " where " +
                      std::string(expected) + " belongs");
  }

 private:
  const json& object_;
  std::string_view place_;
  std::string where_;
};

bool is_sealed(std::string_view text) {
  return text.size() >= kSealBytes && text.ends_with(kSealEnd) &&
         text.substr(text.size() - kSealBytes).starts_with(kSealStart);
}

Status check_seal(std::string_view text, std::string_view place) {
  if (!is_sealed(text))
    return refuse(ErrorCode::corrupt, place,
                  "the manifest does not end with the line of its SHA-256 (truncated or edited)");
  const std::string_view body = internal::unsealed(text);
  const std::string_view promised = text.substr(body.size() + kSealStart.size(), 64);
  if (const std::string found = sha256(body).hex(); found != promised)
    return refuse(
        ErrorCode::corrupt, place,
        "the manifest has SHA-256 " + found + " but its last line says " + printable(promised));
  return {};
}

Result<TensorEntry> parse_tensor(const json& object, std::size_t index, std::string_view place) {
  const std::string where = "tensor number " + std::to_string(index);
  if (!object.is_object())
    return refuse(ErrorCode::corrupt, place, where + " is described by no JSON object");
  const Fields fields(object, place, where);
  TensorEntry entry;
  SUANLI_ASSIGN_OR_RETURN(entry.name, fields.text("name"));
  SUANLI_ASSIGN_OR_RETURN(std::string dtype_name, fields.text("dtype"));
  const auto dtype = graph::dtype_from_name(dtype_name);
  if (!dtype) return fields.wrong("dtype", "f32, bf16, i32, i64 or u8");
  entry.type.dtype = *dtype;
  SUANLI_ASSIGN_OR_RETURN(const json* shape, fields.list("shape"));
  for (const json& dimension : *shape) {
    if (!dimension.is_number_unsigned() ||
        dimension.get<std::uint64_t>() > static_cast<std::uint64_t>(graph::kMaxElements))
      return fields.wrong("shape", "a list of dimensions");
    entry.type.shape.push_back(dimension.get<std::int64_t>());
  }
  if (!graph::is_valid(entry.type.shape)) return fields.wrong("shape", "a possible shape");
  SUANLI_ASSIGN_OR_RETURN(entry.digest, fields.digest("sha256"));
  return entry;
}

Status parse_tensors(const json& list, Manifest& manifest, std::string_view place) {
  std::set<std::string_view> names;
  std::int64_t total = manifest.header_bytes.value();
  manifest.tensors.reserve(list.size());
  for (const json& object : list) {
    SUANLI_ASSIGN_OR_RETURN(TensorEntry entry,
                            parse_tensor(object, manifest.tensors.size(), place));
    const std::int64_t room = manifest.data_bytes.value() - total;
    if (room < entry.type.bytes().value())
      return refuse(ErrorCode::corrupt, place,
                    "tensor '" + printable(entry.name) + "' of type " + entry.type.to_string() +
                        " does not fit into the " + std::to_string(manifest.data_bytes.value()) +
                        " bytes of the data file");
    total += entry.type.bytes().value();
    manifest.tensors.push_back(std::move(entry));
    if (!names.insert(manifest.tensors.back().name).second)
      return refuse(ErrorCode::corrupt, place,
                    "tensor '" + printable(manifest.tensors.back().name) + "' is listed twice");
  }
  if (total != manifest.data_bytes.value())
    return refuse(ErrorCode::corrupt, place,
                  "the tensors make " + std::to_string(total) + " bytes of data but 'bytes' says " +
                      std::to_string(manifest.data_bytes.value()));
  return {};
}

Result<Manifest> parse_body(const json& document, std::string_view place) {
  const Fields fields(document, place, "the manifest");
  Manifest manifest;
  SUANLI_ASSIGN_OR_RETURN(manifest.step, fields.whole("step"));
  SUANLI_ASSIGN_OR_RETURN(const json* data, fields.object("data"));
  const Fields data_fields(*data, place, "'data'");
  SUANLI_ASSIGN_OR_RETURN(std::int64_t data_bytes, data_fields.whole("bytes"));
  SUANLI_ASSIGN_OR_RETURN(std::int64_t header_bytes, data_fields.whole("header_bytes"));
  if (header_bytes > data_bytes) return data_fields.wrong("header_bytes", "at most 'bytes'");
  manifest.data_bytes = Bytes(data_bytes);
  manifest.header_bytes = Bytes(header_bytes);
  SUANLI_ASSIGN_OR_RETURN(manifest.header_digest, data_fields.digest("header_sha256"));
  SUANLI_ASSIGN_OR_RETURN(const json* tensors, fields.list("tensors"));
  SUANLI_RETURN_IF_ERROR(parse_tensors(*tensors, manifest, place));
  SUANLI_ASSIGN_OR_RETURN(Digest root, fields.digest("root"));
  if (const Digest found = state_root(manifest.tensors); found != root)
    return refuse(ErrorCode::corrupt, place,
                  "the tensors have the root " + found.hex() + " but 'root' says " + root.hex());
  SUANLI_ASSIGN_OR_RETURN(const json* meta, fields.object("meta"));
  manifest.meta_json = meta->dump();
  return manifest;
}

std::string tensor_line(const TensorEntry& entry) {
  return "    {\"name\": " + json(entry.name).dump() + ", \"dtype\": \"" +
         std::string(name_of(entry.type.dtype)) +
         "\", \"shape\": " + json(entry.type.shape).dump() + ", \"sha256\": \"" +
         entry.digest.hex() + "\"}";
}

}  // namespace

namespace internal {

std::string seal(std::string body) {
  const std::string digest = sha256(body).hex();
  return std::move(body) + std::string(kSealStart) + digest + std::string(kSealEnd);
}

std::string_view unsealed(std::string_view text) {
  return is_sealed(text) ? text.substr(0, text.size() - kSealBytes) : text;
}

}  // namespace internal

Digest state_root(const std::vector<TensorEntry>& tensors) {
  std::vector<const TensorEntry*> sorted;
  for (const TensorEntry& entry : tensors) sorted.push_back(&entry);
  std::ranges::sort(sorted, {}, [](const TensorEntry* entry) { return entry->name; });
  std::vector<Digest> leaves;
  for (const TensorEntry* entry : sorted) {
    Sha256 leaf;
    leaf.update_u64(entry->name.size());
    leaf.update(entry->name);
    const std::string_view dtype = name_of(entry->type.dtype);
    leaf.update_u64(dtype.size());
    leaf.update(dtype);
    leaf.update_u64(entry->type.shape.size());
    for (std::int64_t dimension : entry->type.shape)
      leaf.update_u64(static_cast<std::uint64_t>(dimension));
    leaf.update(entry->digest.bytes);
    leaves.push_back(leaf.finish());
  }
  return merkle_root(leaves);
}

Manifest describe(const Snapshot& snapshot, std::string_view header) {
  SUANLI_CHECK(snapshot.step >= 0);
  Manifest manifest;
  manifest.step = snapshot.step;
  manifest.header_bytes = manifest.data_bytes = Bytes(static_cast<std::int64_t>(header.size()));
  manifest.header_digest = sha256(header);
  for (const NamedTensor& tensor : snapshot.tensors) {
    manifest.tensors.push_back({tensor.name, tensor.type, sha256(tensor.bytes())});
    manifest.data_bytes += tensor.type.bytes();
  }
  const auto meta = model::parse_strict_json(snapshot.meta_json, "meta", kMaxDepth - 1);
  SUANLI_CHECK(meta && meta->is_object());
  manifest.meta_json = meta->dump();
  return manifest;
}

std::string to_text(const Manifest& manifest) {
  std::string text = "{\n  \"format\": " + json(kFormat).dump() +
                     ",\n  \"version\": " + std::to_string(kManifestVersion) +
                     ",\n  \"step\": " + std::to_string(manifest.step) +
                     ",\n  \"data\": {\"bytes\": " + std::to_string(manifest.data_bytes.value()) +
                     ", \"header_bytes\": " + std::to_string(manifest.header_bytes.value()) +
                     ", \"header_sha256\": \"" + manifest.header_digest.hex() + "\"}" +
                     ",\n  \"tensors\": [";
  for (std::size_t i = 0; i < manifest.tensors.size(); ++i)
    text += (i == 0 ? "\n" : ",\n") + tensor_line(manifest.tensors[i]);
  text += "\n  ],\n  \"root\": \"" + state_root(manifest.tensors).hex() +
          "\",\n  \"meta\": " + manifest.meta_json + ",\n";
  return internal::seal(std::move(text));
}

Result<Manifest> parse_manifest(std::string_view text, std::string_view place) {
  if (text.empty()) return refuse(ErrorCode::empty, place, "the manifest is empty");
  if (!text.starts_with('{'))
    return refuse(ErrorCode::foreign, place,
                  "not a suanli manifest: it begins with '" + printable(text.substr(0, 8)) + "'");
  SUANLI_ASSIGN_OR_RETURN(json document, model::parse_strict_json(text, place, kMaxDepth));
  const auto format = document.find("format");
  if (format == document.end() || *format != kFormat)
    return refuse(ErrorCode::foreign, place,
                  "not a suanli manifest: its 'format' is " +
                      (format == document.end() ? "missing" : printable(format->dump(), 60)));
  SUANLI_RETURN_IF_ERROR(check_seal(text, place));
  SUANLI_ASSIGN_OR_RETURN(std::int64_t version,
                          Fields(document, place, "the manifest").whole("version"));
  if (version != kManifestVersion)
    return fail(ErrorCode::version,
                "the manifest has format version " + std::to_string(version) +
                    " but this build knows only version " + std::to_string(kManifestVersion),
                std::string(place), "use the suanli that wrote the snapshot, or a newer one");
  return parse_body(document, place);
}

}  // namespace suanli::checkpoint
