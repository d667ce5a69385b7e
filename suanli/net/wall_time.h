// The time of day, which certificates and tokens are about. It is passed in as a number, so that expiry and skewed clocks are
// tested without waiting; intervals are measured by base/clock.h instead, which never jumps.
#pragma once

#include <cstdint>
#include <string>

#include "suanli/base/units.h"

namespace suanli::net {

using WallTime = Quantity<struct WallTimeTag, std::int64_t>;  // seconds since 1970-01-01 00:00 UTC

inline constexpr std::int64_t kMinute = 60, kHour = 3600, kDay = 86400;

// This machine's clock, which may be wrong.
WallTime wall_time_now();

// "2026-11-22 10:15:00 UTC".
std::string to_string(WallTime time);

}  // namespace suanli::net
