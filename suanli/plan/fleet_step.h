// A step of synchronous data parallel training on machines of uneven speed: each takes as many micro-batches as lets all end
// together, then the gradients are summed around a ring over the slowest link.
//
// Ring all-reduce of B bytes among d machines: 2 (d - 1) messages of B / d, one after the other (Patarasuk and Yuan, "Bandwidth
// optimal all-reduce algorithms for clusters of workstations", JPDC 2009).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "suanli/base/units.h"
#include "suanli/plan/interval.h"

namespace suanli::plan {

// What one machine takes, in seconds.
struct MachinePace {
  Interval micro_batch;       // forward and backward
  Interval update;
  double backward_share = 0.67;  // of a micro-batch
};

struct FleetStep {
  std::vector<std::int64_t> shares;  // micro-batches of each machine
  Interval compute;                  // of the slowest machine
  double all_reduce = 0;             // seconds, if nothing hides it
  double hideable = 0;               // of it, beside the last micro-batch's backward of the machine that ends last
  std::int64_t working = 0;          // machines that have a share
};

// Shares that end earliest by expected times: each micro-batch goes to the machine that would finish it first.
std::vector<std::int64_t> balanced_shares(std::span<const MachinePace> machines, std::int64_t micro_batches);

Seconds ring_all_reduce(Bytes bytes, std::int64_t machines, BytesPerSecond rate, Seconds delay);

// `rate` and `delay` of the slowest link. At least one machine and one micro-batch.
FleetStep fleet_step(std::span<const MachinePace> machines, std::int64_t micro_batches, Bytes gradients, BytesPerSecond rate,
                     Seconds delay);

}  // namespace suanli::plan
