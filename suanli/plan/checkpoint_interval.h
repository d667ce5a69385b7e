// How often to save a state, and what part of the time is useful then.
//
// `stall` is what training waits for one snapshot (what is copied beside computing costs nothing but what it takes away),
// `mean_time` the mean time between faults of the job, `step` the time of a step.
//   Young, "A first order approximation to the optimum checkpoint interval", CACM 1974: sqrt(2 stall M).
//   Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps", FGCS 2006, equations 20 and 37.
//   Kokolis et al., "Revisiting Reliability in Large-Scale Machine Learning Research Clusters", HPCA 2025: expected ETTR.
#pragma once

#include <cstdint>

#include "suanli/base/units.h"

namespace suanli::plan {

Seconds young_interval(Seconds stall, Seconds mean_time);
// For a stall of 2 M and more: M.
Seconds daly_interval(Seconds stall, Seconds mean_time);

// The longest stall at which saving after every step is best: step^2 / (2 M).
Seconds stall_for_every_step(Seconds step, Seconds mean_time);
// Steps between snapshots: 1 if the stall is no longer than that, else round(sqrt(2 stall M) / step), at least 1. Never more
// often than snapshots can be written, one after the other: `write` is the time one takes, beside computing. Without faults
// (an infinite mean time) there is no best interval: 0, none but the last.
std::int64_t best_steps_between(Seconds stall, Seconds mean_time, Seconds step, Seconds write = Seconds(0));

// What of the time goes into work that is kept.
struct Interruptions {
  Seconds interval;   // of computing between two snapshots
  Seconds stall;
  Seconds recovery;   // from a fault until the job runs again from its snapshot: detection and restart
  Seconds mean_time;  // between faults
};
// (1 - (recovery + interval / 2) / M) / (1 + stall / interval), first order in what is lost to faults: 0 where that is all.
double expected_time_ratio(const Interruptions& given);
// Daly's complete model, in which faults may strike while a snapshot is read or work is repeated:
// interval / (M exp(recovery / M) (exp((interval + stall) / M) - 1)).
double complete_time_ratio(const Interruptions& given);
// The first while it holds (a tenth lost to faults at most), else the second.
double useful_time_ratio(const Interruptions& given);

}  // namespace suanli::plan
