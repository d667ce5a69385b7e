// The parts of attention between its products, row by row, on one thread; vectors chosen for the
// CPU at run time. Rounding to bf16 is to nearest even; NaN stays NaN.
#pragma once

#include <cstdint>

#include "suanli/engine/cpu/bf16.h"

namespace suanli::engine {

// p_j = e^(scale (s_j - max s)) for j < valid, 0 for valid <= j < count; 1 <= valid <= count. s is
// overwritten by p where no `rounded` is given, else p goes there. Returns the largest scale s_j
// and the sum of p before rounding.
struct SoftmaxRow {
  float top;
  float sum;
};
SoftmaxRow softmax_row(float* s, std::int64_t valid, std::int64_t count, float scale,
                       Bf16* rounded);

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
void softmax_grad_row(const GradRow& row, const float* stats, const float* delta, float scale,
                      std::int64_t first, std::int64_t count);

// to = factor x.
void scale_row(const float* x, float factor, float* to, std::int64_t count);
void round_row(const float* x, Bf16* to, std::int64_t count);
float dot_row(const float* a, const float* b, std::int64_t count);

}  // namespace suanli::engine
