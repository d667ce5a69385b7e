// A step of a route table, played work by work under the rule of credits (route_table.h), with or without time. The rule is
// monotone: a work that may begin may still begin after any other has ended, so the order of play does not change which works
// run, and a step that ends in one play ends in all.
#pragma once

#include <cstddef>
#include <vector>

#include "suanli/base/units.h"
#include "suanli/route/route_table.h"
#include "suanli/route/speeds.h"

namespace suanli::route {

struct Span {
  Seconds begin{0}, end{0};
};

struct PlayedStep {
  std::vector<std::vector<Span>> spans;               // [worker][number in its order], of the works that ran
  std::vector<std::vector<WorkerIndex>> undelivered;  // [worker]: who has not yet taken an output of it, once for each output
  bool ended = false;                                 // every work ran

  Seconds length() const;  // the end of the last work
};

// The table's shapes, routes and orders must be whole (what check() asks, less the credits). Without `speeds` nothing takes time.
// An output begins to travel when it is made and its receiver is ready for it, and counts as delivered when it is there.
PlayedStep play_step(const RouteTable& table, const Speeds* speeds = nullptr);

// From the first forward to the last backward, of a table that passes check().
Seconds simulated_step_time(const RouteTable& table, const Speeds& speeds);

}  // namespace suanli::route
