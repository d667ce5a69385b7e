#include "suanli/pool/pool_folder.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "suanli/base/file.h"
#include "suanli/base/text.h"
#include "suanli/model/strict_json.h"

namespace suanli::pool {
namespace {

constexpr const char* kFormat = "suanli pool numbers";
// An epoch travels as a JSON number, which all readers keep exactly up to 2^53.
constexpr std::int64_t kMostStarts = std::int64_t{1} << 20, kMostJobs = std::int64_t{1} << 53;
constexpr Bytes kMostFile{4'096};

bool is_pool(const std::string& folder) { return std::filesystem::exists(PoolPaths{folder}.authority() + "/authority.json"); }

bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= 64 && !name.starts_with('.') &&
         std::ranges::all_of(name, [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_' || c == '.'; });
}

}  // namespace

std::string pools_folder() {
  if (const char* data = std::getenv("XDG_DATA_HOME"); data != nullptr && data[0] == '/')
    return std::string(data) + "/suanli/pools";
  if (const char* home = std::getenv("HOME"); home != nullptr && home[0] == '/')
    return std::string(home) + "/.local/share/suanli/pools";
  return "suanli-pools";
}

std::vector<std::string> known_pools() {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(pools_folder(), ignored))
    if (is_pool(entry.path())) names.push_back(entry.path().filename());
  std::ranges::sort(names);
  return names;
}

Result<std::string> folder_of_pool(const std::string& name) {
  if (name.find('/') != std::string::npos) return name;
  if (!is_name(name))
    return fail(ErrorCode::usage, "'" + printable(name) + "' is no name of a pool", "NAME",
                "use up to 64 letters, digits, '-', '_' and '.', or the path of a pool's folder");
  return pools_folder() + "/" + name;
}

Result<std::string> find_pool(const std::string& name) {
  const std::vector<std::string> pools = known_pools();
  const std::string create = "make one: suanli pool create NAME --listen HOST:PORT";
  if (!name.empty()) {
    SUANLI_ASSIGN_OR_RETURN(const std::string folder, folder_of_pool(name));
    if (!is_pool(folder))
      return fail(ErrorCode::not_found, "there is no pool '" + printable(name) + "' here" + did_you_mean(name, pools), folder,
                  create);
    return folder;
  }
  if (pools.empty()) return fail(ErrorCode::not_found, "there is no pool on this machine", pools_folder(), create);
  if (pools.size() == 1) return pools_folder() + "/" + pools.front();
  std::string all;
  for (const std::string& each : pools) all += (all.empty() ? "" : ", ") + each;
  return fail(ErrorCode::usage, "there are several pools on this machine", pools_folder(), "name one of them: " + all);
}

// ---- numbers

std::string print_pool_counts(const PoolCounts& counts) {
  return nlohmann::ordered_json{{"format", kFormat}, {"version", 1}, {"starts", counts.starts}, {"jobs", counts.jobs}}.dump() +
         "\n";
}

Result<PoolCounts> parse_pool_counts(std::string_view text, const std::string& place) {
  SUANLI_ASSIGN_OR_RETURN(const nlohmann::json object, model::parse_strict_json(text, place, 2));
  const std::string next_step = "restore the file from a copy; numbers that are too small would be used twice";
  if (!object.is_object() || object.value("format", nlohmann::json()) != kFormat)
    return fail(ErrorCode::corrupt, "the file does not count what a pool has begun", place, next_step);
  if (object.value("version", nlohmann::json()) != 1)
    return fail(ErrorCode::version, "the file is of a version that this build does not know", place, "use a newer suanli");
  const auto count = [&](const char* key, std::int64_t most) -> std::int64_t {
    const auto found = object.find(key);
    if (found == object.end() || !found->is_number_unsigned() || found->get<std::uint64_t>() > static_cast<std::uint64_t>(most))
      return -1;
    return found->get<std::int64_t>();
  };
  const PoolCounts counts{count("starts", kMostStarts), count("jobs", kMostJobs)};
  if (object.size() != 4 || counts.starts < 0 || counts.jobs < 0)
    return fail(ErrorCode::corrupt, "the file does not hold the two numbers that it should", place, next_step);
  return counts;
}

Result<PoolNumbers> PoolNumbers::begin(const std::string& path) {
  PoolCounts counts;
  if (std::filesystem::exists(path)) {
    SUANLI_ASSIGN_OR_RETURN(const std::string text, read_file(path, kMostFile));
    SUANLI_ASSIGN_OR_RETURN(counts, parse_pool_counts(text, path));
  }
  if (counts.starts >= kMostStarts)
    return fail(ErrorCode::unsupported, "the pool has been started too often", path, "make a new pool");
  PoolNumbers numbers(path, 0, 0);
  SUANLI_RETURN_IF_ERROR(numbers.keep(counts.starts + 1, counts.jobs));
  return numbers;
}

Status PoolNumbers::keep(std::int64_t starts, std::int64_t jobs) {
  SUANLI_RETURN_IF_ERROR(write_file_atomic(path_, as_bytes(print_pool_counts({starts, jobs})), FileAccess::owner_only));
  starts_ = starts;
  jobs_ = jobs;
  return {};
}

Result<protocol::JobId> PoolNumbers::next_job() {
  SUANLI_RETURN_IF_ERROR(keep(starts_, jobs_ + 1));
  return "job-" + std::to_string(jobs_);
}

}  // namespace suanli::pool
