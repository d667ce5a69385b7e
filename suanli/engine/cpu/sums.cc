#include "suanli/engine/cpu/sums.h"

#include <algorithm>

#include "suanli/engine/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "suanli/engine/cpu/sums.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

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

double Sum(const float* x, std::int64_t n) {
  return long_sum(n, [&](std::size_t i, auto part) { return load(x + i, part); });
}

double SumOfSquares(const float* x, std::int64_t n) {
  return long_sum(n, [&](std::size_t i, auto part) {
    const Vec v = load(x + i, part);
    return hn::Mul(v, v);
  });
}

float RowSum(const float* x, std::int64_t n) {
  return strided_sum(static_cast<std::size_t>(n),
                     [&](std::size_t i, auto part) { return load(x + i, part); });
}

float RowMax(const float* x, std::int64_t n) { return largest(x, static_cast<std::size_t>(n)); }

// By strips of columns whose sums stay in registers; a strip's rows are read as whole cache lines.
void SumRows(const float* rows, std::int64_t count, std::int64_t stride, float* to,
             std::int64_t n) {
  std::int64_t done = 0;
  for (; done + static_cast<std::int64_t>(kPartials) <= n; done += kPartials) {
    Vec sums[kAccumulators];
    for (std::size_t k = 0; k < kAccumulators; ++k)
      sums[k] = load(rows + done + k * kLanes, Whole());
    for (std::int64_t r = 1; r < count; ++r)
      for (std::size_t k = 0; k < kAccumulators; ++k)
        sums[k] = hn::Add(sums[k], load(rows + r * stride + done + k * kLanes, Whole()));
    for (std::size_t k = 0; k < kAccumulators; ++k) store(sums[k], to + done + k * kLanes, Whole());
  }
  for_vectors(static_cast<std::size_t>(n - done), [&](std::size_t i, auto part) {
    Vec total = load(rows + done + i, part);
    for (std::int64_t r = 1; r < count; ++r)
      total = hn::Add(total, load(rows + r * stride + done + i, part));
    store(total, to + done + i, part);
  });
}

void AddTo(const float* x, float* to, std::int64_t n) {
  for_vectors(static_cast<std::size_t>(n), [&](std::size_t i, auto part) {
    store(hn::Add(load(to + i, part), load(x + i, part)), to + i, part);
  });
}

}  // namespace suanli::engine::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace suanli::engine {

HWY_EXPORT(Sum);
HWY_EXPORT(SumOfSquares);
HWY_EXPORT(RowSum);
HWY_EXPORT(RowMax);
HWY_EXPORT(SumRows);
HWY_EXPORT(AddTo);

double sum(const float* x, std::int64_t n) { return HWY_DYNAMIC_DISPATCH(Sum)(x, n); }
double sum_of_squares(const float* x, std::int64_t n) {
  return HWY_DYNAMIC_DISPATCH(SumOfSquares)(x, n);
}
float row_sum(const float* x, std::int64_t n) { return HWY_DYNAMIC_DISPATCH(RowSum)(x, n); }
float row_max(const float* x, std::int64_t n) { return HWY_DYNAMIC_DISPATCH(RowMax)(x, n); }
void sum_rows(const float* rows, std::int64_t count, std::int64_t stride, float* to,
              std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(SumRows)(rows, count, stride, to, n);
}
void add_to(const float* x, float* to, std::int64_t n) { HWY_DYNAMIC_DISPATCH(AddTo)(x, to, n); }

}  // namespace suanli::engine
#endif
