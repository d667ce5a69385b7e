// Conversion of rows to bf16 by the CPU's own instruction (AVX512_BF16), where it has it.
#pragma once

#include <cstdint>

#include "suanli/engine/cpu/bf16.h"

namespace suanli::engine {

bool has_bf16_instructions();

// Any n; to nearest even, subnormals to zero. Only if has_bf16_instructions().
void narrow_by_instruction(const float* from, Bf16* to, std::int64_t n);
// The same with stores that leave the caches alone (non-temporal), for what is not read again soon: each saves reading the
// line first. `to` is 64-byte aligned and n a multiple of 32. Before another thread reads, call finish_streams().
void narrow_past_caches(const float* from, Bf16* to, std::int64_t n);
void finish_streams();
// The same, widened again. `from` may be `to`.
void round_by_instruction(const float* from, float* to, std::int64_t n);

}  // namespace suanli::engine
