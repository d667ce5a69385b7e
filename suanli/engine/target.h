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
  exact,  // the same bits on every CPU, whoever computes what in which order (docs/formats/exact-arithmetic.md)
};
inline constexpr Arithmetic kArithmetics[] = {Arithmetic::f32, Arithmetic::bf16, Arithmetic::exact};
std::string_view name_of(Arithmetic arithmetic);
std::optional<Arithmetic> arithmetic_from_name(std::string_view name);

// Which values of forward backward makes again instead of keeping them (recompute.h).
struct Recomputation {
  // What a pass over memory gives again: elementwise ops and norms.
  bool cheap = false;
  // This many blocks, from the first on (whose values live longest), keep only what enters them and what they hand on.
  int blocks = 0;
};

struct Target {
  Arithmetic arithmetic = Arithmetic::f32;
  // Micro-batches in flight: each has its own stash of forward values that backward needs. A pipeline of one stage
  // needs 1; stage s of S under 1F1B needs S - s.
  int slots = 1;
  // For the plan (state, accumulators, inputs, arena); 0 = no limit. To keep it, more is made again than `recompute` asks
  // for: first what is cheap, then as few blocks as will do. What still does not fit is refused.
  Bytes memory_limit{};
  // What is cheap costs no time that could be measured (docs/benchmarks.md): it is made again by default.
  Recomputation recompute{.cheap = true};
  // False: every elementwise op and row reduction is a call of its own, so that the value of every canonical node is in memory
  // once (but for what an op of several outputs or the vocabulary's loss keeps to itself): for digests of op outputs. In exact
  // arithmetic results have the same bits.
  bool fuse = true;
};

}  // namespace suanli::engine
