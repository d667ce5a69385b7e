// Strict reading of the tables of a TOML file: each key known, of the right type and range; errors name line, key and value.
// A table whose keys were all taken is finished with `finish()`, which refuses what was not asked for.
//
//   TomlEntry entry(table, "prices.toml", "electricity");
//   SUANLI_ASSIGN_OR_RETURN(price.name, entry.text("name"));
//   SUANLI_ASSIGN_OR_RETURN(price.low, entry.number("low", {.least = 0, .open_least = true}));
//   SUANLI_RETURN_IF_ERROR(entry.finish());
#pragma once

#include <toml++/toml.h>

#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/error.h"

namespace suanli::plan {

struct NumberRange {
  double least = 0;
  double most = std::numeric_limits<double>::max();
  bool open_least = false;  // `least` itself is not allowed
};

class TomlEntry {
 public:
  // `place` names the file, `section` the table in it. The table outlives the object.
  TomlEntry(const toml::table& table, std::string place, std::string section)
      : table_(table), place_(std::move(place)), section_(std::move(section)) {}

  bool has(std::string_view key) const { return table_.contains(key); }
  // Required. Text is never empty.
  Result<std::string> text(std::string_view key);
  Result<double> number(std::string_view key, const NumberRange& range);
  Result<std::int64_t> integer(std::string_view key, std::int64_t least, std::int64_t most);
  // Nothing if the key is absent.
  Result<std::optional<std::string>> optional_text(std::string_view key);
  Result<std::optional<double>> optional_number(std::string_view key, const NumberRange& range);
  Result<std::vector<std::string>> optional_texts(std::string_view key);

  // No key is left that nobody asked for.
  Status finish() const;

  // "prices.toml:12" of the key, or of the table if it is not there.
  std::string place_of(std::string_view key) const;
  // "'electricity.low'".
  std::string name_of(std::string_view key) const { return "'" + section_ + "." + std::string(key) + "'"; }
  // Error config at the key.
  tl::unexpected<Error> wrong(std::string_view key, const std::string& what, const std::string& next_step = {}) const;

 private:
  const toml::node* take(std::string_view key);
  tl::unexpected<Error> missing(std::string_view key) const;
  tl::unexpected<Error> wrong_type(std::string_view key, const std::string& expected) const;
  const toml::table& table_;
  std::string place_, section_;
  std::vector<std::string> asked_;
};

// The whole file: each array of tables whose name is in `sections` goes to `read`, entry by entry. Anything else, and text that
// is not TOML, is an error (config).
Status read_toml_entries(std::string_view text, const std::string& place, const std::vector<std::string>& sections,
                         const std::function<Status(const std::string& section, TomlEntry& entry)>& read);

}  // namespace suanli::plan
