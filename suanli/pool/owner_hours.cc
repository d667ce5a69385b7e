#include "suanli/pool/owner_hours.h"

#include <ctime>

#include "suanli/base/text.h"

namespace suanli::pool {

std::int64_t minute_of_day() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  localtime_r(&now, &parts);
  return parts.tm_hour * 60 + parts.tm_min;
}

std::string clock_text(std::int64_t minute) {
  return format("%02d:%02d", static_cast<int>(minute / 60), static_cast<int>(minute % 60));
}

}  // namespace suanli::pool
