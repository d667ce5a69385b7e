// Elementwise work on one tile, dispatched to the best instruction set of this machine.
#pragma once

#include <cstdint>
#include <string>

#include "suanli/engine/cpu/bf16.h"
#include "suanli/engine/region.h"

namespace suanli::engine {

// Tiles that are not an output or input of the kernel itself have room for this multiple of
// elements.
inline constexpr std::int64_t kTileStep = 16;

struct TileOperand {
  const float* data = nullptr;
  // Operands are passed by reference: copied whole right after it was set, a bool would wait for the store buffer to drain.
  bool repeated = false;  // one value for the whole tile, given kTileStep times
};

// out[i] = op(a[i], b[i]) for i in [0, n), n a multiple of kTileStep; `b` is not read by an op of
// one register. `out` may be the data of `a` or `b`. Not for row ops: sums.h has them.
void apply_tile(RegionOp op, const TileOperand& a, const TileOperand& b, float immediate, float* out,
                std::int64_t n);

// Any n; from and to do not overlap. narrow() rounds to nearest even; where the CPU has instructions for bf16, subnormals
// become zero, as they do in its products.
void widen(const Bf16* from, float* to, std::int64_t n);
void narrow(const float* from, Bf16* to, std::int64_t n);
void convert(const std::int32_t* from, float* to, std::int64_t n);

// The instruction set chosen, e.g. "AVX3", for Kernel::implementation().
std::string simd_name();

}  // namespace suanli::engine
