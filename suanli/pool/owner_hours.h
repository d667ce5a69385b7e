// The part of the day in which an owner lends a machine (`suanli worker --hours 22-07`).
#pragma once

#include <cstdint>
#include <string>

#include "suanli/protocol/messages.h"

namespace suanli::pool {

// Minutes since midnight, by this machine's clock and zone.
std::int64_t minute_of_day();
// From `from` on, up to and without `to`; over midnight if `to` is the smaller.
constexpr bool is_within(const protocol::HoursWindow& hours, std::int64_t minute) {
  if (hours.from <= hours.to) return minute >= hours.from && minute < hours.to;
  return minute >= hours.from || minute < hours.to;
}
// "07:15".
std::string clock_text(std::int64_t minute);

}  // namespace suanli::pool
