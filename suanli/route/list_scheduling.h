// Orders of works by list scheduling: the step is simulated without the rule of credits, and each worker that is free takes the
// best work that is ready.
#pragma once

#include <vector>

#include "suanli/route/route_table.h"
#include "suanli/route/speeds.h"

namespace suanli::route {

// Fills table.orders from placement and routes. `slots` of each worker is at least 1; a worker never has more micro-batches
// between forward and backward. Backwards go before forwards, else first come, first served; of those that come together, the
// lower micro-batch. The simulated step always ends: a backward needs no slot, and the last stage's is ready with its forward.
void schedule_orders(RouteTable& table, const Speeds& speeds, const std::vector<int>& slots);

}  // namespace suanli::route
