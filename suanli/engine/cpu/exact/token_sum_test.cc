#include "suanli/engine/cpu/exact/token_sum.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "suanli/base/philox.h"
#include "suanli/engine/cpu/exact/every_target_test_util.h"

namespace suanli::engine::exact {
namespace {

__extension__ using Int128 = __int128;

// RNE(c 2^-exponent) on whole numbers: c = m 2^e.
std::int64_t rounded_term(float c, int exponent) {
  const auto bits = std::bit_cast<std::uint32_t>(c);
  const int field = static_cast<int>(bits >> 23 & 0xFF);
  const std::int64_t m = field > 0 ? (bits & 0x7FFFFF) | 0x800000 : bits & 0x7FFFFF;
  const int shift = (field > 0 ? field - 150 : -149) - exponent;
  std::int64_t q = 0;
  if (shift >= 0) {
    q = m << shift;
  } else if (shift > -62) {
    const std::int64_t unit = std::int64_t{1} << -shift, rest = m % unit;
    q = m / unit;
    if (2 * rest > unit || (2 * rest == unit && q % 2 == 1)) ++q;
  }
  return bits >> 31 ? -q : q;
}

// RNE(sum 2^exponent): of all floats, the nearest, an even one of two as near. By bisection over the bits.
float rounded_value(std::int64_t sum, int exponent) {
  const bool negative = sum < 0;
  const auto size = static_cast<std::uint64_t>(negative ? -sum : sum);
  if (size == 0) return 0;
  const int top = static_cast<int>(std::bit_width(size)) - 1 + exponent;  // floor(log2)
  const int last = std::max(top - 23, -149);                             // of the float's last bit
  const int shift = exponent - last;
  Int128 m = 0;
  if (shift >= 0) {
    m = static_cast<Int128>(size) << shift;
  } else if (shift > -80) {
    const Int128 unit = Int128{1} << -shift, rest = size % unit;
    m = size / unit;
    if (2 * rest > unit || (2 * rest == unit && m % 2 == 1)) ++m;
  }
  const double value = std::ldexp(static_cast<double>(m), last);
  const float f = value >= 0x1p128 ? std::numeric_limits<float>::infinity() : static_cast<float>(value);
  return negative ? -f : f;
}

std::vector<float> nasty_terms(std::size_t n, std::uint64_t seed, int low, int high) {
  const Philox random(seed, Stream::test);
  std::vector<float> c(n);
  for (std::size_t i = 0; i < n; ++i) {
    const double exponent = low + (high - low) * random.uniform(3 * i);
    c[i] = static_cast<float>(std::ldexp(2 * random.uniform(3 * i + 1) - 1, static_cast<int>(exponent)));
    if (i % 7 == 3) c[i] = std::ldexp(std::round(c[i]), -1);  // halves: ties
  }
  return c;
}

TEST(TokenSum, TermsAreRoundedToNearestEven) {
  struct Case {
    int exponent, low, high;
  };
  const std::array<Case, 5> cases = {{{0, -3, 41}, {-40, -60, 1}, {-181, -149, -140}, {86, 40, 127}, {-20, -30, 21}}};
  on_every_target([&](const std::string& target) {
    SCOPED_TRACE(target);
    for (const auto [exponent, low, high] : cases)
      for (const std::size_t n : {0, 1, 2, 3, 7, 8, 9, 31, 1000}) {
        const std::vector<float> c = nasty_terms(n, n + static_cast<std::size_t>(high + 200), low, high);
        std::vector<std::int64_t> sums(n), expected(n);
        std::uint32_t largest = 0;
        for (std::size_t i = 0; i < n; ++i) {
          sums[i] = static_cast<std::int64_t>(i) - 3;
          expected[i] = sums[i] + rounded_term(c[i], exponent);
          largest = std::max(largest, std::bit_cast<std::uint32_t>(std::fabs(c[i])));
        }
        EXPECT_EQ(add_terms(c.data(), static_cast<std::int64_t>(n), exponent, sums.data()), largest);
        EXPECT_EQ(sums, expected) << exponent << " " << n;
        EXPECT_TRUE(n == 0 || fits(largest, exponent));
      }
  });
}

TEST(TokenSum, WhatIsNotFiniteIsTheLargest) {
  const float inf = std::numeric_limits<float>::infinity();
  on_every_target([&](const std::string& target) {
    SCOPED_TRACE(target);
    for (const float bad : {inf, -inf, std::nanf(""), -std::nanf("")})
      for (const std::int32_t exponent : {-10, kNoExponent}) {
        const std::vector<float> c = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, bad, 3e38F};
        std::vector<std::int64_t> sums(c.size());
        const std::uint32_t largest = add_terms(c.data(), 12, exponent, sums.data());
        EXPECT_EQ(largest, std::bit_cast<std::uint32_t>(bad) & 0x7FFFFFFF);
        EXPECT_FALSE(is_finite(largest));
        EXPECT_FALSE(fits(largest, 100));
      }
  });
}

TEST(TokenSum, WithoutAnExponentNothingIsAdded) {
  const std::vector<float> c = {1, -7, 3};
  std::vector<std::int64_t> sums = {5, 6, 7};
  EXPECT_EQ(add_terms(c.data(), 3, kNoExponent, sums.data()), std::bit_cast<std::uint32_t>(7.0F));
  EXPECT_EQ(sums, (std::vector<std::int64_t>{5, 6, 7}));
}

TEST(TokenSum, ValuesAreRoundedOnce) {
  std::vector<std::int64_t> sums = {0, 1, -1, (std::int64_t{1} << 24) + 1, (std::int64_t{1} << 24) + 3};
  for (const int bits : {25, 30, 51, 52, 53, 54, 61, 62})
    for (const std::int64_t below : {-1, 0, 1}) {
      // On a tie of f32, and a little beside it.
      const std::int64_t tie = (std::int64_t{1} << (bits - 1)) + (std::int64_t{3} << std::max(0, bits - 26));
      sums.push_back(tie + below);
      sums.push_back(-tie - below);
      sums.push_back((std::int64_t{1} << (bits - 1)) - below);
    }
  const Philox random(5, Stream::test);
  for (std::uint64_t i = 0; i < 2000; ++i) {
    const auto wide = static_cast<std::int64_t>(random.below(std::uint64_t{1} << 62, 2 * i));
    sums.push_back((i % 2 ? wide : -wide) >> random.below(62, 2 * i + 1));
  }
  std::uint64_t magnitudes = 0;
  for (const std::int64_t sum : sums) magnitudes |= static_cast<std::uint64_t>(std::abs(sum));
  on_every_target([&](const std::string& target) {
    SCOPED_TRACE(target);
    for (const int exponent : {0, -40, -149, -160, -181, -205, 60, 67, 95}) {
      std::vector<float> values(sums.size());
      const auto n = static_cast<std::int64_t>(sums.size());
      EXPECT_EQ(round_sums(sums.data(), n, exponent, values.data()), magnitudes);
      for (std::size_t i = 0; i < sums.size(); ++i)
        ASSERT_EQ(std::bit_cast<std::uint32_t>(values[i]), std::bit_cast<std::uint32_t>(rounded_value(sums[i], exponent)))
            << sums[i] << " 2^" << exponent;
    }
  });
}

TEST(TokenSum, TheLimitOfTermsIsAtTheRoundedNumber) {
  // 2^42 - 1/2 is no f32; what lies next to 2^42 is 2^42 - 2^18.
  EXPECT_TRUE(fits(std::bit_cast<std::uint32_t>(0x1.fffffep41F), 0));
  EXPECT_FALSE(fits(std::bit_cast<std::uint32_t>(0x1p42F), 0));
  EXPECT_TRUE(fits(std::bit_cast<std::uint32_t>(0x1p42F), 1));
  EXPECT_EQ(raised_exponent(std::bit_cast<std::uint32_t>(0x1p42F), 0), 10);
  EXPECT_EQ(raised_exponent(std::bit_cast<std::uint32_t>(0x1p52F), 0), 20);
  EXPECT_EQ(raised_exponent(std::bit_cast<std::uint32_t>(0x1p41F), 0), 0);
  EXPECT_EQ(raised_exponent(std::bit_cast<std::uint32_t>(std::numeric_limits<float>::max()), -181), 89);
}

TEST(TokenSum, ExponentsFollowTheSumsSize) {
  EXPECT_EQ(first_exponent(0), kExponentOfZeros);
  EXPECT_EQ(first_exponent(std::bit_cast<std::uint32_t>(1.0F)), -32);
  EXPECT_EQ(first_exponent(std::bit_cast<std::uint32_t>(0.99F)), -33);
  EXPECT_EQ(first_exponent(1), -149 - 32);
  EXPECT_EQ(first_exponent(0x007FFFFF), -127 - 32);
  EXPECT_EQ(first_exponent(0x00800000), -126 - 32);
  EXPECT_EQ(next_exponent(0, -17), -17);
  EXPECT_EQ(next_exponent(1, -17), -49);
  EXPECT_EQ(next_exponent((std::uint64_t{1} << 32) + 5, -17), -17);
  EXPECT_EQ(next_exponent((std::uint64_t{1} << 33) - 1, -17), -17);
  EXPECT_EQ(next_exponent(std::uint64_t{1} << 33, -17), -16);
}

}  // namespace
}  // namespace suanli::engine::exact
