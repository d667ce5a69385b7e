// The parts of attention between its AMX products: on blocks of 32 x 32, f32 in, bf16 out.
// Requires amx::available(). Pointers are 64-byte aligned. Rounding is to nearest even; NaN stays NaN.
#pragma once

#include <cstddef>
#include <cstdint>

#include "suanli/engine/cpu/attention_rows.h"

namespace suanli::engine::amx {

// 2^x within 1.5 ulp of normal floats, for `count` values, a multiple of 16; right at infinities and NaN.
void powers_of_two(const float* x, float* to, std::int64_t count);

// A panel of 32 queries against `blocks` blocks of 32 keys, the last of them on the diagonal.
//   s    [block][32 queries][32 keys]  scores before scaling; scale > 0
//   p    [block][32 queries][32 keys]  e^(scale s - top), 0 above the diagonal: a panel of A with a step per block
//   top  [32]  the largest scale s of each query;  sum [32]  of its p before rounding
void softmax_panel(const float* s, std::int64_t blocks, float scale, std::byte* p, float* top, float* sum);

// One block of transposed scores, [32 keys][32 queries].
struct GradBlock {
  const float *s, *dp;         // before scaling
  const float *stats, *delta;  // [32], of the queries: log2(e) L_i, scale delta_i
  float scale;
  bool diagonal;      // queries before the key are masked
  std::byte *p, *ds;  // e^(scale s - L), scale p (dp - delta); masked: 0. Steps of a panel of A
};
void softmax_grad_block(const GradBlock& block);

// 32 rows of `columns` floats, `stride` apart (a multiple of 16): row i /= divisors[i]. Columns are rounded up to 16.
void divide_rows(float* x, std::int64_t stride, std::int64_t columns, const float* divisors);

// The first `columns` of `rows` rows of floats, `stride` apart (a multiple of 16), rounded to bf16; those of `to` are
// `to_stride` apart and need no alignment.
void round_rows(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t columns, Bf16* to,
                std::int64_t to_stride);

// to[i] = scale times the sum of the products of rows i of `a` and of `b`, in f32; 0 for rows <= i < 32.
void dot_panel(const FloatRows& a, const FloatRows& b, std::int64_t rows, std::int64_t columns, float scale, float* to);

// Asks for the first `columns` elements of `rows` rows to come into the L2 cache, to be read or to be written.
void prefetch_rows(const FloatRows& from, std::int64_t rows, std::int64_t columns);
void prefetch_rows_to_write(const FloatRows& to, std::int64_t rows, std::int64_t columns);

}  // namespace suanli::engine::amx
