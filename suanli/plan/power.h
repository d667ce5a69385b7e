// What a machine draws under load. Plans and meters ask this one place, so that the energy of one run is planned and metered
// alike.
#pragma once

#include <optional>
#include <string>

#include "suanli/base/units.h"
#include "suanli/plan/interval.h"
#include "suanli/plan/profile.h"

namespace suanli::plan {

// A processor package with its memory is not all that draws power: losses of the power supply, fans, disks and network add to
// it. Our estimate, not measured: a tenth for a lean machine, as much again for a small one with a large supply.
inline constexpr Interval kMachineOverPackage{1.1, 1.4, 2.0};

struct MachinePower {
  Interval watts;      // of the whole machine while `threads` compute
  std::string source;
};

// Stated, or else measured (the profile's busy_watts times kMachineOverPackage), or else estimated from the cores that compute:
// as many as there are threads, and no more than the profile's machine has. `profile` is of the machine in question; null: none
// is known.
MachinePower machine_power(std::optional<Watts> stated, const Profile* profile, int threads);

}  // namespace suanli::plan
