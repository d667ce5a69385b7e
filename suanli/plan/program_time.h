// The time of a compiled program's step on a machine whose profile is known: each call between its roofline and what calls of
// its class were measured to reach (rate_table.h), with as many threads as the profile was made with.
#pragma once

#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/base/units.h"
#include "suanli/engine/program.h"
#include "suanli/graph/graph.h"
#include "suanli/plan/interval.h"
#include "suanli/plan/profile.h"

namespace suanli::plan {

struct CallEstimate {
  graph::Phase phase = graph::Phase::forward;
  std::size_t index = 0;       // of the phase's calls
  std::string kind;            // kernel class
  double flops = 0, bytes = 0; // of all its runs in a step
  Interval seconds;            // the same
  bool is_memory_bound = false;
};

struct ProgramTime {
  // Of a whole step: its calls, what lies between them, and what it clears and copies. All calls are taken to swing together, as
  // they do with the machine's neighbours: the ends of the interval are sums of ends.
  Interval step_seconds;
  std::vector<CallEstimate> calls;     // forward, backward, update
  std::vector<std::string> unmeasured;  // classes that the profile lacks: estimated from limits
};

// Error usage if the profile holds nothing of the program's arithmetic; corrupt if what it holds makes no time that can be.
Result<ProgramTime> program_time(const engine::Program& program, const Profile& profile);

}  // namespace suanli::plan
