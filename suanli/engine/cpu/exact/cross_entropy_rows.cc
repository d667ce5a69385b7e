#include "suanli/engine/cpu/exact/cross_entropy_rows.h"

#include <algorithm>

#include "suanli/engine/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "suanli/engine/cpu/exact/cross_entropy_rows.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "suanli/engine/cpu/exact/math-inl.h"
#include "suanli/engine/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace suanli::engine::HWY_NAMESPACE {

using exact::kNotANumber;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

void ChunkSum(const float* x, std::size_t n, float* top, float* sum) {
  const float m = largest(x, n);
  *top = m;
  if (m == -kInfinity) {
    // A NaN may have been passed over.
    *sum = std::all_of(x, x + n, [](float v) { return v == -kInfinity; }) ? 0 : kNotANumber;
    return;
  }
  *sum = strided_sum(n, [&](std::size_t i, auto part) { return exact_exp(hn::Sub(load(x + i, part), splat(m))); });
}

void JoinChunks(const float* tops, float* sums, std::size_t chunks, exact::RowSum* row) {
  const float m = largest(tops, chunks);
  for_vectors(chunks, [&](std::size_t c, auto part) {
    const Vec factor = exact_exp(hn::Sub(load(tops + c, part), splat(m)));
    store(hn::Mul(load(sums + c, part), factor), sums + c, part);
  });
  float a = 0;
  for (std::size_t c = 0; c < chunks; ++c) a += sums[c];
  *row = {.top = m, .log_sum = hn::GetLane(exact_log(splat(a)))};
}

void ProbabilityRow(const float* x, std::size_t n, float total, float factor, float* to) {
  for_vectors(n, [&](std::size_t i, auto part) {
    const Vec p = exact_exp(hn::Sub(load(x + i, part), splat(total)));
    store(canonical(hn::Mul(p, splat(factor))), to + i, part);
  });
}

void TargetGradient(float x, float total, float factor, float* to) {
  const Vec p = exact_exp(splat(x - total));
  *to = hn::GetLane(canonical(hn::Mul(hn::Sub(p, splat(1)), splat(factor))));
}

void ScaledRow(const float* x, float factor, std::size_t n, float* to) {
  for_vectors(n, [&](std::size_t i, auto part) { store(canonical(hn::Mul(load(x + i, part), splat(factor))), to + i, part); });
}
void SubtractRow(float* x, const float* y, std::size_t n) {
  for_vectors(n, [&](std::size_t i, auto part) { store(canonical(hn::Sub(load(x + i, part), load(y + i, part))), x + i, part); });
}
void SubtractAndScaleRow(float* x, const float* y, float factor, std::size_t n) {
  for_vectors(n, [&](std::size_t i, auto part) {
    const Vec difference = hn::Sub(load(x + i, part), load(y + i, part));
    store(canonical(hn::Mul(difference, splat(factor))), x + i, part);
  });
}

}  // namespace suanli::engine::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace suanli::engine::exact {

HWY_EXPORT(ChunkSum);
HWY_EXPORT(JoinChunks);
HWY_EXPORT(ProbabilityRow);
HWY_EXPORT(TargetGradient);
HWY_EXPORT(ScaledRow);
HWY_EXPORT(SubtractRow);
HWY_EXPORT(SubtractAndScaleRow);

namespace {
std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }
float canonical(float x) { return x != x ? kNotANumber : x; }
}  // namespace

float RowSum::total() const { return canonical(top + log_sum); }
float RowSum::loss(float target_logit) const { return canonical(log_sum - (target_logit - top)); }

void chunk_sum(const float* x, std::int64_t n, float* top, float* sum) { HWY_DYNAMIC_DISPATCH(ChunkSum)(x, index(n), top, sum); }
RowSum join_chunks(const float* tops, float* sums, std::int64_t chunks) {
  RowSum row;
  HWY_DYNAMIC_DISPATCH(JoinChunks)(tops, sums, index(chunks), &row);
  return row;
}
void probability_row(const float* x, std::int64_t n, float total, float factor, float* to) {
  HWY_DYNAMIC_DISPATCH(ProbabilityRow)(x, index(n), total, factor, to);
}
float target_gradient(float x, float total, float factor) {
  float gradient = 0;
  HWY_DYNAMIC_DISPATCH(TargetGradient)(x, total, factor, &gradient);
  return gradient;
}
void scaled_row(const float* x, float factor, std::int64_t n, float* to) {
  HWY_DYNAMIC_DISPATCH(ScaledRow)(x, factor, index(n), to);
}
void subtract_row(float* x, const float* y, std::int64_t n) { HWY_DYNAMIC_DISPATCH(SubtractRow)(x, y, index(n)); }
void subtract_and_scale_row(float* x, const float* y, float factor, std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(SubtractAndScaleRow)(x, y, factor, index(n));
}

}  // namespace suanli::engine::exact
#endif
