// What a lasting pool keeps in its folder beside its authority (net/authority.h), and where such folders lie.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/protocol/messages.h"

namespace suanli::pool {

struct PoolPaths {
  std::string folder;
  std::string authority() const { return folder + "/authority"; }
  std::string socket() const { return folder + "/control.sock"; }
  std::string numbers() const { return folder + "/numbers.json"; }
};

// The folder of this user's pools: $XDG_DATA_HOME/suanli/pools, or below the home folder.
std::string pools_folder();
// Names of the pools there, sorted.
std::vector<std::string> known_pools();
// The folder that a name stands for; a name with a '/' is a folder itself. Error usage: neither.
Result<std::string> folder_of_pool(const std::string& name);
// The one pool of this user if `name` is empty, or else folder_of_pool(), where there must be a pool. Errors: not_found, with the
// nearest name; usage: there are several.
Result<std::string> find_pool(const std::string& name);

// Numbers that no two coordinators of a pool may use twice. Each is on disk, atomically, before it is used. One thread at a time;
// one process (whoever holds the authority).
class PoolNumbers {
 public:
  // Counts a start of the coordinator. Errors: corrupt, version, io, no_space.
  static Result<PoolNumbers> begin(const std::string& path);

  // Above all epochs of earlier starts: each has a block of 2^32.
  protocol::Epoch first_epoch() const { return static_cast<protocol::Epoch>(starts_) * (protocol::Epoch{1} << 32) + 1; }
  // "job-1", "job-2", ...
  Result<protocol::JobId> next_job();

 private:
  PoolNumbers(std::string path, std::int64_t starts, std::int64_t jobs) : path_(std::move(path)), starts_(starts), jobs_(jobs) {}
  Status keep(std::int64_t starts, std::int64_t jobs);
  std::string path_;
  std::int64_t starts_ = 0, jobs_ = 0;
};

// The file's text, {"format":"suanli pool numbers","version":1,"starts":S,"jobs":J}.
struct PoolCounts {
  std::int64_t starts = 0, jobs = 0;
  bool operator==(const PoolCounts&) const = default;
};
std::string print_pool_counts(const PoolCounts& counts);
// Errors: corrupt, version.
Result<PoolCounts> parse_pool_counts(std::string_view text, const std::string& place);

}  // namespace suanli::pool
