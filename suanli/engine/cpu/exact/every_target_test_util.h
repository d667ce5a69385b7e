// For tests of exact arithmetic: the same on each of Highway's instruction sets that this CPU runs.
#pragma once

#include <cstdint>
#include <string>

#include "suanli/engine/cpu/simd_targets.h"
#include "suanli/engine/cpu/tile_ops.h"

// After simd_targets.h, which says what it is compiled for.
#include <hwy/highway.h>

namespace suanli::engine {

// Calls body(name of the instruction set) with Highway narrowed to each set in turn; gives their number. Afterwards Highway
// chooses for itself again. Not while other threads run kernels.
template <class Body>
int on_every_target(const Body& body) {
  int count = 0;
  hwy::SetSupportedTargetsForTest(0);
  for (std::int64_t left = hwy::SupportedTargets() & HWY_TARGETS; left != 0; left &= left - 1) {
    hwy::SetSupportedTargetsForTest(left & -left);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    body(simd_name());
    ++count;
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  return count;
}

}  // namespace suanli::engine
