// Weights as an operand A, to be multiplied along the keys of a block.
#pragma once

#include <cstdint>

#include "suanli/engine/cpu/exact/product.h"

namespace suanli::engine::exact {

// What pack() makes of IntegerMatrix{weights, stride, 1, kWeightBits} and the rows {0, rows}, rows = packing.rows; faster with
// AMX. packing has one block.
void pack_weights(const Packing& packing, const std::int16_t* weights, std::int64_t stride, std::byte* to);

}  // namespace suanli::engine::exact
