// Sums whose order is fixed by their length alone: the same bits on every CPU. A result that is not a number is 0x7FC00000.
#pragma once

#include <cstdint>

#include "suanli/engine/cpu/bf16.h"

namespace suanli::engine {

// Elements of one task of a long sum. Inside, 4,096 elements at a time are summed in f32 (64
// strided partial sums, then a tree) and those sums added in double.
inline constexpr std::int64_t kSumBlock = 65536;

double sum(const float* x, std::int64_t n);
double sum(const Bf16* x, std::int64_t n);
double sum_of_squares(const float* x, std::int64_t n);
// The sum of a row in f32, and its largest element (n >= 1).
float row_sum(const float* x, std::int64_t n);
float row_sum(const Bf16* x, std::int64_t n);
float row_max(const float* x, std::int64_t n);

// to[i] = sum over r of rows[r * stride + i], for i in [0, n); count >= 1. In f32: blocks of 256 rows, ascending, and the
// sums of the blocks, ascending.
void sum_rows(const float* rows, std::int64_t count, std::int64_t stride, float* to,
              std::int64_t n);
void sum_rows(const Bf16* rows, std::int64_t count, std::int64_t stride, float* to, std::int64_t n);
// to[i] += x[i]
void add_to(const float* x, float* to, std::int64_t n);

}  // namespace suanli::engine
