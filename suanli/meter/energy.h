// Energy that the machine itself counts: RAPL (running average power limit), which Linux shows under /sys/class/powercap for
// Intel and AMD processors. Most virtual machines have none, and most systems let only root read it.
//
//   auto counter = EnergyCounter::open();
//   if (counter) ... Joules spent = counter->read();
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/base/units.h"

namespace suanli::meter {

inline constexpr const char* kPowercapFolder = "/sys/class/powercap";

// Of all processor packages and their memory, whatever runs on them: other programs too, but no disk, fan or power supply.
// One thread.
class EnergyCounter {
 public:
  // `folder` is another one in tests. Error unsupported, which says why there is none: no such folder, no package in it, not
  // allowed to read.
  static Result<EnergyCounter> open(const std::string& folder = kPowercapFolder);

  // Since it was opened. The counters wrap (a package at 200 W every 20 minutes or so): read more often than that, as a training
  // session does after each phase, evaluation batch and sampled token. One that can no longer be read stands still.
  Joules read();

 private:
  struct Domain {
    std::string file;             // energy_uj
    std::int64_t range = 0;       // where the counter wraps, microjoules; 0: unknown
    std::int64_t last = 0;        // as last read, microjoules
  };
  std::vector<Domain> domains_;
  double microjoules_ = 0;
};

}  // namespace suanli::meter
