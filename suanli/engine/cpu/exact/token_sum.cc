#include "suanli/engine/cpu/exact/token_sum.h"

#include <bit>
#include <cmath>

#include "suanli/base/error.h"
#include "suanli/engine/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "suanli/engine/cpu/exact/token_sum.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace suanli::engine::exact::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Wide = hn::ScalableTag<double>;
using Whole = hn::RebindToSigned<Wide>;
using Bits = hn::RebindToUnsigned<Wide>;
using Narrow = hn::Rebind<float, Wide>;

// Doubles of 2^51 and less are rounded to whole numbers, to nearest even, by adding this; the whole number is then the
// difference of the bits.
constexpr double kMagic = 6755399441055744.0;  // 1.5 * 2^52

HWY_INLINE hn::Vec<Whole> whole_of(hn::Vec<Wide> x) {
  const hn::Vec<Wide> magic = hn::Set(Wide(), kMagic);
  return hn::Sub(hn::BitCast(Whole(), hn::Add(x, magic)), hn::BitCast(Whole(), magic));
}

// f32 fits exactly into double, and so does its product with a power of two here.
std::uint32_t AddTerms(const float* HWY_RESTRICT c, std::int64_t n, double scale, std::int64_t* HWY_RESTRICT sums) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(Wide()));
  const hn::RebindToUnsigned<Narrow> narrow_bits;
  const auto magnitude = hn::Set(narrow_bits, 0x7FFFFFFF);
  auto largest = hn::Zero(narrow_bits);
  const auto add = [&](const float* from, std::int64_t* to) {
    const auto x = hn::LoadU(Narrow(), from);
    largest = hn::Max(largest, hn::And(hn::BitCast(narrow_bits, x), magnitude));
    const auto q = whole_of(hn::Mul(hn::PromoteTo(Wide(), x), hn::Set(Wide(), scale)));
    hn::StoreU(hn::Add(hn::LoadU(Whole(), to), q), Whole(), to);
  };
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) add(c + i, sums + i);
  if (i < n) {
    float last_terms[hn::MaxLanes(Wide())] = {};
    std::int64_t last_sums[hn::MaxLanes(Wide())] = {};
    for (std::int64_t k = 0; i + k < n; ++k) last_terms[k] = c[i + k];
    for (std::int64_t k = 0; i + k < n; ++k) last_sums[k] = sums[i + k];
    add(last_terms, last_sums);
    for (std::int64_t k = 0; i + k < n; ++k) sums[i + k] = last_sums[k];
  }
  std::uint32_t all[hn::MaxLanes(Narrow())];
  hn::StoreU(largest, narrow_bits, all);
  std::uint32_t result = 0;
  for (std::int64_t k = 0; k < lanes; ++k) result = all[k] > result ? all[k] : result;
  return result;
}

std::uint32_t LargestTerm(const float* c, std::int64_t n) {
  std::uint32_t largest = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(c[i]) & 0x7FFFFFFF;
    largest = bits > largest ? bits : largest;
  }
  return largest;
}

// A whole number below 2^52 as a double: exact, as the bits below the magic number's last one.
HWY_INLINE hn::Vec<Wide> double_of(hn::Vec<Bits> x) {
  const hn::Vec<Wide> magic = hn::Set(Wide(), 4503599627370496.0);  // 2^52
  return hn::Sub(hn::BitCast(Wide(), hn::Or(x, hn::BitCast(Bits(), magic))), magic);
}

// A sum has up to 62 bits, a double holds 53 and an f32 24. What the double would lose of a long sum is kept as one sticky bit
// far below the f32's last, so that the conversion to f32 is the only rounding.
std::uint64_t RoundSums(const std::int64_t* HWY_RESTRICT sums, std::int64_t n, double scale, float* HWY_RESTRICT values) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(Wide()));
  auto magnitudes = hn::Zero(Bits());
  const auto round = [&](const std::int64_t* from, float* to) {
    const auto sum = hn::LoadU(Whole(), from);
    const auto negative = hn::Lt(sum, hn::Zero(Whole()));
    const auto size = hn::BitCast(Bits(), hn::IfThenElse(negative, hn::Neg(sum), sum));
    magnitudes = hn::Or(magnitudes, size);
    // By 12 bits, all sums alike: size < 2^63, so that what is left is below 2^51.
    const auto high = hn::ShiftRight<12>(size);
    const auto low = hn::And(size, hn::Set(Bits(), 0xFFF));
    const auto sticky = hn::IfThenElseZero(hn::Ne(low, hn::Zero(Bits())), hn::Set(Bits(), 1));
    const auto is_long = hn::Ne(hn::ShiftRight<52>(size), hn::Zero(Bits()));
    const auto kept = hn::IfThenElse(is_long, hn::Or(high, sticky), size);
    const auto unit = hn::IfThenElse(hn::RebindMask(Wide(), is_long), hn::Set(Wide(), scale * 4096), hn::Set(Wide(), scale));
    const auto value = hn::Mul(double_of(kept), unit);
    const auto signed_value = hn::IfThenElse(hn::RebindMask(Wide(), negative), hn::Neg(value), value);
    // Highway's scalar code makes the largest float of what is beyond the range, others infinity. So large values are halved
    // before and doubled after, which is exact or infinite.
    const auto one = hn::Set(Wide(), 1.0), two = hn::Set(Wide(), 2.0);
    const auto is_large = hn::Ge(value, one);
    const auto halved = hn::Mul(signed_value, hn::IfThenElse(is_large, hn::Set(Wide(), 0.5), one));
    const auto factor = hn::DemoteTo(Narrow(), hn::IfThenElse(is_large, two, one));
    hn::StoreU(hn::Mul(hn::DemoteTo(Narrow(), halved), factor), Narrow(), to);
  };
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) round(sums + i, values + i);
  if (i < n) {
    std::int64_t last_sums[hn::MaxLanes(Wide())] = {};
    float last_values[hn::MaxLanes(Wide())];
    for (std::int64_t k = 0; i + k < n; ++k) last_sums[k] = sums[i + k];
    round(last_sums, last_values);
    for (std::int64_t k = 0; i + k < n; ++k) values[i + k] = last_values[k];
  }
  std::uint64_t all[hn::MaxLanes(Wide())];
  hn::StoreU(magnitudes, Bits(), all);
  std::uint64_t result = 0;
  for (std::int64_t k = 0; k < lanes; ++k) result |= all[k];
  return result;
}

}  // namespace suanli::engine::exact::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace suanli::engine::exact {

HWY_EXPORT(AddTerms);
HWY_EXPORT(LargestTerm);
HWY_EXPORT(RoundSums);

namespace {

double value_of(std::uint32_t bits) { return static_cast<double>(std::bit_cast<float>(bits)); }

// The exponent of the highest bit; x is finite and not 0.
std::int32_t floor_log2(std::uint32_t bits) {
  const auto field = static_cast<std::int32_t>(bits >> 23);
  if (field > 0) return field - 127;
  return static_cast<std::int32_t>(std::bit_width(bits)) - 1 - 149;
}

constexpr std::int32_t kBitsOfASum = 32;  // E leaves the largest value of a step about so many bits

}  // namespace

std::uint32_t add_terms(const float* c, std::int64_t n, std::int32_t exponent, std::int64_t* sums) {
  if (exponent == kNoExponent) return HWY_DYNAMIC_DISPATCH(LargestTerm)(c, n);
  return HWY_DYNAMIC_DISPATCH(AddTerms)(c, n, std::ldexp(1.0, -exponent), sums);
}

std::uint64_t round_sums(const std::int64_t* sums, std::int64_t n, std::int32_t exponent, float* values) {
  return HWY_DYNAMIC_DISPATCH(RoundSums)(sums, n, std::ldexp(1.0, exponent == kNoExponent ? 0 : exponent), values);
}

bool fits(std::uint32_t largest, std::int32_t exponent) {
  // 2^42 - 1/2 is as near to 2^42 - 1 as to 2^42, which is even.
  return is_finite(largest) && std::ldexp(value_of(largest), -exponent) < 4398046511103.5;
}

std::int32_t first_exponent(std::uint32_t largest) {
  SUANLI_CHECK(is_finite(largest));
  return largest == 0 ? kExponentOfZeros : floor_log2(largest) - kBitsOfASum;
}

std::int32_t raised_exponent(std::uint32_t largest, std::int32_t exponent) {
  SUANLI_CHECK(is_finite(largest));
  while (!fits(largest, exponent)) exponent += kExponentStep;
  return exponent;
}

std::int32_t next_exponent(std::uint64_t magnitudes, std::int32_t exponent) {
  if (magnitudes == 0) return exponent;
  return static_cast<std::int32_t>(std::bit_width(magnitudes)) - 1 + exponent - kBitsOfASum;
}

}  // namespace suanli::engine::exact
#endif
