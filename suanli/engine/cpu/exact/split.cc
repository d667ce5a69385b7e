#include "suanli/engine/cpu/exact/split.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "suanli/engine/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "suanli/engine/cpu/exact/split.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "suanli/engine/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace suanli::engine::exact::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using namespace suanli::engine::HWY_NAMESPACE;

std::uint32_t LargestBits(const float* x, std::int64_t n) {
  // As signed integers bits without sign are in the order of |x|, infinities and NaN above all numbers.
  const hn::RebindToSigned<Tag> d;
  const auto without_sign = hn::Set(d, 0x7FFFFFFF);
  auto even = hn::Zero(d), odd = hn::Zero(d);
  const auto count = static_cast<std::size_t>(n);
  std::size_t i = 0;
  for (; i + 2 * kLanes <= count; i += 2 * kLanes) {
    even = hn::Max(even, hn::And(without_sign, hn::BitCast(d, load(x + i, Whole()))));
    odd = hn::Max(odd, hn::And(without_sign, hn::BitCast(d, load(x + i + kLanes, Whole()))));
  }
  for_vectors(count - i, [&](std::size_t at, auto part) {
    even = hn::Max(even, hn::And(without_sign, hn::BitCast(d, load(x + i + at, part))));
  });
  return static_cast<std::uint32_t>(hn::GetLane(hn::MaxOfLanes(d, hn::Max(even, odd))));
}

// `first` and `second` are powers of two, whose product is the scale.
void ScaleToIntegers(const float* x, std::int64_t n, float first, float second, std::int16_t* v) {
  const hn::RebindToSigned<Tag> d;
  const hn::Rebind<std::int16_t, Tag> halves;
  const Vec scale = splat(first), rest = splat(second);
  const Vec magic = splat(12582912.0F);  // 1.5 * 2^23: the sum's low bits are the integer, rounded as the addition rounds
  const auto magic_bits = hn::BitCast(d, magic);
  for_vectors(static_cast<std::size_t>(n), [&](std::size_t i, auto part) {
    const Vec scaled = hn::Mul(hn::Mul(load(x + i, part), scale), rest);
    const auto whole = hn::Sub(hn::BitCast(d, hn::Add(scaled, magic)), magic_bits);
    const auto narrow = hn::DemoteTo(halves, whole);
    if constexpr (std::is_same_v<decltype(part), Whole>) {
      hn::StoreU(narrow, halves, v + i);
    } else {
      alignas(64) std::int16_t padded[kLanes];
      hn::StoreU(narrow, halves, padded);
      std::memcpy(v + i, padded, part.count * sizeof(*v));
    }
  });
}

}  // namespace suanli::engine::exact::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace suanli::engine::exact {

HWY_EXPORT(LargestBits);
HWY_EXPORT(ScaleToIntegers);

int exponent_of(std::uint32_t bits) {
  constexpr std::uint32_t kInfinity = 0x7F800000;
  if (bits >= kInfinity) return kPoisoned;
  if (bits == 0) return 0;
  // |x| = significand 2^(exponent - 23), the significand in [2^23, 2^24).
  const auto biased = static_cast<int>(bits >> 23);
  std::uint32_t significand = bits & 0x7FFFFF;
  int exponent = biased - 127;
  if (biased == 0) {
    const int up = std::countl_zero(significand) - 8;
    significand <<= up;
    exponent = -126 - up;
  } else {
    significand |= 0x800000;
  }
  // |x| 2^(13 - exponent) lies in [8192, 16384). From 16,319.5 on, a tie that goes to the even 16,320, it rounds too high.
  constexpr std::uint32_t kTooLarge = (2 * kLargest + 1) << 9;
  return (significand < kTooLarge ? 13 : 12) - exponent;
}

std::uint32_t largest_bits(const float* x, std::int64_t n) { return HWY_DYNAMIC_DISPATCH(LargestBits)(x, n); }

void scale_to_integers(const float* x, std::int64_t n, int exponent, std::int16_t* v) {
  if (exponent == kPoisoned) {
    std::fill_n(v, n, std::int16_t{0});
    return;
  }
  // Two steps, since 2^162 is no f32. Neither rounds: a scale above 1 makes no subnormals, and what one below 1 rounds as a
  // subnormal is 0 in the end.
  const int first = std::min(exponent, 127);
  HWY_DYNAMIC_DISPATCH(ScaleToIntegers)(x, n, std::ldexp(1.0F, first), std::ldexp(1.0F, exponent - first), v);
}

std::uint32_t largest_bits_reference(const float* x, std::int64_t n) {
  std::uint32_t largest = 0;
  for (std::int64_t i = 0; i < n; ++i) largest = std::max(largest, std::bit_cast<std::uint32_t>(x[i]) & 0x7FFFFFFF);
  return largest;
}

void scale_to_integers_reference(const float* x, std::int64_t n, int exponent, std::int16_t* v) {
  // In double, which holds x 2^exponent without rounding.
  for (std::int64_t i = 0; i < n; ++i)
    v[i] = exponent == kPoisoned ? std::int16_t{0}
                                 : static_cast<std::int16_t>(std::nearbyint(std::ldexp(double{x[i]}, exponent)));
}

}  // namespace suanli::engine::exact
#endif
