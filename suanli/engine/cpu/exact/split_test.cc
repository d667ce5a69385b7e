#include "suanli/engine/cpu/exact/split.h"

#include <gtest/gtest.h>

#include "suanli/engine/cpu/exact/exact_test_util.h"

namespace suanli::engine::exact {
namespace {

std::uint32_t bits(float x) { return std::bit_cast<std::uint32_t>(x) & 0x7FFFFFFFU; }

TEST(ExactSplit, ExponentIsTheLargestThatFits) {
  EXPECT_EQ(exponent_of(0), 0);
  EXPECT_EQ(exponent_of(bits(std::numeric_limits<float>::infinity())), kPoisoned);
  EXPECT_EQ(exponent_of(bits(std::numeric_limits<float>::quiet_NaN())), kPoisoned);
  EXPECT_EQ(exponent_of(1), 162);
  EXPECT_EQ(exponent_of(bits(std::numeric_limits<float>::max())), -115);
  // Around each power of two and the edge 16319.5, at every exponent.
  for (std::uint32_t biased = 0; biased < 255; ++biased)
    for (const std::uint32_t edge : {0U, 0x400000U, 0x7EFE00U, 0x7FFFFFU})
      for (std::uint32_t delta = 0; delta < 5; ++delta) {
        const std::uint32_t x = (biased << 23) + edge + delta - 2;
        if (x == 0 || x >= 0x7F800000U) continue;
        ASSERT_EQ(exponent_of(x), oracle_split({std::bit_cast<float>(x)}).exponent) << x;
      }
  // Every subnormal.
  for (std::uint32_t x = 1; x < 0x800000U; x += 7) {
    const double scaled = std::nearbyint(std::ldexp(double{std::bit_cast<float>(x)}, exponent_of(x)));
    const double twice = std::nearbyint(std::ldexp(double{std::bit_cast<float>(x)}, exponent_of(x) + 1));
    ASSERT_LE(scaled, kLargest) << x;
    ASSERT_GT(twice, kLargest) << x;
  }
}

TEST(ExactSplit, DigitsStayInRange) {
  for (std::int32_t v = -kLargest; v <= kLargest; ++v) {
    ASSERT_EQ(128 * high_digit(v) + low_digit(v), v);
    ASSERT_LE(std::abs(high_digit(v)), 127) << v;
    ASSERT_GE(low_digit(v), -64) << v;
    ASSERT_LE(low_digit(v), 63) << v;
  }
}

TEST(ExactSplit, VectorsAgreeWithTheReferenceOnEveryInstructionSet) {
  for_each_isa([](Isa isa) {
    for (const std::int64_t n : {1, 3, 4, 15, 16, 17, 31, 33, 127, 512}) {
      const std::vector<float> rows = nasty_rows(32, n, static_cast<std::uint64_t>(n));
      for (std::int64_t r = 0; r < 32; ++r) {
        const float* x = rows.data() + r * n;
        ASSERT_EQ(largest_bits(x, n), largest_bits_reference(x, n)) << name_of(isa) << " row " << r << " of " << n;
        const int exponent = exponent_of(largest_bits(x, n));
        std::vector<std::int16_t> v(static_cast<std::size_t>(n) + 1, 77), expected = v;
        scale_to_integers(x, n, exponent, v.data());
        scale_to_integers_reference(x, n, exponent, expected.data());
        ASSERT_EQ(v, expected) << name_of(isa) << " row " << r << " of " << n;
        const OracleBlock oracle = oracle_split({x, x + n});
        ASSERT_EQ(oracle.poisoned, exponent == kPoisoned);
        for (std::int64_t i = 0; i < n; ++i)
          ASSERT_EQ(v[static_cast<std::size_t>(i)], oracle.v[static_cast<std::size_t>(i)] * !oracle.poisoned);
      }
    }
  });
}

}  // namespace
}  // namespace suanli::engine::exact
