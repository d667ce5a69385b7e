#include "suanli/engine/cpu/exact/attention_rows.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "suanli/engine/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "suanli/engine/cpu/exact/attention_rows.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "suanli/engine/cpu/exact/math-inl.h"
#include "suanli/engine/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace suanli::engine::HWY_NAMESPACE {

using exact::WeightRow;
using IntTag = hn::RebindToSigned<Tag>;
using ShortTag = hn::Rebind<std::int16_t, Tag>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// 1.5 2^23: a float of magnitude up to 2^22 added to it is rounded to the nearest even integer.
constexpr float kRounder = 12582912.0F;

// Which lanes of a vector count: all of them, or the first few, and of the others `x` is `otherwise`.
struct All {};
HWY_INLINE Vec only(Vec x, All, Vec) { return x; }
HWY_INLINE Vec only(Vec x, Part valid, Vec otherwise) { return hn::IfThenElse(hn::FirstN(Tag(), valid.count), x, otherwise); }

// Calls body(index of the first element, Whole or Part, which lanes count) for each vector of [0, valid). The last one is whole
// where the row has room for it: what lies behind the valid elements is read and written, and left to be overwritten.
template <class Body>
HWY_INLINE void for_valid(std::size_t valid, std::size_t count, const Body& body) {
  std::size_t i = 0;
  for (; i + kLanes <= valid; i += kLanes) body(i, Whole(), All());
  if (i == valid) return;
  if (i + kLanes <= count)
    body(i, Whole(), Part{valid - i});
  else
    body(i, Part{valid - i}, Part{valid - i});
}

// A weight as `rounded` holds it, the sum with kRounder: as an integer in the low bits.
HWY_INLINE hn::Vec<IntTag> integer_of(Vec rounded) {
  return hn::Sub(hn::BitCast(IntTag(), rounded), hn::BitCast(IntTag(), splat(kRounder)));
}
template <class Some>
HWY_INLINE void store_weight(Vec rounded, float* to, Some part) {
  store(hn::Sub(rounded, splat(kRounder)), to, part);
}
HWY_INLINE void store_weight(Vec rounded, std::int16_t* to, Whole) {
  hn::StoreU(hn::DemoteTo(ShortTag(), integer_of(rounded)), ShortTag(), to);
}
HWY_INLINE void store_weight(Vec rounded, std::int16_t* to, Part part) {
  alignas(64) std::int16_t padded[kLanes];
  store_weight(rounded, padded, Whole());
  std::memcpy(to, padded, part.count * sizeof(std::int16_t));
}

template <typename T>
HWY_INLINE void weigh(const float* s, std::size_t valid, std::size_t count, float scale, T* to, WeightRow* row) {
  // The largest value does not depend on the order (only the sign of a zero does, of which exp knows nothing, and L neither:
  // L is a sum with log(z) >= +0). A NaN may be passed over here, but not in `bad`.
  const Vec least = splat(-kInfinity);
  Vec top = least;
  auto bad = hn::Ne(least, least);
  for_valid(valid, count, [&](std::size_t j, auto part, auto lanes) {
    const Vec x = only(hn::Mul(load(s + j, part), splat(scale)), lanes, least);
    top = greater_of(x, top);
    bad = hn::Or(bad, hn::IsNaN(x));
  });
  const float largest_score = hn::GetLane(hn::MaxOfLanes(Tag(), top));
  *row = {.top = largest_score, .sum = 0};
  if (!hn::AllFalse(Tag(), bad) || std::isinf(largest_score)) {
    std::fill_n(to, count, T(0));
    return;
  }
  const IntTag integers;
  const Vec shift = splat(largest_score), unit = splat(static_cast<float>(1 << exact::kWeightBits));
  // A piece's sum fits 32 bits per lane: 2^16 weights of at most 2^13.
  for (std::size_t begin = 0; begin < valid; begin += 65536) {
    auto sum = hn::Zero(integers);
    for_valid(std::min<std::size_t>(65536, valid - begin), count - begin, [&](std::size_t i, auto part, auto lanes) {
      const std::size_t j = begin + i;
      const Vec p = exact_exp_any_nan(hn::Sub(hn::Mul(load(s + j, part), splat(scale)), shift));
      const Vec rounded = hn::Add(only(hn::Mul(p, unit), lanes, splat(0)), splat(kRounder));
      sum = hn::Add(sum, integer_of(rounded));
      store_weight(rounded, to + j, part);
    });
    alignas(64) std::int32_t sums[kLanes];
    hn::StoreU(sum, integers, sums);
    for (std::size_t k = 0; k < kLanes; ++k) row->sum += sums[k];
  }
  std::fill(to + valid, to + count, T(0));
}

void WeighShort(const float* s, std::size_t valid, std::size_t count, float scale, std::int16_t* to, WeightRow* row) {
  weigh(s, valid, count, scale, to, row);
}
void WeighFloat(float* s, std::size_t valid, std::size_t count, float scale, WeightRow* row) {
  weigh(s, valid, count, scale, s, row);
}

void WeightGrad(float* weights, float* dp, std::size_t valid, std::size_t count, float n, float delta) {
  for_valid(valid, count, [&](std::size_t j, auto part, auto) {
    const Vec p = hn::Div(load(weights + j, part), splat(n));
    store(hn::Mul(p, hn::Sub(load(dp + j, part), splat(delta))), dp + j, part);
    store(p, weights + j, part);
  });
  std::fill(weights + valid, weights + count, 0.0F);
  std::fill(dp + valid, dp + count, 0.0F);
}

void ExactDivideRow(float* x, float divisor, std::size_t count) {
  for_vectors(count,
              [&](std::size_t c, auto part) { store(canonical(hn::Div(load(x + c, part), splat(divisor))), x + c, part); });
}
void ExactMultiplyRow(float* x, float factor, std::size_t count) {
  for_vectors(count, [&](std::size_t c, auto part) { store(canonical(hn::Mul(load(x + c, part), splat(factor))), x + c, part); });
}
void ExactLogSumRow(const float* top, const float* sum_of_exp, float* to, std::size_t count) {
  for_vectors(count, [&](std::size_t i, auto part) {
    store(canonical(hn::Add(load(top + i, part), exact_log(load(sum_of_exp + i, part)))), to + i, part);
  });
}

}  // namespace suanli::engine::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace suanli::engine::exact {

HWY_EXPORT(WeighShort);
HWY_EXPORT(WeighFloat);
HWY_EXPORT(WeightGrad);
HWY_EXPORT(ExactDivideRow);
HWY_EXPORT(ExactMultiplyRow);
HWY_EXPORT(ExactLogSumRow);

namespace {
std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }
}  // namespace

float WeightRow::count() const { return poisoned() ? std::numeric_limits<float>::quiet_NaN() : static_cast<float>(sum); }
float WeightRow::sum_of_exp() const { return count() * (1.0F / (1 << kWeightBits)); }

WeightRow weigh_row(const float* scores, std::int64_t valid, std::int64_t count, float scale, std::int16_t* weights) {
  WeightRow row;
  HWY_DYNAMIC_DISPATCH(WeighShort)(scores, index(valid), index(count), scale, weights, &row);
  return row;
}
WeightRow weigh_row(float* scores, std::int64_t valid, std::int64_t count, float scale) {
  WeightRow row;
  HWY_DYNAMIC_DISPATCH(WeighFloat)(scores, index(valid), index(count), scale, &row);
  return row;
}
void weight_grad_row(float* weights, float* dp, std::int64_t valid, std::int64_t count, float n, float delta) {
  HWY_DYNAMIC_DISPATCH(WeightGrad)(weights, dp, index(valid), index(count), n, delta);
}
void divide_row(float* x, float divisor, std::int64_t count) { HWY_DYNAMIC_DISPATCH(ExactDivideRow)(x, divisor, index(count)); }
void multiply_row(float* x, float factor, std::int64_t count) { HWY_DYNAMIC_DISPATCH(ExactMultiplyRow)(x, factor, index(count)); }
void log_sum_row(const float* top, const float* sum_of_exp, float* to, std::int64_t count) {
  HWY_DYNAMIC_DISPATCH(ExactLogSumRow)(top, sum_of_exp, to, index(count));
}

}  // namespace suanli::engine::exact
#endif
