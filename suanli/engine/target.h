// What a program is compiled for.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "suanli/base/units.h"

namespace suanli::engine {

enum class Arithmetic : std::uint8_t {
  f32,   // every value and product in f32
  bf16,  // "fast": GEMM and attention operands rounded to bf16, f32 accumulation, f32 everything else
};
std::string_view name_of(Arithmetic arithmetic);
std::optional<Arithmetic> arithmetic_from_name(std::string_view name);

struct Target {
  Arithmetic arithmetic = Arithmetic::f32;
  // Micro-batches in flight: each has its own stash of forward values that backward needs. A pipeline of one stage
  // needs 1; stage s of S under 1F1B needs S - s.
  int slots = 1;
  // Refuse a plan (state, accumulators, arena) above this; 0 = no limit.
  Bytes memory_limit{};
};

}  // namespace suanli::engine
