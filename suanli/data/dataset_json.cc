// dataset.json: its text form and all the checks that need no other file (docs/formats/dataset.md).
#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "suanli/base/text.h"
#include "suanli/data/dataset.h"

namespace suanli::data {
namespace {

using Json = nlohmann::json;
// Keeps the order of keys, for people; slow on many keys, so never for what others wrote.
using PrintedJson = nlohmann::ordered_json;

constexpr const char* kFormat = "suanli dataset";
constexpr std::uint64_t kVersion = 1;
constexpr std::uint64_t kMaxTokens = std::uint64_t{1}
                                     << 60;  // so that no sum of a sane dataset overflows
constexpr std::size_t kMaxShards = 1 << 20;

// Reads the members of a JSON object; the first thing wrong is kept as the error and the rest reads
// as empty.
class Reader {
 public:
  explicit Reader(std::string place) : place_(std::move(place)) {}

  const Json& member(const Json& object, const char* key) {
    static const Json kNothing;
    if (!object.is_object())
      return wrong(std::string("an object with '") + key + "' was expected"), kNothing;
    const auto found = object.find(key);
    if (found == object.end())
      return wrong(std::string("the key '") + key + "' is missing"), kNothing;
    return *found;
  }
  std::uint64_t number(const Json& object, const char* key) {
    const Json& value = member(object, key);
    if (value.is_number_unsigned() && value.get<std::uint64_t>() <= kMaxTokens)
      return value.get<std::uint64_t>();
    wrong_value(key, "a whole number from 0 to 2^60", value);
    return 0;
  }
  std::string text(const Json& object, const char* key) {
    const Json& value = member(object, key);
    if (value.is_string()) return value.get<std::string>();
    wrong_value(key, "a text", value);
    return {};
  }
  Digest digest(const Json& object, const char* key) {
    const std::string hex = text(object, key);
    if (error_) return {};
    auto digest = Digest::from_hex(hex);
    if (digest) return *digest;
    wrong(std::string("'") + key + "' is '" + printable(hex) + "', not 64 hexadecimal digits");
    return {};
  }
  const Json& list(const Json& object, const char* key) {
    static const Json kEmptyList = Json::array();
    const Json& value = member(object, key);
    if (value.is_array() && value.size() <= kMaxShards) return value;
    wrong_value(key, "a list", value);
    return kEmptyList;
  }
  void wrong(std::string message) {
    if (!error_) {
      error_ = Error{ErrorCode::corrupt, std::move(message), place_,
                     "make the dataset again with `suanli data load`"};
    }
  }
  const std::optional<Error>& error() const { return error_; }

 private:
  void wrong_value(const char* key, const char* expected, const Json& value) {
    wrong(std::string("'") + key + "' must be " + expected + ", not a " + value.type_name());
  }
  std::string place_;
  std::optional<Error> error_;
};

// A name that cannot lead out of the dataset's folder.
bool plain_name(std::string_view name) {
  return !name.empty() && name.size() <= 255 && name.front() != '.' &&
         name.find('/') == std::string_view::npos && name.find('\0') == std::string_view::npos;
}

ShardEntry read_shard(Reader& reader, const Json& json, std::set<std::string>& names) {
  ShardEntry entry{reader.text(json, "file"), reader.digest(json, "digest"),
                   reader.number(json, "tokens"), reader.number(json, "documents")};
  if (!plain_name(entry.file))
    reader.wrong("the shard name '" + printable(entry.file) + "' is not a plain file name");
  if (!names.insert(entry.file).second)
    reader.wrong("the shard '" + printable(entry.file) + "' is listed twice");
  return entry;
}

// Sums are printed for people and must hold, so that a hand-edited list shows.
void check_totals(Reader& reader, const DatasetInfo& info, const Json& json) {
  const Json& totals = reader.member(json, "totals");
  for (const Split split : kSplits) {
    const std::string name(name_of(split));
    const Json& total = reader.member(totals, name.c_str());
    if (reader.number(total, "tokens") != info.tokens(split) ||
        reader.number(total, "documents") != info.documents(split)) {
      reader.wrong("the totals of split '" + name + "' are not the sums over its shards");
    }
  }
}

Status check_kind(const Json& json, const std::string& place) {
  const bool ours = json.is_object() && json.contains("format") && json["format"].is_string() &&
                    json["format"].get_ref<const std::string&>() == kFormat;
  if (!ours) {
    return fail(ErrorCode::foreign,
                std::string("this JSON is no dataset: its \"format\" is not \"") + kFormat + "\"",
                place, "give a folder that `suanli data load` made");
  }
  if (!json.contains("version") || json["version"] != kVersion) {
    const std::string found =
        json.contains("version") ? printable(json["version"].dump(), 40) : "missing";
    return fail(ErrorCode::version,
                "the dataset's format version is " + found + ", this build reads version 1", place,
                "use the build of suanli that made it, or make the dataset again");
  }
  return {};
}

PrintedJson split_to_json(const DatasetInfo& info, Split split) {
  PrintedJson list = PrintedJson::array();
  for (const ShardEntry& shard : info.of(split)) {
    list.push_back({{"file", shard.file},
                    {"digest", shard.digest.hex()},
                    {"tokens", shard.tokens},
                    {"documents", shard.documents}});
  }
  return list;
}

}  // namespace

Result<DatasetInfo> parse_dataset(std::string_view text, const std::string& place) {
  if (text.empty())
    return fail(ErrorCode::empty, "the file has 0 bytes", place,
                "make the dataset again with `suanli data load`");
  Json json;
  try {
    json = Json::parse(text);
  } catch (const Json::exception& error) {
    return fail(ErrorCode::corrupt, "this is not valid JSON: " + printable(error.what(), 200),
                place, "make the dataset again with `suanli data load`");
  }
  SUANLI_RETURN_IF_ERROR(check_kind(json, place));
  Reader reader(place);
  DatasetInfo info;
  info.tokenizer = reader.text(json, "tokenizer");
  info.vocab = reader.number(json, "vocab");
  if (reader.number(json, "document_end") != std::to_integer<std::uint64_t>(kDocumentEnd)) {
    reader.wrong("'document_end' must be 0, the only one of version 1");
  }
  const Json& splits = reader.member(json, "splits");
  std::set<std::string> names;
  for (const Split split : kSplits) {
    for (const Json& shard : reader.list(splits, std::string(name_of(split)).c_str())) {
      if (reader.error()) break;
      info.of(split).push_back(read_shard(reader, shard, names));
    }
  }
  check_totals(reader, info, json);
  for (const Json& source : reader.list(json, "sources")) {
    if (reader.error()) break;
    info.sources.push_back({reader.text(source, "path"), reader.number(source, "bytes"),
                            reader.number(source, "documents")});
  }
  if (reader.digest(json, "digest") != info.digest())
    reader.wrong("the digest is not that of the listed shards");
  if (reader.error()) return tl::unexpected(*reader.error());
  if (info.tokenizer != "bytes" || info.vocab != kByteVocab) {
    return fail(ErrorCode::unsupported,
                "the tokenizer is '" + printable(info.tokenizer) + "' with " +
                    std::to_string(info.vocab) + " tokens; this build knows 'bytes' with 256",
                place, "make the dataset again with `suanli data load`");
  }
  return info;
}

std::string print_dataset(const DatasetInfo& info) {
  PrintedJson json{{"format", kFormat},
                   {"version", kVersion},
                   {"digest", info.digest().hex()},
                   {"tokenizer", info.tokenizer},
                   {"vocab", info.vocab},
                   {"document_end", std::to_integer<int>(kDocumentEnd)}};
  for (const Split split : kSplits) {
    const std::string name(name_of(split));
    json["splits"][name] = split_to_json(info, split);
    json["totals"][name] = {{"tokens", info.tokens(split)}, {"documents", info.documents(split)}};
  }
  json["sources"] = PrintedJson::array();
  for (const SourceEntry& source : info.sources) {
    json["sources"].push_back(
        {{"path", source.path}, {"bytes", source.bytes}, {"documents", source.documents}});
  }
  // Paths may hold bytes that are no UTF-8; JSON cannot.
  return json.dump(2, ' ', false, PrintedJson::error_handler_t::replace) + "\n";
}

}  // namespace suanli::data
