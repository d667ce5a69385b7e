#include "suanli/engine/cpu/attention_rows.h"

#include "suanli/engine/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "suanli/engine/cpu/attention_rows.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "suanli/engine/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace suanli::engine::HWY_NAMESPACE {

template <typename T>
SoftmaxRow softmax(const float* s, std::size_t valid, std::size_t count, float scale, T* to) {
  // NaN is skipped here or not: e^(NaN - top) is NaN whatever the top.
  Vec top = splat(s[0]);
  for_vectors(count, [&](std::size_t i, auto part) {
    if (i >= valid) return;
    const Vec higher = greater_of(load(s + i, part), top);
    top = i + kLanes <= valid ? higher : hn::IfThenElse(hn::FirstN(Tag(), valid - i), higher, top);
  });
  top = hn::MaxOfLanes(Tag(), top);
  Vec sum = splat(0);
  for_vectors(count, [&](std::size_t i, auto part) {
    Vec p = splat(0);
    if (i < valid) {
      p = exp_of(hn::Mul(splat(scale), hn::Sub(load(s + i, part), top)));
      if (i + kLanes > valid) p = hn::IfThenElseZero(hn::FirstN(Tag(), valid - i), p);
    }
    sum = hn::Add(sum, p);
    store(p, to + i, part);
  });
  return {hn::GetLane(top) * scale, hn::GetLane(hn::SumOfLanes(Tag(), sum))};
}

SoftmaxRow Softmax(float* s, std::size_t valid, std::size_t count, float scale, Bf16* rounded) {
  return rounded != nullptr ? softmax(s, valid, count, scale, rounded) : softmax(s, valid, count, scale, s);
}

template <typename T>
void softmax_grad(const float* s, const float* dp, T* p_to, T* ds_to, const float* stats, const float* delta, float scale,
                  std::size_t first, std::size_t count) {
  for_vectors(count, [&](std::size_t i, auto part) {
    if (i + kLanes <= first) {
      store(splat(0), p_to + i, part);
      store(splat(0), ds_to + i, part);
      return;
    }
    const Vec exponent = hn::Sub(hn::Mul(splat(scale), load(s + i, part)), load(stats + i, part));
    Vec p = exp_of(exponent);
    Vec ds = hn::Mul(hn::Mul(p, hn::Sub(load(dp + i, part), load(delta + i, part))), splat(scale));
    if (i < first) {
      const auto before = hn::FirstN(Tag(), first - i);
      p = hn::IfThenZeroElse(before, p);
      ds = hn::IfThenZeroElse(before, ds);
    }
    store(p, p_to + i, part);
    store(ds, ds_to + i, part);
  });
}

void SoftmaxGrad(const GradRow& row, const float* stats, const float* delta, float scale, std::size_t first,
                 std::size_t count) {
  if (row.rounded_p != nullptr)
    softmax_grad(row.s, row.dp, row.rounded_p, row.rounded_ds, stats, delta, scale, first, count);
  else
    softmax_grad(row.s, row.dp, row.s, row.dp, stats, delta, scale, first, count);
}

void Scale(const float* x, float factor, float* to, std::size_t count) {
  for_vectors(count, [&](std::size_t i, auto part) { store(hn::Mul(splat(factor), load(x + i, part)), to + i, part); });
}

void LogSum(const float* top, const float* sum, float* to, std::size_t count) {
  for_vectors(count, [&](std::size_t i, auto part) {
    store(hn::Add(load(top + i, part), log_of(load(sum + i, part))), to + i, part);
  });
}

template <typename A, typename B>
void dots(const FloatRows& a, const FloatRows& b, std::int64_t rows, std::size_t columns, float* to) {
  for (std::int64_t r = 0; r < rows; ++r) {
    const A* x = reinterpret_cast<const A*>(a.data) + r * a.stride;
    const B* y = reinterpret_cast<const B*>(b.data) + r * b.stride;
    to[r] = strided_sum(columns, [&](std::size_t i, auto part) { return hn::Mul(load(x + i, part), load(y + i, part)); });
  }
}

void Dots(const FloatRows& a, const FloatRows& b, std::int64_t rows, std::size_t columns, float* to) {
  const bool rounded_a = a.dtype == graph::DType::bf16, rounded_b = b.dtype == graph::DType::bf16;
  if (rounded_a)
    rounded_b ? dots<Bf16, Bf16>(a, b, rows, columns, to) : dots<Bf16, float>(a, b, rows, columns, to);
  else
    rounded_b ? dots<float, Bf16>(a, b, rows, columns, to) : dots<float, float>(a, b, rows, columns, to);
}

}  // namespace suanli::engine::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace suanli::engine {

HWY_EXPORT(Softmax);
HWY_EXPORT(SoftmaxGrad);
HWY_EXPORT(Scale);
HWY_EXPORT(LogSum);
HWY_EXPORT(Dots);

namespace {
std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }
}  // namespace

SoftmaxRow softmax_row(float* s, std::int64_t valid, std::int64_t count, float scale, Bf16* rounded) {
  return HWY_DYNAMIC_DISPATCH(Softmax)(s, index(valid), index(count), scale, rounded);
}

void softmax_grad_row(const GradRow& row, const float* stats, const float* delta, float scale, std::int64_t first,
                      std::int64_t count) {
  HWY_DYNAMIC_DISPATCH(SoftmaxGrad)(row, stats, delta, scale, index(first), index(count));
}

void scale_row(const float* x, float factor, float* to, std::int64_t count) {
  HWY_DYNAMIC_DISPATCH(Scale)(x, factor, to, index(count));
}

void log_sum_row(const float* top, const float* sum, float* to, std::int64_t count) {
  HWY_DYNAMIC_DISPATCH(LogSum)(top, sum, to, index(count));
}

void dot_rows(const FloatRows& a, const FloatRows& b, std::int64_t rows, std::int64_t columns, float* to) {
  HWY_DYNAMIC_DISPATCH(Dots)(a, b, rows, index(columns), to);
}

}  // namespace suanli::engine
#endif
