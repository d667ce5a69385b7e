// Routes and orders of a step from who holds what and how fast each is.
#pragma once

#include <cstdint>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/route/route_table.h"
#include "suanli/route/speeds.h"
#include "suanli/route/step_simulation.h"

namespace suanli::route {

struct ScheduleOptions {
  // The most micro-batches between forward and backward on one worker. 0: what keeps it busy, which is the time from a forward's
  // begin to the end of its backward over the time between two forwards; with equal stages and no time between them that is the
  // number of stages from here to the last, as in one-forward-one-backward (1F1B) schedules.
  int most_slots = 0;
  std::vector<int> most_slots_of = {};  // [worker], such as memory allows; empty or 0: no limit
  int credits = 2;
  // Rank r of all stages together is a lane: a micro-batch goes through one lane, and each lane has one at least. All stages have
  // the same number of replicas, no more than there are micro-batches.
  bool lanes = false;
};

// How many micro-batches each of some replicas runs, so that the last ends as early as can be; `each` is the time of one.
std::vector<std::int64_t> shares(std::int64_t micro_batches, const std::vector<Seconds>& each);

// Which replica runs each micro-batch, so that those of one replica come evenly; replica k has shares[k] of them.
std::vector<std::size_t> interleave(const std::vector<std::int64_t>& shares);

// Micro-batches are shared among the replicas of each stage by speed. Orders come from a simulation of the step, in which a
// worker that is free takes the backward that waits longest, or else the forward that waits longest if it has a slot. Should the
// step stop under the rule of credits, all slots are cut to the most with which it ends, by bisection; with one it always does.
// The result passes check(). Errors: of the placement (graph), of the speeds (mismatch).
[[nodiscard]] Result<RouteTable> make_route_table(Placement placement, std::int64_t micro_batches, const Speeds& speeds,
                                                  const ScheduleOptions& options = {});

}  // namespace suanli::route
