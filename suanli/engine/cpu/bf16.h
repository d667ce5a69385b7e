// One bf16 value in memory: the upper half of a f32.
#pragma once

#include <cstdint>

namespace suanli::engine {

struct Bf16 {
  std::uint16_t bits;
};
static_assert(sizeof(Bf16) == 2);

}  // namespace suanli::engine
