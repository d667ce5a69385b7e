// Offsets for buffers with known lifetimes in one arena, so that buffers alive at the same time never overlap.
#pragma once

#include <cstdint>
#include <vector>

#include "suanli/base/units.h"

namespace suanli::engine {

inline constexpr std::int64_t kAlignment = 64;  // bytes: a cache line and an AVX-512 register

struct Lifetime {
  std::int64_t size = 0;  // bytes
  int first = 0;          // position at which it is written
  int last = 0;           // last position at which it is read, >= first
  std::int64_t offset = 0;  // the plan's answer, a multiple of kAlignment
};

struct ArenaPlan {
  Bytes size;   // of the arena
  Bytes least;  // most bytes alive at any position: no plan can be smaller
};

// Greedy by size: the largest buffer first, each at the lowest offset that is free over its lifetime (Pisarchyk and Lee,
// "Efficient Memory Management for Deep Neural Net Inference", 2020, section 5.2).
ArenaPlan plan_arena(std::vector<Lifetime>& buffers);

}  // namespace suanli::engine
