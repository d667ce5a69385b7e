#include "suanli/engine/cpu/tile_ops.h"

#include "suanli/base/error.h"
#include "suanli/engine/cpu/bf16_convert.h"
#include "suanli/engine/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "suanli/engine/cpu/tile_ops.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "suanli/engine/cpu/tile_map-inl.h"

HWY_BEFORE_NAMESPACE();
namespace suanli::engine::HWY_NAMESPACE {

void ApplyTile(RegionOp op, const TileOperand& a, const TileOperand& b, float immediate, float* out,
               std::int64_t n) {
  switch (op) {
    case RegionOp::add:
      return map2(a, b, out, n, [](Vec x, Vec y) { return hn::Add(x, y); });
    case RegionOp::sub:
      return map2(a, b, out, n, [](Vec x, Vec y) { return hn::Sub(x, y); });
    case RegionOp::mul:
      return map2(a, b, out, n, [](Vec x, Vec y) { return hn::Mul(x, y); });
    case RegionOp::div:
      return map2(a, b, out, n, [](Vec x, Vec y) { return hn::Div(x, y); });
    case RegionOp::minimum:  // a > b ? b : a
      return map2(a, b, out, n, [](Vec x, Vec y) { return hn::IfThenElse(hn::Gt(x, y), y, x); });
    case RegionOp::maximum:
      return map2(a, b, out, n, [](Vec x, Vec y) { return greater_of(x, y); });
    case RegionOp::greater:
      return map2(a, b, out, n, [](Vec x, Vec y) { return one_if(hn::Gt(x, y)); });
    case RegionOp::equal:
      return map2(a, b, out, n, [](Vec x, Vec y) { return one_if(hn::Eq(x, y)); });
    case RegionOp::scale:
      return map1(a, out, n, [immediate](Vec x) { return hn::Mul(x, splat(immediate)); });
    case RegionOp::shift:
      return map1(a, out, n, [immediate](Vec x) { return hn::Add(x, splat(immediate)); });
    case RegionOp::exp:
      return map1(a, out, n, [](Vec x) { return exp_of(x); });
    case RegionOp::log:
      return map1(a, out, n, [](Vec x) { return log_of(x); });
    case RegionOp::sqrt:
      return map1(a, out, n, [](Vec x) { return hn::Sqrt(x); });
    case RegionOp::rsqrt:
      return map1(a, out, n, [](Vec x) { return hn::Div(splat(1), hn::Sqrt(x)); });
    case RegionOp::tanh:
      return map1(a, out, n, [](Vec x) { return tanh_of(x); });
    case RegionOp::gelu:
      return map1(a, out, n, [](Vec x) { return gelu_of(x); });
    case RegionOp::round_bf16:
      return map1(a, out, n, [](Vec x) { return round_to_bf16(x); });
    case RegionOp::gelu_grad:
      return map2(a, b, out, n, [](Vec x, Vec dy) { return gelu_grad_of(x, dy); });
    case RegionOp::row_sum:
    case RegionOp::row_max:
      break;
  }
  SUANLI_CHECK(false);
}

template <typename From, typename To>
HWY_INLINE void copy(const From* from, To* to, std::int64_t n) {
  for_vectors(static_cast<std::size_t>(n),
              [&](std::size_t i, auto part) { store(load(from + i, part), to + i, part); });
}

void Widen(const Bf16* from, float* to, std::int64_t n) { copy(from, to, n); }
void Narrow(const float* from, Bf16* to, std::int64_t n) { copy(from, to, n); }

const char* TargetName() { return hwy::TargetName(HWY_TARGET); }

}  // namespace suanli::engine::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace suanli::engine {

HWY_EXPORT(ApplyTile);
HWY_EXPORT(Widen);
HWY_EXPORT(Narrow);
HWY_EXPORT(TargetName);

void apply_tile(RegionOp op, const TileOperand& a, const TileOperand& b, float immediate, float* out,
                std::int64_t n) {
  if (op == RegionOp::round_bf16 && !a.repeated && has_bf16_instructions())
    return round_by_instruction(a.data, out, n);
  HWY_DYNAMIC_DISPATCH(ApplyTile)(op, a, b, immediate, out, n);
}
void widen(const Bf16* from, float* to, std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(Widen)(from, to, n);
}
void narrow(const float* from, Bf16* to, std::int64_t n) {
  if (has_bf16_instructions()) return narrow_by_instruction(from, to, n);
  HWY_DYNAMIC_DISPATCH(Narrow)(from, to, n);
}
void convert(const std::int32_t* from, float* to, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) to[i] = static_cast<float>(from[i]);
}
std::string simd_name() { return HWY_DYNAMIC_DISPATCH(TargetName)(); }

}  // namespace suanli::engine
#endif
