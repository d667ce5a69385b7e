#include "suanli/engine/cpu/sums.h"

#include <algorithm>

#include "suanli/engine/cpu/exact/math.h"
#include "suanli/engine/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "suanli/engine/cpu/sums.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "suanli/engine/cpu/exact/math-inl.h"
#include "suanli/engine/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace suanli::engine::HWY_NAMESPACE {

template <class Value>
HWY_INLINE double long_sum(std::int64_t n, const Value& value) {
  constexpr std::int64_t kChunk = 4096;
  double total = 0;
  for (std::int64_t start = 0; start < n; start += kChunk)
    total += strided_sum(
        static_cast<std::size_t>(std::min(kChunk, n - start)),
        [&](std::size_t i, auto part) { return value(static_cast<std::size_t>(start) + i, part); });
  return total;
}

template <typename T>
HWY_INLINE double sum_of(const T* x, std::int64_t n) {
  return long_sum(n, [&](std::size_t i, auto part) { return load(x + i, part); });
}
double Sum(const float* x, std::int64_t n) { return sum_of(x, n); }
double SumBf16(const Bf16* x, std::int64_t n) { return sum_of(x, n); }

double SumOfSquares(const float* x, std::int64_t n) {
  return long_sum(n, [&](std::size_t i, auto part) {
    const Vec v = load(x + i, part);
    return hn::Mul(v, v);
  });
}

template <typename T>
HWY_INLINE float row_sum_of(const T* x, std::int64_t n) {
  return strided_sum(static_cast<std::size_t>(n),
                     [&](std::size_t i, auto part) { return load(x + i, part); });
}
float RowSum(const float* x, std::int64_t n) { return row_sum_of(x, n); }
float RowSumBf16(const Bf16* x, std::int64_t n) { return row_sum_of(x, n); }

float RowMax(const float* x, std::int64_t n) { return largest(x, static_cast<std::size_t>(n)); }

// One block of rows: to = their sum, or to += it. By strips of columns whose sums stay in
// registers; a strip's rows are read as whole cache lines.
template <typename T>
HWY_INLINE void sum_block(const T* rows, std::int64_t count, std::int64_t stride, float* to,
                          std::int64_t n, bool add) {
  std::int64_t done = 0;
  for (; done + static_cast<std::int64_t>(kPartials) <= n; done += kPartials) {
    Vec sums[kAccumulators];
    for (std::size_t k = 0; k < kAccumulators; ++k)
      sums[k] = load(rows + done + k * kLanes, Whole());
    for (std::int64_t r = 1; r < count; ++r)
      for (std::size_t k = 0; k < kAccumulators; ++k)
        sums[k] = hn::Add(sums[k], load(rows + r * stride + done + k * kLanes, Whole()));
    for (std::size_t k = 0; k < kAccumulators; ++k) {
      float* at = to + done + k * kLanes;
      store(canonical(add ? hn::Add(load(at, Whole()), sums[k]) : sums[k]), at, Whole());
    }
  }
  for_vectors(static_cast<std::size_t>(n - done), [&](std::size_t i, auto part) {
    Vec total = load(rows + done + i, part);
    for (std::int64_t r = 1; r < count; ++r)
      total = hn::Add(total, load(rows + r * stride + done + i, part));
    float* at = to + done + i;
    store(canonical(add ? hn::Add(load(at, part), total) : total), at, part);
  });
}

template <typename T>
HWY_INLINE void sum_blocks(const T* rows, std::int64_t count, std::int64_t stride, float* to,
                           std::int64_t n) {
  constexpr std::int64_t kBlock = 256;
  for (std::int64_t row = 0; row < count; row += kBlock)
    sum_block(rows + row * stride, std::min(kBlock, count - row), stride, to, n, row > 0);
}
void SumRows(const float* rows, std::int64_t count, std::int64_t stride, float* to,
             std::int64_t n) {
  sum_blocks(rows, count, stride, to, n);
}
void SumRowsBf16(const Bf16* rows, std::int64_t count, std::int64_t stride, float* to,
                 std::int64_t n) {
  sum_blocks(rows, count, stride, to, n);
}

void AddTo(const float* x, float* to, std::int64_t n) {
  for_vectors(static_cast<std::size_t>(n), [&](std::size_t i, auto part) {
    store(canonical(hn::Add(load(to + i, part), load(x + i, part))), to + i, part);
  });
}

}  // namespace suanli::engine::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace suanli::engine {

HWY_EXPORT(Sum);
HWY_EXPORT(SumBf16);
HWY_EXPORT(SumOfSquares);
HWY_EXPORT(RowSum);
HWY_EXPORT(RowSumBf16);
HWY_EXPORT(RowMax);
HWY_EXPORT(SumRows);
HWY_EXPORT(SumRowsBf16);
HWY_EXPORT(AddTo);

double sum(const float* x, std::int64_t n) { return HWY_DYNAMIC_DISPATCH(Sum)(x, n); }
double sum(const Bf16* x, std::int64_t n) { return HWY_DYNAMIC_DISPATCH(SumBf16)(x, n); }
double sum_of_squares(const float* x, std::int64_t n) {
  return HWY_DYNAMIC_DISPATCH(SumOfSquares)(x, n);
}
float row_sum(const float* x, std::int64_t n) { return exact::canonical(HWY_DYNAMIC_DISPATCH(RowSum)(x, n)); }
float row_sum(const Bf16* x, std::int64_t n) { return exact::canonical(HWY_DYNAMIC_DISPATCH(RowSumBf16)(x, n)); }
float row_max(const float* x, std::int64_t n) { return exact::canonical(HWY_DYNAMIC_DISPATCH(RowMax)(x, n)); }
void sum_rows(const float* rows, std::int64_t count, std::int64_t stride, float* to,
              std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(SumRows)(rows, count, stride, to, n);
}
void sum_rows(const Bf16* rows, std::int64_t count, std::int64_t stride, float* to,
              std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(SumRowsBf16)(rows, count, stride, to, n);
}
void add_to(const float* x, float* to, std::int64_t n) { HWY_DYNAMIC_DISPATCH(AddTo)(x, to, n); }

}  // namespace suanli::engine
#endif
