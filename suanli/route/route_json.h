// The text form of a route table: JSON, for messages, run folders and people. docs/formats/route-table.md describes it.
#pragma once

#include <string>
#include <string_view>

#include "suanli/base/error.h"
#include "suanli/base/units.h"
#include "suanli/route/route_table.h"

namespace suanli::route {

inline constexpr int kRouteTableVersion = 1;
inline constexpr Bytes kMostRouteText{std::int64_t{16} << 20};

// Canonical: equal tables give equal bytes. Ends with a line feed.
std::string print_route_table(const RouteTable& table);

// Strict: no key may be missing, unknown or given twice, every value has its type and lies in its range (route_table.h), and
// nothing is converted. Whether the parts agree with one another is check()'s question. Errors (corrupt, of another version
// version) name `place` and the spot inside, such as "table.json: orders[3].work".
[[nodiscard]] Result<RouteTable> parse_route_table(std::string_view json, std::string_view place);

}  // namespace suanli::route
