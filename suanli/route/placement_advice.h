// What is wrong with a demand, and what would be right: errors whose next steps hold, because they have been tried.
#pragma once

#include <functional>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/route/placement_cost.h"

namespace suanli::route {

inline constexpr std::size_t kMostPlaced = 1'024;  // workers: every pair's line is looked at

// Error config: no demand at all.
Status check_demand(const Demand& demand);
// Error config: stages or replicas that no memory would make possible.
Status check_wishes(const Demand& demand);

// Orders in which a chain of workers of these memories may fit where no balanced groups do; `near` is one of them, both ways, if
// it has all of them.
std::vector<Group> chain_orders(const std::vector<Bytes>& memory, const Group& near);

// Error no_memory of a checked demand that does not fit (config, if no memory would help). `holds`: whether a demand has a
// placement; all that the error advises has passed it.
tl::unexpected<Error> too_small(const Demand& demand, const std::function<bool(const Demand&)>& holds);

}  // namespace suanli::route
