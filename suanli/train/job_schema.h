// The keys of a job file: one row per key, from which parsing, range errors, printing and the
// reference page come.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/train/job.h"

namespace suanli::train {

struct IntegerKey {
  std::int64_t& (*field)(JobConfig&);
  std::int64_t least, most;
};
struct RealKey {
  double& (*field)(JobConfig&);
  double least, most;
  bool open_least = false;  // least itself is not allowed
  bool open_most = false;
};
// A number, or text with a suffix: "50G", "2Gi". At least 0; 0 means none.
struct ScaledKey {
  double& (*field)(JobConfig&);
  std::string_view unit;  // "FLOP/s", "FLOP", "bytes"
};
struct TextKey {
  std::string& (*field)(JobConfig&);
  bool is_path = false;
};
struct ChoiceKey {
  std::string& (*field)(JobConfig&);
  std::vector<std::string> choices;
};

// Texts, none of them empty. In an override they stand without quotes, with commas between them.
struct ListKey {
  std::vector<std::string>& (*field)(JobConfig&);
  std::string_view of;  // what they are, for people
};

struct Key {
  std::string_view section, name;
  std::variant<IntegerKey, RealKey, ScaledKey, TextKey, ChoiceKey, ListKey> kind;
  std::string_view doc;  // one line
  // Part of what is computed: a resumed run must have the same value. The others may change.
  bool fixed = false;

  std::string full_name() const { return std::string(section) + "." + std::string(name); }
};

// In the order of the reference page, sections together.
std::span<const Key> job_keys();
const Key* find_job_key(std::string_view section, std::string_view name);
std::vector<std::string> job_sections();

// A value as a job file or an override gives it.
using JobValue = std::variant<std::int64_t, double, bool, std::string, std::vector<std::string>>;

// Stores the value; the wrong type or range is an error (config) whose message names key, value and
// what is expected.
[[nodiscard]] Status assign(const Key& key, const JobValue& value, JobConfig& job,
                            const std::string& place);

// As it stands in a TOML file; the shortest text that reads back as the same value.
std::string print_value(const Key& key, const JobConfig& job);
// "integer, 1 to 1,024".
std::string expected_of(const Key& key);

// The names of the fixed keys that differ.
std::vector<const Key*> changed_fixed_keys(const JobConfig& a, const JobConfig& b);

// Where a person finds the keys; the end of every next step about one.
inline constexpr const char* kReference = "`suanli help job` lists all keys";

// The reference page, docs/reference/job.md.
std::string job_reference_markdown();

}  // namespace suanli::train
