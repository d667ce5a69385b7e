#include "suanli/net/wall_time.h"

#include <ctime>

#include "suanli/base/text.h"

namespace suanli::net {

WallTime wall_time_now() { return WallTime(static_cast<std::int64_t>(std::time(nullptr))); }

std::string to_string(WallTime time) {
  const auto seconds = static_cast<std::time_t>(time.value());
  std::tm parts{};
  if (gmtime_r(&seconds, &parts) == nullptr) return std::to_string(time.value()) + " s after 1970";
  return format("%04d-%02d-%02d %02d:%02d:%02d UTC", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour,
                parts.tm_min, parts.tm_sec);
}

}  // namespace suanli::net
