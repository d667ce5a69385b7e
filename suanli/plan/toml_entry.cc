#include "suanli/plan/toml_entry.h"

#include <algorithm>
#include <cmath>

#include "suanli/base/text.h"

namespace suanli::plan {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{1} << 20;

std::string line_of(const std::string& place, const toml::source_region& source) {
  return place + ":" + std::to_string(source.begin.line);
}

std::string shown(const toml::node& node) {
  if (const auto* text = node.as_string()) return "'" + printable(text->get()) + "'";
  if (const auto* integer = node.as_integer()) return std::to_string(integer->get());
  if (const auto* real = node.as_floating_point()) return format("%.9g", real->get());
  if (const auto* truth = node.as_boolean()) return truth->get() ? "true" : "false";
  if (node.is_table()) return "a table";
  return node.is_array() ? "a list" : "a date or time";
}

std::string text_of(const NumberRange& range) {
  const std::string least = std::string(range.open_least ? "above " : "at least ") + format("%.6g", range.least);
  return "a number " + least + (range.most < 1e300 ? " and at most " + format("%.6g", range.most) : "");
}

std::optional<double> number_in(const toml::node& node) {
  if (const auto* integer = node.as_integer()) return static_cast<double>(integer->get());
  if (const auto* real = node.as_floating_point()) return real->get();
  return std::nullopt;
}

}  // namespace

const toml::node* TomlEntry::take(std::string_view key) {
  asked_.emplace_back(key);
  return table_.get(key);
}

std::string TomlEntry::place_of(std::string_view key) const {
  const toml::node* node = table_.get(key);
  return line_of(place_, node ? node->source() : table_.source());
}

tl::unexpected<Error> TomlEntry::wrong(std::string_view key, const std::string& what, const std::string& next_step) const {
  return fail(ErrorCode::config, name_of(key) + " " + what, place_of(key),
              next_step.empty() ? "correct the value" : next_step);
}

tl::unexpected<Error> TomlEntry::missing(std::string_view key) const {
  return fail(ErrorCode::config, name_of(key) + " is missing", place_of(key), "add the key");
}

tl::unexpected<Error> TomlEntry::wrong_type(std::string_view key, const std::string& expected) const {
  return wrong(key, "is " + shown(*table_.get(key)) + " but should be " + expected);
}

Result<std::optional<std::string>> TomlEntry::optional_text(std::string_view key) {
  const toml::node* node = take(key);
  if (!node) return std::nullopt;
  const auto* text = node->as_string();
  if (!text || text->get().empty()) return wrong_type(key, "a text that is not empty");
  return text->get();
}

Result<std::string> TomlEntry::text(std::string_view key) {
  SUANLI_ASSIGN_OR_RETURN(auto found, optional_text(key));
  if (!found) return missing(key);
  return *std::move(found);
}

Result<std::optional<double>> TomlEntry::optional_number(std::string_view key, const NumberRange& range) {
  const toml::node* node = take(key);
  if (!node) return std::nullopt;
  const auto value = number_in(*node);
  if (!value || !std::isfinite(*value) || *value < range.least || (range.open_least && *value == range.least) ||
      *value > range.most)
    return wrong_type(key, text_of(range));
  return value;
}

Result<double> TomlEntry::number(std::string_view key, const NumberRange& range) {
  SUANLI_ASSIGN_OR_RETURN(const auto found, optional_number(key, range));
  if (!found) return missing(key);
  return *found;
}

Result<std::int64_t> TomlEntry::integer(std::string_view key, std::int64_t least, std::int64_t most) {
  const toml::node* node = take(key);
  if (!node) return missing(key);
  const auto* integer = node->as_integer();
  if (!integer || integer->get() < least || integer->get() > most)
    return wrong_type(key, "a whole number from " + format_count(least) + " to " + format_count(most));
  return integer->get();
}

Result<std::vector<std::string>> TomlEntry::optional_texts(std::string_view key) {
  const toml::node* node = take(key);
  std::vector<std::string> texts;
  if (!node) return texts;
  const auto* list = node->as_array();
  if (!list) return wrong_type(key, "a list of texts");
  for (const toml::node& each : *list) {
    const auto* text = each.as_string();
    if (!text || text->get().empty()) return wrong(key, "holds " + shown(each) + " but should hold texts alone");
    texts.push_back(text->get());
  }
  return texts;
}

Status TomlEntry::finish() const {
  for (const auto& [key, node] : table_) {
    if (std::ranges::find(asked_, key.str()) != asked_.end()) continue;
    std::string known;
    for (const std::string& each : asked_) known += (known.empty() ? "" : ", ") + each;
    return fail(ErrorCode::config,
                "there is no key '" + printable(section_ + "." + std::string(key.str())) + "'" + did_you_mean(key.str(), asked_),
                line_of(place_, key.source()), "known are " + known);
  }
  return {};
}

Status read_toml_entries(std::string_view text, const std::string& place, const std::vector<std::string>& sections,
                         const std::function<Status(const std::string& section, TomlEntry& entry)>& read) {
  if (text.size() > kMaxBytes)
    return fail(ErrorCode::config, "the file has " + std::to_string(text.size()) + " bytes, more than 1 MiB", place,
                "name another file");
  toml::table table;
  try {
    table = toml::parse(text);
  } catch (const toml::parse_error& error) {
    return fail(ErrorCode::config, "the file is not TOML: " + printable(error.description()),
                line_of(place, error.source()), "correct that line");
  }
  for (const auto& [name, node] : table) {
    const std::string section(name.str());
    const std::string line = line_of(place, name.source());
    if (std::ranges::find(sections, section) == sections.end())
      return fail(ErrorCode::config, "there is no section '" + printable(section) + "'" + did_you_mean(section, sections), line,
                  "write [[" + sections.front() + "]] and its keys below it");
    const auto* entries = node.as_array();
    if (!entries || !entries->is_homogeneous(toml::node_type::table))
      return fail(ErrorCode::config, "'" + section + "' is not a list of tables", line, "write [[" + section + "]]");
    for (const toml::node& each : *entries) {
      TomlEntry entry(*each.as_table(), place, section);
      SUANLI_RETURN_IF_ERROR(read(section, entry));
    }
  }
  return {};
}

}  // namespace suanli::plan
