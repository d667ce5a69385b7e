// The parts of attention between its products, row by row, on one thread; vectors chosen for the
// CPU at run time. Rounding to bf16 is to nearest even; NaN stays NaN.
#pragma once

#include <cstddef>
#include <cstdint>

#include "suanli/engine/cpu/bf16.h"
#include "suanli/graph/types.h"

namespace suanli::engine {

// p_j = e^(scale (s_j - max s)) for j < valid, 0 for valid <= j < count; 1 <= valid <= count. s is
// overwritten by p where no `rounded` is given, else p goes there. Returns the largest scale s_j
// and the sum of p before rounding.
struct SoftmaxRow {
  float top;
  float sum;
};
SoftmaxRow softmax_row(float* s, std::int64_t valid, std::int64_t count, float scale, Bf16* rounded);

// One key's row of transposed scores, a column per query c: for c >= first
//   p_c = e^(scale s_c - stats_c),  ds_c = scale p_c (dp_c - delta_c),
// else both 0. p overwrites s and ds overwrites dp where no rounded ones are given, else they go
// there.
struct GradRow {
  float* s;
  float* dp;
  Bf16* rounded_p;
  Bf16* rounded_ds;
};
void softmax_grad_row(const GradRow& row, const float* stats, const float* delta, float scale, std::int64_t first,
                      std::int64_t count);

// to = factor x.
void scale_row(const float* x, float factor, float* to, std::int64_t count);
// to_i = top_i + ln(sum_i).
void log_sum_row(const float* top, const float* sum, float* to, std::int64_t count);

// Rows of f32 or bf16; `stride` elements apart.
struct FloatRows {
  const std::byte* data;
  graph::DType dtype;
  std::int64_t stride;
};
// to_i = the sum of the products of rows i of `a` and of `b`, in f32.
void dot_rows(const FloatRows& a, const FloatRows& b, std::int64_t rows, std::int64_t columns, float* to);

}  // namespace suanli::engine
