// Rows of workers in which near ones are neighbours, and the ways to split a row into groups.
#pragma once

#include <vector>

#include "suanli/route/placement_cost.h"

namespace suanli::route {

// All workers in one row, short by PlacementCost::distance: the best nearest-neighbour row, improved by reversals (2-opt).
Group near_row(const PlacementCost& cost);

// The rows to try, each once: all orders of all subsets of up to five workers; of more, `near` (near_row()) both ways, and it
// without the slowest, the smallest and the farthest, without either end, and each side of its widest gaps.
std::vector<Group> rows_to_try(const PlacementCost& cost, const Demand& demand, const Group& near);

// Splits of a row into runs: all of them for up to five workers, else for each number of groups (1 to `most`, sparser above
// sixteen, or that which the demand asks for) the one whose groups' rates have the least sum of squares.
std::vector<std::vector<Group>> splits(const Group& row, const Demand& demand, std::size_t most);

}  // namespace suanli::route
