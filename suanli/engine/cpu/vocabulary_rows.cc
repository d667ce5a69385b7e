#include "suanli/engine/cpu/vocabulary_rows.h"

#include <cmath>
#include <limits>

#include "suanli/engine/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "suanli/engine/cpu/vocabulary_rows.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "suanli/engine/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace suanli::engine::HWY_NAMESPACE {

// e^x for x in [-87, 88] with a relative error below 3e-7 + 2e-8 |x|, at half the cost of exp_of: x = n ln 2 + f ln 2,
// |f| <= 1/2, and 2^f by the polynomial of degree 5 with p(0) = 1 that is best on [-1/2, 1/2]. Below it stays at e^-87, above
// it is infinite; NaN stays NaN.
HWY_INLINE Vec exp_near(Vec x) {
  constexpr float kLog2E = 1.44269504F;
  constexpr float kRound = 12582912.0F + 127.0F;  // 1.5 * 2^23: adding it rounds; its low bits are then n + 127
  const Tag d;
  Vec y = hn::IfThenElse(hn::Lt(x, splat(-87.0F)), splat(-87.0F), x);
  y = hn::IfThenElse(hn::Gt(y, splat(89.0F)), splat(89.0F), y);
  const Vec shifted = hn::MulAdd(y, splat(kLog2E), splat(kRound));
  const Vec f = hn::MulSub(y, splat(kLog2E), hn::Sub(shifted, splat(kRound)));
  Vec p = hn::MulAdd(splat(1.326466561295092e-3F), f, splat(9.671512991189957e-3F));
  p = hn::MulAdd(p, f, splat(5.550733953714371e-2F));
  p = hn::MulAdd(p, f, splat(2.4022242426872253e-1F));
  p = hn::MulAdd(p, f, splat(6.931470036506653e-1F));
  p = hn::MulAdd(p, f, splat(1.0F));
  const Vec power = hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(BitsTag(), shifted)));
  return hn::Mul(p, power);
}

HWY_INLINE bool is_among(std::int32_t target, const LogitsPiece& piece) {
  return static_cast<std::uint64_t>(std::int64_t{target} - piece.first_entry) < static_cast<std::uint64_t>(piece.entries);
}

// Calls visit(n, the element of the target) for each row whose target is in the piece.
template <class Visit>
HWY_INLINE void for_targets(const LogitsPiece& piece, const std::int32_t* targets, const Visit& visit) {
  constexpr std::int64_t kGroup = 16;
  std::int64_t n = 0;
  const auto one = [&](std::int64_t row) {
    if (is_among(targets[row], piece)) visit(row, piece.data + (targets[row] - piece.first_entry) * piece.stride + row);
  };
  const auto first = static_cast<std::uint32_t>(piece.first_entry), entries = static_cast<std::uint32_t>(piece.entries);
  for (; n + kGroup <= piece.rows; n += kGroup) {
    std::uint32_t any = 0;  // nearly always 0
    for (std::int64_t i = 0; i < kGroup; ++i) any |= static_cast<std::uint32_t>(targets[n + i]) - first < entries ? 1U : 0U;
    if (any != 0)
      for (std::int64_t i = 0; i < kGroup; ++i) one(n + i);
  }
  for (; n < piece.rows; ++n) one(n);
}

// Combines value(v) of all entries v, in four chains.
template <class Value, class Combine>
HWY_INLINE Vec combine_entries(std::int64_t entries, Vec start, const Value& value, const Combine& combine) {
  Vec chains[4] = {start, start, start, start};
  std::int64_t v = 0;
  for (; v + 4 <= entries; v += 4)
    for (std::int64_t i = 0; i < 4; ++i) chains[i] = combine(value(v + i), chains[i]);
  for (; v < entries; ++v) chains[0] = combine(value(v), chains[0]);
  return combine(combine(chains[0], chains[1]), combine(chains[2], chains[3]));
}

void AddLogits(const LogitsPiece& piece, const std::int32_t* targets, const RunningSums& sums, float* target_logits) {
  for_vectors(static_cast<std::size_t>(piece.rows), [&](std::size_t n, auto part) {
    const auto logit = [&](std::int64_t v) { return load(piece.data + n + v * piece.stride, part); };
    const Vec before = load(sums.top + n, part);
    const Vec top = combine_entries(piece.entries, before, logit, greater_of);
    const Vec sum = combine_entries(
        piece.entries, splat(0), [&](std::int64_t v) { return exp_near(hn::Sub(logit(v), top)); },
        [](Vec a, Vec b) { return hn::Add(a, b); });
    store(top, sums.top + n, part);
    store(hn::MulAdd(load(sums.sum + n, part), exp_near(hn::Sub(before, top)), sum), sums.sum + n, part);
  });
  for_targets(piece, targets, [&](std::int64_t n, const float* logit) { target_logits[n] = *logit; });
}

void AddSums(const RunningSums& from, const RunningSums& sums, std::size_t rows) {
  for_vectors(rows, [&](std::size_t n, auto part) {
    const Vec a = load(sums.top + n, part), b = load(from.top + n, part);
    const Vec top = greater_of(a, b);
    const Vec kept = hn::Mul(load(sums.sum + n, part), exp_near(hn::Sub(a, top)));
    store(hn::MulAdd(load(from.sum + n, part), exp_near(hn::Sub(b, top)), kept), sums.sum + n, part);
    store(top, sums.top + n, part);
  });
}

void LogitsGradient(const LogitsPiece& piece, const std::int32_t* targets, const float* log_sum_exp, const float* factors) {
  for_vectors(static_cast<std::size_t>(piece.rows), [&](std::size_t n, auto part) {
    float* column = piece.data + n;
    const Vec total = load(log_sum_exp + n, part), factor = load(factors + n, part);
    const auto ignored = hn::Eq(factor, splat(0));  // not so for NaN
    for (std::int64_t v = 0; v < piece.entries; ++v) {
      const Vec p = exp_near(hn::Sub(load(column + v * piece.stride, part), total));
      store(hn::IfThenZeroElse(ignored, hn::Mul(p, factor)), column + v * piece.stride, part);
    }
  });
  for_targets(piece, targets, [&](std::int64_t n, float* gradient) { *gradient -= factors[n]; });
}

}  // namespace suanli::engine::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace suanli::engine {

HWY_EXPORT(AddLogits);
HWY_EXPORT(AddSums);
HWY_EXPORT(LogitsGradient);

namespace {

bool is_foreign(std::int32_t target, std::int64_t vocabulary) { return target < 0 || target >= vocabulary; }

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

}  // namespace

void clear_sums(const RunningSums& sums, std::int64_t rows) {
  // Not -infinity: a piece of nothing but that has no e^(logit - top).
  std::fill_n(sums.top, rows, std::numeric_limits<float>::lowest());
  std::fill_n(sums.sum, rows, 0.0F);
}

void add_logits(const LogitsPiece& piece, const std::int32_t* targets, const RunningSums& sums, float* target_logits) {
  HWY_DYNAMIC_DISPATCH(AddLogits)(piece, targets, sums, target_logits);
}

void add_sums(const RunningSums& part, const RunningSums& sums, std::int64_t rows) {
  HWY_DYNAMIC_DISPATCH(AddSums)(part, sums, static_cast<std::size_t>(rows));
}

void finish_sums(const RunningSums& sums, const std::int32_t* targets, const float* target_logits, std::int64_t vocabulary,
                 std::int64_t rows, float* losses, float* log_sum_exp) {
  for (std::int64_t n = 0; n < rows; ++n) {
    const float log_sum = std::log(sums.sum[n]);
    if (targets[n] == kIgnoredTarget)
      losses[n] = 0;
    else
      losses[n] = is_foreign(targets[n], vocabulary) ? kNan : log_sum - (target_logits[n] - sums.top[n]);
    if (log_sum_exp != nullptr) log_sum_exp[n] = sums.top[n] + log_sum;
  }
}

void row_factors(const std::int32_t* targets, const float* dlosses, std::int64_t vocabulary, std::int64_t rows, float* factors) {
  for (std::int64_t n = 0; n < rows; ++n) {
    if (targets[n] == kIgnoredTarget)
      factors[n] = 0;
    else
      factors[n] = is_foreign(targets[n], vocabulary) ? kNan : dlosses[n];
  }
}

void logits_gradient(const LogitsPiece& piece, const std::int32_t* targets, const float* log_sum_exp, const float* factors) {
  HWY_DYNAMIC_DISPATCH(LogitsGradient)(piece, targets, log_sum_exp, factors);
}

}  // namespace suanli::engine
#endif
