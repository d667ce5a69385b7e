#include "suanli/engine/cpu/exact/tile.h"

#include "suanli/base/error.h"
#include "suanli/engine/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "suanli/engine/cpu/exact/tile.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "suanli/engine/cpu/exact/math-inl.h"
#include "suanli/engine/cpu/tile_map-inl.h"

HWY_BEFORE_NAMESPACE();
namespace suanli::engine::HWY_NAMESPACE {

void ExactTile(RegionOp op, const TileOperand& a, const TileOperand& b, float immediate, float* out, std::int64_t n) {
  switch (op) {
    case RegionOp::add:
      return map2(a, b, out, n, [](Vec x, Vec y) { return canonical(hn::Add(x, y)); });
    case RegionOp::sub:
      return map2(a, b, out, n, [](Vec x, Vec y) { return canonical(hn::Sub(x, y)); });
    case RegionOp::mul:
      return map2(a, b, out, n, [](Vec x, Vec y) { return canonical(hn::Mul(x, y)); });
    case RegionOp::div:
      return map2(a, b, out, n, [](Vec x, Vec y) { return canonical(hn::Div(x, y)); });
    case RegionOp::minimum:  // a > b ? b : a
      return map2(a, b, out, n, [](Vec x, Vec y) { return canonical(hn::IfThenElse(hn::Gt(x, y), y, x)); });
    case RegionOp::maximum:
      return map2(a, b, out, n, [](Vec x, Vec y) { return canonical(greater_of(x, y)); });
    case RegionOp::greater:
      return map2(a, b, out, n, [](Vec x, Vec y) { return one_if(hn::Gt(x, y)); });
    case RegionOp::equal:
      return map2(a, b, out, n, [](Vec x, Vec y) { return one_if(hn::Eq(x, y)); });
    case RegionOp::scale:
      return map1(a, out, n, [immediate](Vec x) { return canonical(hn::Mul(x, splat(immediate))); });
    case RegionOp::shift:
      return map1(a, out, n, [immediate](Vec x) { return canonical(hn::Add(x, splat(immediate))); });
    case RegionOp::exp:
      return map1(a, out, n, [](Vec x) { return exact_exp(x); });
    case RegionOp::log:
      return map1(a, out, n, [](Vec x) { return exact_log(x); });
    case RegionOp::sqrt:
      return map1(a, out, n, [](Vec x) { return canonical(hn::Sqrt(x)); });
    case RegionOp::rsqrt:
      return map1(a, out, n, [](Vec x) { return exact_rsqrt(x); });
    case RegionOp::tanh:
      return map1(a, out, n, [](Vec x) { return exact_tanh(x); });
    case RegionOp::gelu:
      return map1(a, out, n, [](Vec x) { return exact_gelu(x); });
    case RegionOp::round_bf16:
      return map1(a, out, n, [](Vec x) { return round_to_bf16(canonical(x)); });
    case RegionOp::gelu_grad:
      return map2(a, b, out, n, [](Vec x, Vec dy) { return exact_gelu_grad(x, dy); });
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
