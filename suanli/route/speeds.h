// How fast the workers of one job are, as the schedule and the simulation of a step need it.
#pragma once

#include <functional>
#include <vector>

#include "suanli/base/units.h"
#include "suanli/route/route_table.h"

namespace suanli::route {

// Between two workers; `forward` tells an activation from a gradient.
using LineTime = std::function<Seconds(WorkerIndex from, WorkerIndex to, bool forward)>;

struct Speeds {
  std::vector<Seconds> forward, backward;  // [worker], of one micro-batch of the stage it holds; of those that stand by anything
  LineTime hop = {};                       // from the end of one work to where its output is whole at the other; empty: no time
  LineTime occupied = {};                  // of that, how long the line carries nothing else; empty: it carries all at once

  Seconds of(WorkerIndex worker, graph::Phase phase) const {
    return (phase == graph::Phase::forward ? forward : backward)[static_cast<std::size_t>(worker)];
  }
};

// Every worker of `placement` has a time for each phase, finite and not negative: error mismatch, naming the worker.
[[nodiscard]] Status check(const Speeds& speeds, const Placement& placement);

}  // namespace suanli::route
