// Conversion of rows to bf16 by the CPU's own instruction (AVX512_BF16), where it has it.
#pragma once

#include <cstdint>

#include "suanli/engine/cpu/bf16.h"

namespace suanli::engine {

bool has_bf16_instructions();

// Any n; to nearest even, subnormals to zero. Only if has_bf16_instructions().
void narrow_by_instruction(const float* from, Bf16* to, std::int64_t n);
// The same, widened again. `from` may be `to`.
void round_by_instruction(const float* from, float* to, std::int64_t n);

}  // namespace suanli::engine
