#include "suanli/plan/power.h"

#include <algorithm>

#include "suanli/base/text.h"

namespace suanli::plan {
namespace {

// Of a machine that does not tell, for each core that computes: server processors of 150 to 350 W have 32 to 64 cores (data
// sheets of the makers), which is 3 to 6 W each, and memory, fans and the power supply add about as much again.
constexpr Interval kWattsPerCore{3, 7, 15};

Interval product(const Interval& a, const Interval& b) { return {a.low * b.low, a.expected * b.expected, a.high * b.high}; }

}  // namespace

MachinePower machine_power(std::optional<Watts> stated, const Profile* profile, int threads) {
  if (stated) return {Interval::exactly(stated->value()), "given"};
  if (profile && profile->busy_watts)
    return {product(*profile->busy_watts, kMachineOverPackage),
            "measured of the processor (RAPL) by the profile of " + printable(profile->time) +
                ", x 1.1 to 2 for the rest of the machine"};
  const int most = profile && profile->cores > 0 ? std::min(threads, profile->cores) : threads;
  const int cores = std::max(1, most);
  return {product(kWattsPerCore, Interval::exactly(cores)),
          "estimate, not measured: " + std::to_string(cores) + (cores == 1 ? " core" : " cores") +
              " at work x 3 to 15 W; --watts states it"};
}

}  // namespace suanli::plan
