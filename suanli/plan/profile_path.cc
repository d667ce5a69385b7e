#include "suanli/plan/profile_path.h"

#include <cstdlib>

namespace suanli::plan {

std::string default_profile_path() {
  // The specification ignores a path that is not absolute.
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && cache[0] == '/')
    return std::string(cache) + "/suanli/profile.json";
  if (const char* home = std::getenv("HOME"); home != nullptr && home[0] == '/')
    return std::string(home) + "/.cache/suanli/profile.json";
  return "profile.json";
}

}  // namespace suanli::plan
