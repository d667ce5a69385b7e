// Elementwise work on one tile in exact arithmetic: tile_ops.h with the functions of math.h, dispatched to the best instruction
// set of this machine; every instruction set gives the same bits.
#pragma once

#include <cstdint>

#include "suanli/engine/cpu/bf16.h"
#include "suanli/engine/cpu/tile_ops.h"
#include "suanli/engine/region.h"

namespace suanli::engine::exact {

// As apply_tile of tile_ops.h. A result that is not a number is 0x7FC00000, whatever the op: so a chain of ops in registers has
// the bits of the same ops run one by one.
void apply_tile(RegionOp op, const TileOperand& a, const TileOperand& b, float immediate, float* out, std::int64_t n);

// Any n; to nearest even, subnormals kept (the CPU's own instructions make them zero), not a number to 0x7FC0. from and to do
// not overlap.
void narrow(const float* from, Bf16* to, std::int64_t n);

}  // namespace suanli::engine::exact
