// What the machine has. Values that cannot be read are 0 or empty, never an error.
#pragma once

#include <string>

#include "suanli/base/units.h"

namespace suanli {

struct CpuInfo {
  std::string model;     // brand string
  std::string vendor;
  int family = 0, model_number = 0;
  int cores = 0;         // that this process may use
  Bytes l1d, l2, l3;
  bool avx2 = false, fma = false, avx512f = false, avx512_bf16 = false, avx512_vnni = false;
  bool amx_tile = false, amx_bf16 = false, amx_int8 = false;
  bool amx_permitted = false;  // the kernel granted the tile state (arch_prctl ARCH_REQ_XCOMP_PERM)
  bool sha = false;
};
CpuInfo cpu_info();

struct MemoryInfo {
  Bytes total;      // of the machine or its cgroup, whichever is less
  Bytes available;  // before swapping
};
MemoryInfo memory_info();

// Free bytes for this user on the file system of `path`.
Bytes disk_free(const std::string& path);

// Peak resident set of this process so far.
Bytes peak_resident();

// User plus system time of this process.
Seconds process_cpu_time();

}  // namespace suanli
