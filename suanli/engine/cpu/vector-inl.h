// Vector building blocks of the CPU kernels, compiled once per instruction set (include after
// hwy/foreach_target.h).
//
// Sums have an order fixed by their length alone: 64 strided partial sums, then a fixed tree,
// whatever the vector length. Loads and stores of the last, partial vector never touch memory
// beyond the row.

// Per-target include guard.
#if defined(SUANLI_ENGINE_CPU_VECTOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUANLI_ENGINE_CPU_VECTOR_INL_H_
#undef SUANLI_ENGINE_CPU_VECTOR_INL_H_
#else
#define SUANLI_ENGINE_CPU_VECTOR_INL_H_
#endif

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "suanli/engine/cpu/bf16.h"

HWY_BEFORE_NAMESPACE();
namespace suanli::engine::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Tag = hn::ScalableTag<float>;
using Vec = hn::Vec<Tag>;
using BitsTag = hn::RebindToUnsigned<Tag>;
using HalfTag = hn::Rebind<std::uint16_t, Tag>;

constexpr std::size_t kLanes = hn::MaxLanes(Tag());
constexpr std::size_t kPartials = 64;
constexpr std::size_t kAccumulators = kPartials / kLanes;
static_assert(kPartials % kLanes == 0);

HWY_INLINE Vec splat(float value) { return hn::Set(Tag(), value); }

// How much of a vector to load or store: all of it, or the first `count` lanes (the others read as
// 0).
struct Whole {};
struct Part {
  std::size_t count;
};

HWY_INLINE Vec load(const float* from, Whole) { return hn::LoadU(Tag(), from); }
HWY_INLINE Vec load(const Bf16* from, Whole) {
  const auto wide = hn::PromoteTo(BitsTag(), hn::LoadU(HalfTag(), &from->bits));
  return hn::BitCast(Tag(), hn::ShiftLeft<16>(wide));
}
template <typename T>
HWY_INLINE Vec load(const T* from, Part part) {
  alignas(64) T padded[kLanes] = {};
  std::memcpy(padded, from, part.count * sizeof(T));
  return load(padded, Whole());
}

// The upper half of each lane, rounded to nearest even; NaN stays NaN.
HWY_INLINE hn::Vec<BitsTag> bf16_bits(Vec x) {
  const BitsTag d;
  const auto bits = hn::BitCast(d, x);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d, 1));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(d, 0x7FFF)));
  const auto nan = hn::Or(bits, hn::Set(d, 0x00400000));
  const auto is_nan = hn::RebindMask(d, hn::IsNaN(x));
  return hn::ShiftRight<16>(hn::IfThenElse(is_nan, nan, rounded));
}
HWY_INLINE Vec round_to_bf16(Vec x) { return hn::BitCast(Tag(), hn::ShiftLeft<16>(bf16_bits(x))); }

HWY_INLINE void store(Vec x, float* to, Whole) { hn::StoreU(x, Tag(), to); }
HWY_INLINE void store(Vec x, Bf16* to, Whole) {
  const hn::RebindToSigned<BitsTag> d;
  hn::StoreU(hn::DemoteTo(HalfTag(), hn::BitCast(d, bf16_bits(x))), HalfTag(), &to->bits);
}
template <typename T>
HWY_INLINE void store(Vec x, T* to, Part part) {
  alignas(64) T padded[kLanes];
  store(x, padded, Whole());
  std::memcpy(to, padded, part.count * sizeof(T));
}

// Calls body(index of the first element, Whole or Part) for each vector of [0, n).
template <class Body>
HWY_INLINE void for_vectors(std::size_t n, const Body& body) {
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body(i, Whole());
  if (i < n) body(i, Part{n - i});
}

HWY_INLINE Vec first_lanes(Vec x, Whole) { return x; }
HWY_INLINE Vec first_lanes(Vec x, Part part) {
  return hn::IfThenElseZero(hn::FirstN(Tag(), part.count), x);
}

// Combines lane i with lane i + width for width 32, 16, .. 1, where lanes are those of all vectors
// in a row.
template <class Combine>
HWY_INLINE float fold(Vec (&lanes)[kAccumulators], const Combine& combine) {
  for (std::size_t width = kAccumulators / 2; width > 0; width /= 2)
    for (std::size_t k = 0; k < width; ++k) lanes[k] = combine(lanes[k], lanes[k + width]);
  alignas(64) float rest[2 * kLanes] = {};
  Vec folded = lanes[0];
  for (std::size_t width = kLanes / 2; width > 0; width /= 2) {
    hn::StoreU(folded, Tag(), rest);
    folded = combine(folded, hn::LoadU(Tag(), rest + width));
  }
  return hn::GetLane(folded);
}

// The sum of value(i, part) over the vectors of [0, n); lanes beyond n are not counted.
template <class Value>
HWY_INLINE float strided_sum(std::size_t n, const Value& value) {
  Vec sums[kAccumulators];
  for (std::size_t k = 0; k < kAccumulators; ++k) sums[k] = splat(0);
  std::size_t i = 0;
  for (; i + kPartials <= n; i += kPartials)
    for (std::size_t k = 0; k < kAccumulators; ++k)
      sums[k] = hn::Add(sums[k], value(i + k * kLanes, Whole()));
  for (std::size_t k = 0; i < n; ++k, i += kLanes) {
    if (i + kLanes <= n) {
      sums[k] = hn::Add(sums[k], value(i, Whole()));
    } else {
      const Part part{n - i};
      sums[k] = hn::Add(sums[k], first_lanes(value(i, part), part));
    }
  }
  return fold(sums, [](Vec a, Vec b) { return hn::Add(a, b); });
}

// a > b ? a : b, and its mirror.
HWY_INLINE Vec greater_of(Vec a, Vec b) { return hn::IfThenElse(hn::Gt(a, b), a, b); }
HWY_INLINE Vec lesser_of(Vec a, Vec b) { return hn::IfThenElse(hn::Lt(a, b), a, b); }

// The largest of x[0..n), n >= 1.
HWY_INLINE float largest(const float* x, std::size_t n) {
  Vec best[kAccumulators];
  for (std::size_t k = 0; k < kAccumulators; ++k) best[k] = splat(x[0]);
  std::size_t i = 0;
  for (; i + kPartials <= n; i += kPartials)
    for (std::size_t k = 0; k < kAccumulators; ++k)
      best[k] = greater_of(best[k], load(x + i + k * kLanes, Whole()));
  float rest = fold(best, greater_of);
  for (; i < n; ++i) rest = rest > x[i] ? rest : x[i];
  return rest;
}

// Highway's functions, made right at NaN, infinities and beyond their range.
HWY_INLINE Vec exp_of(Vec x) {
  // e^89 overflows; from e^105 on Highway's exponent arithmetic would wrap.
  const Vec y = hn::Exp(Tag(), lesser_of(x, splat(89.0F)));
  return hn::IfThenElse(hn::IsNaN(x), x, y);
}
HWY_INLINE Vec log_of(Vec x) {
  const Vec infinity = splat(std::numeric_limits<float>::infinity());
  Vec y = hn::Log(Tag(), x);
  y = hn::IfThenElse(hn::Eq(x, infinity), x, y);
  y = hn::IfThenElse(hn::Eq(x, splat(0)), hn::Neg(infinity), y);
  const Vec nan = splat(std::numeric_limits<float>::quiet_NaN());
  return hn::IfThenElse(hn::Ge(x, splat(0)), y, nan);
}
HWY_INLINE Vec tanh_of(Vec x) { return hn::IfThenElse(hn::IsNaN(x), x, hn::Tanh(Tag(), x)); }

constexpr float kExp2[] = {1.0F,          0.6931472067F,  0.2402265092F, 0.05550327227F,
                           0.009618056679F, 0.001340042818F, 0.0001546144470F};

// s = 1 / (1 + 2^t) and 1 - s, to about 2^-22: what gelu needs, several times faster than exp_of and a division. From
// t = 127 on s is 0. Of a NaN it makes some finite numbers: multiply by what made the NaN.
struct Sigmoid {
  Vec s, rest;
};
HWY_INLINE Sigmoid sigmoid_of_exp2(Vec t) {
  const hn::RebindToSigned<Tag> d;
  const Vec near = hn::Max(hn::Min(t, splat(127)), splat(-126));
  const Vec magic = splat(12582912.0F);  // 1.5 * 2^23: adding it leaves round(near) in the low bits
  const Vec whole = hn::Add(near, magic);
  const Vec f = hn::Sub(near, hn::Sub(whole, magic));  // in [-1/2, 1/2]
  // 2^f by interpolation at the Chebyshev nodes of degree 6: relative error 3e-9 before rounding.
  Vec p = hn::MulAdd(splat(kExp2[6]), f, splat(kExp2[5]));
  for (int k = 4; k >= 0; --k) p = hn::MulAdd(p, f, splat(kExp2[k]));
  const Vec e = hn::BitCast(Tag(), hn::Add(hn::BitCast(d, p), hn::ShiftLeft<23>(hn::BitCast(d, whole))));
  const Vec sum = hn::Add(splat(1), e);
  const Vec guess = hn::ApproximateReciprocal(sum);
  Vec r = hn::Mul(guess, hn::NegMulAdd(sum, guess, splat(2)));
  if (kLanes < 16) r = hn::Mul(r, hn::NegMulAdd(sum, r, splat(2)));  // a rougher guess where vectors are shorter
  r = hn::IfThenElseZero(hn::Lt(t, splat(127)), r);
  return {r, hn::Mul(e, r)};
}

// gelu(x) = x/2 (1 + tanh(u)) = x / (1 + exp(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3)
// (Hendrycks and Gimpel 2016, section 2, the tanh form).
constexpr float kGeluLinear = 1.5957691216057308F;  // 2 sqrt(2/pi)
constexpr float kGeluCubic = 0.07135481282553494F;  // 2 sqrt(2/pi) 0.044715
constexpr float kGeluLog2E = 1.4426950408889634F;

// -2u log2(e), so that exp(-2u) = 2^t
HWY_INLINE Vec gelu_argument(Vec x) {
  return hn::Mul(x, hn::MulAdd(splat(-kGeluCubic * kGeluLog2E), hn::Mul(x, x), splat(-kGeluLinear * kGeluLog2E)));
}
HWY_INLINE Vec gelu_of(Vec x) {
  // -infinity times the limit 0 is NaN, as in the formula itself.
  return hn::Mul(x, sigmoid_of_exp2(gelu_argument(x)).s);
}
// dy times s + x s (1 - s) 2u', s = 1 / (1 + exp(-2u)). Beyond |x| = 10 the slope is 0 or 1 to f32;
// the clamp keeps x^3 finite.
HWY_INLINE Vec gelu_grad_of(Vec x, Vec dy) {
  const Vec near = lesser_of(splat(10), greater_of(splat(-10), x));
  const Sigmoid gate = sigmoid_of_exp2(gelu_argument(near));
  const Vec slope = hn::MulAdd(splat(3 * kGeluCubic), hn::Mul(near, near), splat(kGeluLinear));
  const Vec bell = hn::Mul(hn::Mul(gate.s, gate.rest), hn::Mul(near, slope));
  return hn::Mul(dy, hn::Add(gate.s, bell));
}

}  // namespace suanli::engine::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
