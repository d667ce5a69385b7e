// A step as a picture for people.
#pragma once

#include <string>

#include "suanli/route/route_table.h"
#include "suanli/route/speeds.h"

namespace suanli::route {

// One line for each worker, time to the right, over the whole step: F3 and B3 where forward and backward of micro-batch 3 begin
// (just f or b where the number finds no room), f and b while they last, '.' while the worker is idle. No line is longer than
// `columns`, at least 40. Of a table that passes check(); ends with a line feed.
std::string draw(const RouteTable& table, const Speeds& speeds, int columns = 120);

}  // namespace suanli::route
