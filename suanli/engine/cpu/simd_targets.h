// Which instruction sets our Highway files are compiled for. Include before hwy/foreach_target.h,
// the same everywhere. SSSE3 machines without SSE4.1 take the scalar path; scalable vectors (SVE,
// RVV) cannot be held in arrays, which the fixed-order sums of vector-inl.h need.
#pragma once

#include <hwy/detect_targets.h>

#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
