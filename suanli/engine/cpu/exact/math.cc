#include "suanli/engine/cpu/exact/math.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace suanli::engine::exact {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

template <std::size_t kTerms>
float polynomial(const std::array<float, kTerms>& coefficients, float z) {
  float sum = coefficients[kTerms - 1];
  for (std::size_t k = kTerms - 1; k-- > 0;) sum = sum * z + coefficients[k];
  return sum;
}

float power_of_two(std::uint32_t biased_exponent) { return std::bit_cast<float>(biased_exponent << 23); }

// exp(-x (linear + cubic x^2))
float gelu_exponential(float x) { return exp(x * (x * x * -kGeluCubic - kGeluLinear)); }

}  // namespace

float exp(float x) {
  if (x != x) return kNan;
  if (x < kExpLeast) return 0;
  const float near = x > kExpLargest ? kExpLargest : x;
  // near = n ln 2 + r
  const float shifted = near * kLog2E + kRoundingShift;
  const float n = shifted - kRoundingShift;
  const float r = (near - n * kLn2High) - n * kLn2Low;
  const float e = (r * r * polynomial(kExp, r) + r) + 1.0F;
  // e 2^n in two steps, since 2^n itself may lie beyond f32: the biased exponents of the two factors add up to n + 254.
  const std::uint32_t both = std::bit_cast<std::uint32_t>(shifted) - (kRoundingShiftBits - 254);
  const std::uint32_t first = both >> 1;
  return e * power_of_two(first) * power_of_two(both - first);
}

float log(float x) {
  if (!(x >= 0)) return kNan;
  if (x == 0) return -kInfinity;
  if (x == kInfinity) return kInfinity;
  const bool subnormal = x < 0x1p-126F;
  // 2^n m with m in [sqrt(1/2), sqrt(2)); n is counted from 256, so that nothing is negative.
  const auto bits = std::bit_cast<std::uint32_t>(subnormal ? x * 0x1p23F : x);
  const std::uint32_t exponent = ((bits + (0x80000000u - kSqrtHalfBits)) >> 23) - 256;
  const float f = std::bit_cast<float>(bits - (exponent << 23)) - 1.0F;
  const float n = static_cast<float>(static_cast<std::int32_t>(exponent)) - (subnormal ? 23.0F : 0.0F);
  const float square = f * f;
  float y = f * square * polynomial(kLog, f);
  y = y + n * kLn2Low;
  y = y - square * 0.5F;
  return (f + y) + n * kLn2High;
}

float tanh(float x) {
  const float size = std::abs(x);
  if (size < kTanhNear) return std::copysign(size + size * (x * x * polynomial(kTanh, x * x)), x);
  const float e = exp(size + size);
  return canonical(std::copysign(1.0F - 2.0F / (e + 1.0F), x));
}

float erf(float x) {
  const float size = std::abs(x);
  if (size < 1) return std::copysign(size + size * polynomial(kErf, x * x), x);
  const float bounded = size > kErfLargest ? kErfLargest : size;
  const float rest = exp(polynomial(kErfc, bounded - 1.0F));
  return canonical(std::copysign(1.0F - rest, x));
}

float rsqrt(float x) { return canonical(1.0F / std::sqrt(x)); }

float gelu(float x) { return canonical(x / (1.0F + gelu_exponential(x))); }

float gelu_grad(float x, float dy) {
  const float above = x < -kGeluGradLargest ? -kGeluGradLargest : x;
  const float near = above > kGeluGradLargest ? kGeluGradLargest : above;
  const float e = gelu_exponential(near);
  const float s = 1.0F / (1.0F + e);
  const float slope = near * near * kGeluCubicSlope + kGeluLinear;
  const float bell = s * (e * s) * (near * slope);
  return canonical(dy * (s + bell));
}

}  // namespace suanli::engine::exact
