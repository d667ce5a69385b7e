#include "suanli/engine/program.h"

namespace suanli::engine {

std::string_view name_of(Place place) {
  constexpr std::string_view kNames[] = {"state", "accumulator", "input", "stash", "work"};
  return kNames[static_cast<int>(place)];
}

}  // namespace suanli::engine
