// An elementwise function over a tile, compiled once per instruction set (include after hwy/foreach_target.h).

// Per-target include guard.
#if defined(SUANLI_ENGINE_CPU_TILE_MAP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUANLI_ENGINE_CPU_TILE_MAP_INL_H_
#undef SUANLI_ENGINE_CPU_TILE_MAP_INL_H_
#else
#define SUANLI_ENGINE_CPU_TILE_MAP_INL_H_
#endif

#include "suanli/engine/cpu/tile_ops.h"
#include "suanli/engine/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace suanli::engine::HWY_NAMESPACE {

static_assert(kTileStep % kLanes == 0);

// out[i] = f(a[i]); n is a multiple of kTileStep.
template <class F>
HWY_INLINE void map1(const TileOperand& a, float* out, std::int64_t n, const F& f) {
  const std::int64_t step = a.repeated ? 0 : static_cast<std::int64_t>(kLanes);
  const float* from = a.data;
  for (std::int64_t i = 0; i < n; i += kLanes, from += step) store(f(load(from, Whole())), out + i, Whole());
}

// out[i] = f(a[i], b[i]).
template <class F>
HWY_INLINE void map2(const TileOperand& a, const TileOperand& b, float* out, std::int64_t n, const F& f) {
  const std::int64_t step_a = a.repeated ? 0 : static_cast<std::int64_t>(kLanes);
  const std::int64_t step_b = b.repeated ? 0 : static_cast<std::int64_t>(kLanes);
  const float* from_a = a.data;
  const float* from_b = b.data;
  for (std::int64_t i = 0; i < n; i += kLanes, from_a += step_a, from_b += step_b)
    store(f(load(from_a, Whole()), load(from_b, Whole())), out + i, Whole());
}

HWY_INLINE Vec one_if(hn::Mask<Tag> condition) { return hn::IfThenElseZero(condition, splat(1)); }

}  // namespace suanli::engine::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
