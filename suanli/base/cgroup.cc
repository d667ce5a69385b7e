#include "suanli/base/cgroup.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <optional>
#include <sstream>
#include <vector>

namespace suanli {
namespace {

// Version 1 writes "no limit" as the largest multiple of a page.
constexpr std::int64_t kNoLimit = std::int64_t{1} << 60;

std::string content(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::optional<std::int64_t> number(const std::string& text) {
  std::int64_t value = 0;
  const auto end = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end.ec != std::errc() || value < 0) return std::nullopt;
  return value;
}

// The value of `key` in lines "key value".
std::int64_t field(const std::string& lines, const std::string& key) {
  std::istringstream stream(lines);
  std::string name, value;
  while (stream >> name >> value) {
    if (name == key) return number(value).value_or(0);
  }
  return 0;
}

void limit_cores(CgroupLimits& limits, std::optional<std::int64_t> quota,
                 std::optional<std::int64_t> period) {
  if (!quota || !period || *quota == 0 || *period == 0) return;
  const double cores = static_cast<double>(*quota) / static_cast<double>(*period);
  if (limits.cores == 0 || cores < limits.cores) limits.cores = cores;
}

void limit_memory(CgroupLimits& limits, std::optional<std::int64_t> limit, std::int64_t used,
                  std::int64_t cached) {
  if (!limit || *limit == 0 || *limit >= kNoLimit) return;
  const Bytes left(std::max<std::int64_t>(0, *limit - std::max<std::int64_t>(0, used - cached)));
  const bool first = limits.memory == Bytes(0);
  limits.memory_available = first ? left : std::min(limits.memory_available, left);
  limits.memory = first ? Bytes(*limit) : std::min(limits.memory, Bytes(*limit));
}

void read_version_2(CgroupLimits& limits, const std::string& group) {
  std::istringstream cpu(content(group + "/cpu.max"));
  std::string quota, period;
  cpu >> quota >> period;
  limit_cores(limits, number(quota), number(period));
  limit_memory(limits, number(content(group + "/memory.max")),
               number(content(group + "/memory.current")).value_or(0),
               field(content(group + "/memory.stat"), "inactive_file"));
}

void read_version_1_cpu(CgroupLimits& limits, const std::string& group) {
  limit_cores(limits, number(content(group + "/cpu.cfs_quota_us")),
              number(content(group + "/cpu.cfs_period_us")));
}

void read_version_1_memory(CgroupLimits& limits, const std::string& group) {
  limit_memory(limits, number(content(group + "/memory.limit_in_bytes")),
               number(content(group + "/memory.usage_in_bytes")).value_or(0),
               field(content(group + "/memory.stat"), "total_inactive_file"));
}

// Calls read(limits, group) for the group at `path` under `mount` and for all groups above it: each
// limits. In a container the path may be the host's and not exist here; then the mount's root is
// the group.
template <typename Read>
void read_upwards(CgroupLimits& limits, const std::string& mount, std::string path, Read read) {
  while (!path.empty() && path != "/") {
    read(limits, mount + path);
    path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
  }
  read(limits, mount);
}

}  // namespace

CgroupLimits cgroup_limits(const std::string& root) {
  CgroupLimits limits;
  const std::string mount = root + "/sys/fs/cgroup";
  std::istringstream groups(content(root + "/proc/self/cgroup"));
  for (std::string line; std::getline(groups, line);) {  // "number:controller,controller:/path"
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string path = line.substr(second + 1);
    const std::string names = line.substr(first + 1, second - first - 1);
    if (names.empty()) {
      read_upwards(limits, mount, path, read_version_2);
      read_upwards(limits, mount + "/unified", path, read_version_2);
    }
    std::istringstream controllers(names);
    for (std::string name; std::getline(controllers, name, ',');) {
      if (name == "cpu") read_upwards(limits, mount + "/cpu", path, read_version_1_cpu);
      if (name == "memory") read_upwards(limits, mount + "/memory", path, read_version_1_memory);
    }
  }
  return limits;
}

}  // namespace suanli
