#include "suanli/engine/cpu/exact/tile.h"

#include "suanli/base/error.h"
#include "suanli/engine/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "suanli/engine/cpu/exact/tile.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "suanli/engine/cpu/exact/math-inl.h"
#include "suanli/engine/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace suanli::engine::HWY_NAMESPACE {

static_assert(kTileStep % kLanes == 0);

template <class F>
HWY_INLINE void exact_map1(const TileOperand& a, float* out, std::int64_t n, const F& f) {
  const std::int64_t step = a.repeated ? 0 : static_cast<std::int64_t>(kLanes);
  const float* from = a.data;
  for (std::int64_t i = 0; i < n; i += kLanes, from += step) store(f(load(from, Whole())), out + i, Whole());
}

template <class F>
HWY_INLINE void exact_map2(const TileOperand& a, const TileOperand& b, float* out, std::int64_t n, const F& f) {
  const std::int64_t step_a = a.repeated ? 0 : static_cast<std::int64_t>(kLanes);
  const std::int64_t step_b = b.repeated ? 0 : static_cast<std::int64_t>(kLanes);
  const float* from_a = a.data;
  const float* from_b = b.data;
  for (std::int64_t i = 0; i < n; i += kLanes, from_a += step_a, from_b += step_b)
    store(f(load(from_a, Whole()), load(from_b, Whole())), out + i, Whole());
}

HWY_INLINE Vec exact_one_if(hn::Mask<Tag> condition) { return hn::IfThenElseZero(condition, splat(1)); }

void ExactTile(RegionOp op, const TileOperand& a, const TileOperand& b, float immediate, float* out, std::int64_t n) {
  switch (op) {
    case RegionOp::add:
      return exact_map2(a, b, out, n, [](Vec x, Vec y) { return canonical(hn::Add(x, y)); });
    case RegionOp::sub:
      return exact_map2(a, b, out, n, [](Vec x, Vec y) { return canonical(hn::Sub(x, y)); });
    case RegionOp::mul:
      return exact_map2(a, b, out, n, [](Vec x, Vec y) { return canonical(hn::Mul(x, y)); });
    case RegionOp::div:
      return exact_map2(a, b, out, n, [](Vec x, Vec y) { return canonical(hn::Div(x, y)); });
    case RegionOp::minimum:  // a > b ? b : a
      return exact_map2(a, b, out, n, [](Vec x, Vec y) { return canonical(hn::IfThenElse(hn::Gt(x, y), y, x)); });
    case RegionOp::maximum:
      return exact_map2(a, b, out, n, [](Vec x, Vec y) { return canonical(greater_of(x, y)); });
    case RegionOp::greater:
      return exact_map2(a, b, out, n, [](Vec x, Vec y) { return exact_one_if(hn::Gt(x, y)); });
    case RegionOp::equal:
      return exact_map2(a, b, out, n, [](Vec x, Vec y) { return exact_one_if(hn::Eq(x, y)); });
    case RegionOp::scale:
      return exact_map1(a, out, n, [immediate](Vec x) { return canonical(hn::Mul(x, splat(immediate))); });
    case RegionOp::shift:
      return exact_map1(a, out, n, [immediate](Vec x) { return canonical(hn::Add(x, splat(immediate))); });
    case RegionOp::exp:
      return exact_map1(a, out, n, [](Vec x) { return exact_exp(x); });
    case RegionOp::log:
      return exact_map1(a, out, n, [](Vec x) { return exact_log(x); });
    case RegionOp::sqrt:
      return exact_map1(a, out, n, [](Vec x) { return canonical(hn::Sqrt(x)); });
    case RegionOp::rsqrt:
      return exact_map1(a, out, n, [](Vec x) { return exact_rsqrt(x); });
    case RegionOp::tanh:
      return exact_map1(a, out, n, [](Vec x) { return exact_tanh(x); });
    case RegionOp::gelu:
      return exact_map1(a, out, n, [](Vec x) { return exact_gelu(x); });
    case RegionOp::round_bf16:
      return exact_map1(a, out, n, [](Vec x) { return round_to_bf16(canonical(x)); });
    case RegionOp::gelu_grad:
      return exact_map2(a, b, out, n, [](Vec x, Vec dy) { return exact_gelu_grad(x, dy); });
    case RegionOp::row_sum:
    case RegionOp::row_max:
      break;
  }
  SUANLI_CHECK(false);
}

void ExactNarrow(const float* from, Bf16* to, std::int64_t n) {
  for_vectors(static_cast<std::size_t>(n),
              [&](std::size_t i, auto part) { store(canonical(load(from + i, part)), to + i, part); });
}

}  // namespace suanli::engine::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace suanli::engine {

HWY_EXPORT(ExactTile);
HWY_EXPORT(ExactNarrow);

namespace exact {

void apply_tile(RegionOp op, const TileOperand& a, const TileOperand& b, float immediate, float* out, std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(ExactTile)(op, a, b, immediate, out, n);
}
void narrow(const float* from, Bf16* to, std::int64_t n) { HWY_DYNAMIC_DISPATCH(ExactNarrow)(from, to, n); }

}  // namespace exact
}  // namespace suanli::engine
#endif
