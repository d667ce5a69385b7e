// The elementwise functions of exact arithmetic on vectors, compiled once per instruction set (include after
// hwy/foreach_target.h). Each lane has the bits of the function of the same name in exact/math.h, which says what they are; the
// operations and their order are the same as in exact/math.cc.
//
// Only f32 + - * / sqrt, comparisons, selections and whole-number operations on bits: those round alike on every target.

// Per-target include guard.
#if defined(SUANLI_ENGINE_CPU_EXACT_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUANLI_ENGINE_CPU_EXACT_MATH_INL_H_
#undef SUANLI_ENGINE_CPU_EXACT_MATH_INL_H_
#else
#define SUANLI_ENGINE_CPU_EXACT_MATH_INL_H_
#endif

#include <hwy/highway.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "suanli/engine/cpu/exact/math_coefficients.h"
#include "suanli/engine/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace suanli::engine::HWY_NAMESPACE {

// A result that is not a number becomes 0x7FC00000: the CPU's own NaN has a sign and a payload that depend on the instruction.
HWY_INLINE Vec canonical(Vec x) { return hn::IfThenElse(hn::IsNaN(x), splat(exact::kNan), x); }

// Horner's rule, the highest power first; each product and each sum rounds.
template <std::size_t kTerms>
HWY_INLINE Vec exact_polynomial(const std::array<float, kTerms>& coefficients, Vec z) {
  Vec sum = splat(coefficients[kTerms - 1]);
  for (std::size_t k = kTerms - 1; k-- > 0;) sum = hn::Add(hn::Mul(sum, z), splat(coefficients[k]));
  return sum;
}

// exp; of a NaN some NaN. What underflows to 0 is set to 0, not computed: an underflow costs many Intel CPUs a hundred cycles,
// and half of the scores of a causal softmax are of this kind.
HWY_INLINE Vec exact_exp_any_nan(Vec x) {
  const BitsTag d;
  const auto gone = hn::Lt(x, splat(exact::kExpLeast));
  const Vec bounded = hn::IfThenElse(hn::Gt(x, splat(exact::kExpLargest)), splat(exact::kExpLargest), x);
  const Vec near = hn::IfThenZeroElse(gone, bounded);
  const Vec shifted = hn::Add(hn::Mul(near, splat(exact::kLog2E)), splat(exact::kRoundingShift));
  const Vec n = hn::Sub(shifted, splat(exact::kRoundingShift));
  const Vec r = hn::Sub(hn::Sub(near, hn::Mul(n, splat(exact::kLn2High))), hn::Mul(n, splat(exact::kLn2Low)));
  const Vec square_part = hn::Mul(hn::Mul(r, r), exact_polynomial(exact::kExp, r));
  const Vec e = hn::Add(hn::Add(square_part, r), splat(1));
  // e 2^n in two steps, since 2^n itself may lie beyond f32: the biased exponents of the two factors add up to n + 254.
  const auto both = hn::Sub(hn::BitCast(d, shifted), hn::Set(d, exact::kRoundingShiftBits - 254));
  const auto first = hn::ShiftRight<1>(both);
  const Vec half = hn::BitCast(Tag(), hn::ShiftLeft<23>(first));
  const Vec rest = hn::BitCast(Tag(), hn::ShiftLeft<23>(hn::Sub(both, first)));
  return hn::IfThenZeroElse(gone, hn::Mul(hn::Mul(e, half), rest));
}
HWY_INLINE Vec exact_exp(Vec x) { return canonical(exact_exp_any_nan(x)); }

HWY_INLINE Vec exact_log(Vec x) {
  const BitsTag d;
  const hn::RebindToSigned<Tag> whole;
  const auto subnormal = hn::Lt(x, splat(0x1p-126F));
  const Vec normal = hn::IfThenElse(subnormal, hn::Mul(x, splat(0x1p23F)), x);
  // normal = 2^n m with m in [sqrt(1/2), sqrt(2)); n is counted from 256, so that nothing is negative.
  const auto bits = hn::BitCast(d, normal);
  const auto offset = hn::Add(bits, hn::Set(d, 0x80000000u - exact::kSqrtHalfBits));
  const auto exponent = hn::Sub(hn::ShiftRight<23>(offset), hn::Set(d, 256));
  const Vec m = hn::BitCast(Tag(), hn::Sub(bits, hn::ShiftLeft<23>(exponent)));
  const Vec counted = hn::ConvertTo(Tag(), hn::BitCast(whole, exponent));
  const Vec n = hn::Sub(counted, hn::IfThenElseZero(subnormal, splat(23)));
  const Vec f = hn::Sub(m, splat(1));
  const Vec square = hn::Mul(f, f);
  Vec y = hn::Mul(hn::Mul(f, square), exact_polynomial(exact::kLog, f));
  y = hn::Add(y, hn::Mul(n, splat(exact::kLn2Low)));
  y = hn::Sub(y, hn::Mul(square, splat(0.5F)));
  y = hn::Add(hn::Add(f, y), hn::Mul(n, splat(exact::kLn2High)));
  const Vec infinity = splat(std::numeric_limits<float>::infinity());
  y = hn::IfThenElse(hn::Eq(x, infinity), infinity, y);
  y = hn::IfThenElse(hn::Eq(x, splat(0)), splat(-std::numeric_limits<float>::infinity()), y);
  return hn::IfThenElse(hn::Ge(x, splat(0)), y, splat(exact::kNan));
}

HWY_INLINE Vec exact_tanh(Vec x) {
  const Vec size = hn::Abs(x);
  const Vec z = hn::Mul(x, x);
  const Vec near = hn::Add(size, hn::Mul(size, hn::Mul(z, exact_polynomial(exact::kTanh, z))));
  const Vec e = exact_exp_any_nan(hn::Add(size, size));
  const Vec far = hn::Sub(splat(1), hn::Div(splat(2), hn::Add(e, splat(1))));
  return canonical(hn::CopySign(hn::IfThenElse(hn::Lt(size, splat(exact::kTanhNear)), near, far), x));
}

HWY_INLINE Vec exact_erf(Vec x) {
  const Vec size = hn::Abs(x);
  const Vec z = hn::Mul(x, x);
  const Vec near = hn::Add(size, hn::Mul(size, exact_polynomial(exact::kErf, z)));
  const Vec bounded = hn::IfThenElse(hn::Gt(size, splat(exact::kErfLargest)), splat(exact::kErfLargest), size);
  const Vec rest = exact_exp_any_nan(exact_polynomial(exact::kErfc, hn::Sub(bounded, splat(1))));
  const Vec far = hn::Sub(splat(1), rest);
  return canonical(hn::CopySign(hn::IfThenElse(hn::Lt(size, splat(1)), near, far), x));
}

HWY_INLINE Vec exact_rsqrt(Vec x) { return canonical(hn::Div(splat(1), hn::Sqrt(x))); }

// exp(-x (linear + cubic x^2)), the exponential of gelu; of a NaN some NaN.
HWY_INLINE Vec exact_gelu_exponential(Vec x) {
  const Vec slope = hn::Sub(hn::Mul(hn::Mul(x, x), splat(-exact::kGeluCubic)), splat(exact::kGeluLinear));
  return exact_exp_any_nan(hn::Mul(x, slope));
}
HWY_INLINE Vec exact_gelu(Vec x) {
  return canonical(hn::Div(x, hn::Add(splat(1), exact_gelu_exponential(x))));
}
HWY_INLINE Vec exact_gelu_grad(Vec x, Vec dy) {
  const Vec largest = splat(exact::kGeluGradLargest), least = splat(-exact::kGeluGradLargest);
  const Vec above = hn::IfThenElse(hn::Lt(x, least), least, x);
  const Vec near = hn::IfThenElse(hn::Gt(above, largest), largest, above);
  const Vec e = exact_gelu_exponential(near);
  const Vec s = hn::Div(splat(1), hn::Add(splat(1), e));
  const Vec slope = hn::Add(hn::Mul(hn::Mul(near, near), splat(exact::kGeluCubicSlope)), splat(exact::kGeluLinear));
  const Vec bell = hn::Mul(hn::Mul(s, hn::Mul(e, s)), hn::Mul(near, slope));
  return canonical(hn::Mul(dy, hn::Add(s, bell)));
}

}  // namespace suanli::engine::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
