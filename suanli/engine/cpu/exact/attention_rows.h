// The parts of exact attention between its products, row by row, on one thread; vectors chosen for the CPU at run time, with the
// same bits for any of them. What they compute: docs/formats/exact-arithmetic.md, section 5.
#pragma once

#include <cstdint>

namespace suanli::engine::exact {

// A weight is RNE(p 2^13), p in [0, 1].
inline constexpr int kWeightBits = 13;

// The sum of a row's weights, and what is left of its scores for the statistic L.
struct WeightRow {
  float top;         // m
  std::int64_t sum;  // Z; 0 for a poisoned row
  bool poisoned() const { return sum == 0; }
  float count() const;       // n = RNE(Z); NaN for a poisoned row
  float sum_of_exp() const;  // z = n 2^-13; NaN for a poisoned row
};

// Of scores s_j / scale: the weights w_j for j < valid, and 0 for valid <= j < count; 1 <= valid <= count. All weights of a
// poisoned row are 0.
WeightRow weigh_row(const float* scores, std::int64_t valid, std::int64_t count, float scale, std::int16_t* weights);
// The same with the weights as floats, over the scores.
WeightRow weigh_row(float* scores, std::int64_t valid, std::int64_t count, float scale);

// Of weights and dp_j: P_j = w_j / n over the weights and dS_j = P_j (dp_j - delta) over dp, for j < valid; else 0.
// n = NaN makes all of j < valid NaN.
void weight_grad_row(float* weights, float* dp, std::int64_t valid, std::int64_t count, float n, float delta);

// x_c = x_c / divisor; NaN becomes 0x7FC00000.
void divide_row(float* x, float divisor, std::int64_t count);
// x_c = x_c factor, alike.
void multiply_row(float* x, float factor, std::int64_t count);
// to_i = top_i + log(sum_of_exp_i), alike.
void log_sum_row(const float* top, const float* sum_of_exp, float* to, std::int64_t count);

}  // namespace suanli::engine::exact
