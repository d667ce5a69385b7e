// The limits that control groups (versions 1 and 2) put on this process, as containers and
// schedulers set them.
#pragma once

#include <string>

#include "suanli/base/units.h"

namespace suanli {

struct CgroupLimits {
  double cores = 0;        // CPU time per wall time; 0 = no limit
  Bytes memory;            // of the tightest group; 0 = no limit
  Bytes memory_available;  // what that limit leaves, not counting cached files; valid if memory > 0
};

// `root` is put before /proc and /sys, for tests. What cannot be read limits nothing.
CgroupLimits cgroup_limits(const std::string& root = "");

}  // namespace suanli
