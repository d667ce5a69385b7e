#include "suanli/engine/program.h"

namespace suanli::engine {

std::string_view name_of(Place place) {
  constexpr std::string_view kNames[] = {"state", "accumulator", "input", "stash", "work"};
  return kNames[static_cast<int>(place)];
}

const std::vector<KernelCall>& calls_of(const Program& program, graph::Phase phase) {
  if (phase == graph::Phase::forward) return program.forward;
  return phase == graph::Phase::backward ? program.backward : program.update;
}

}  // namespace suanli::engine
