#include "suanli/base/philox.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <numbers>
#include <set>
#include <vector>

#include "suanli/base/box_muller.h"

namespace suanli {
namespace {

using Words = std::array<std::uint32_t, 4>;

// Known answers published with the generator (Random123, kat_vectors, philox4x32 10).
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr std::uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox4x32({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

// Checkpoints, samplers and golden files depend on these words: they never change.
TEST(Philox, ValuesAreStable) {
  EXPECT_EQ(Philox(0, Stream::init).bits(0), 0xdd51fa186a249ee9u);
  EXPECT_EQ(Philox(1, Stream::shuffle, 2).bits(3), 0xce5bd10dfb9139acu);
  EXPECT_EQ(Philox(1, Stream::shuffle, std::uint64_t{1} << 40).bits(std::uint64_t{1} << 50),
            0x36066c24ba7ea5e2u);
}

TEST(Philox, ValuesDependOnEveryPartOfTheirName) {
  std::set<std::uint64_t> seen;
  int count = 0;
  const std::uint64_t big = std::uint64_t{1} << 32;
  for (std::uint64_t seed : {std::uint64_t{0}, std::uint64_t{1}, big}) {
    for (Stream stream : {Stream::init, Stream::shuffle, Stream::sampling, Stream::dropout}) {
      for (std::uint64_t step : {std::uint64_t{0}, std::uint64_t{1}, big}) {
        for (std::uint64_t index : {std::uint64_t{0}, std::uint64_t{1}, big}) {
          seen.insert(Philox(seed, stream, step).bits(index));
          ++count;
        }
      }
    }
  }
  EXPECT_EQ(static_cast<int>(seen.size()), count);
  EXPECT_EQ(Philox(5, Stream::test, 6).bits(7), Philox(5, Stream::test, 6).bits(7));
}

TEST(Philox, UniformHasTheRightMomentsAndRange) {
  constexpr int kCount = 200'000;
  const Philox random(42, Stream::test);
  double sum = 0, squares = 0, lagged = 0, previous = 0.5;
  for (int i = 0; i < kCount; ++i) {
    const double u = random.uniform(static_cast<std::uint64_t>(i));
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    sum += u;
    squares += u * u;
    lagged += (u - 0.5) * (previous - 0.5);
    previous = u;
  }
  // Five standard errors of each estimate.
  EXPECT_NEAR(sum / kCount, 0.5, 5 * std::sqrt(1.0 / 12 / kCount));
  EXPECT_NEAR(squares / kCount, 1.0 / 3, 5 * std::sqrt(4.0 / 45 / kCount));
  EXPECT_NEAR(lagged / kCount, 0, 5.0 / 12 / std::sqrt(kCount));
}

TEST(Philox, NormalHasTheRightMoments) {
  constexpr int kCount = 200'000;
  const Philox random(43, Stream::test);
  double moments[5] = {};
  for (int i = 0; i < kCount; ++i) {
    const double z = random.normal(static_cast<std::uint64_t>(i));
    ASSERT_TRUE(std::isfinite(z));
    double power = 1;
    for (double& moment : moments) {
      moment += power / kCount;
      power *= z;
    }
  }
  // Five standard errors: Var(z^k) = E z^2k - (E z^k)^2 with E z^2, z^4, z^6, z^8 = 1, 3, 15, 105.
  EXPECT_NEAR(moments[1], 0, 5 * std::sqrt(1.0 / kCount));
  EXPECT_NEAR(moments[2], 1, 5 * std::sqrt(2.0 / kCount));
  EXPECT_NEAR(moments[3], 0, 5 * std::sqrt(15.0 / kCount));
  EXPECT_NEAR(moments[4], 3, 5 * std::sqrt(96.0 / kCount));
}

// Parameters begin with these: the same bits on every machine.
TEST(Philox, NormalsAreStable) {
  const Philox random(1, Stream::init, 2);
  EXPECT_EQ(random.normal(0), 0x1.f0882b53e4919p-3);
  EXPECT_EQ(random.normal(std::uint64_t{1} << 40), -0x1.29a70f384be43p+0);
}

TEST(BoxMuller, IsTheFormula) {
  const auto formula = [](double u, double v) {
    // By the angle's distance from a zero of the cosine, so that the product with pi loses nothing.
    const double angle = 2 * std::numbers::pi * (std::abs(v - 0.5) - 0.25);
    return std::sqrt(-2 * std::log(u)) * std::sin(angle);
  };
  const auto expect_equal = [&](double u, double v) {
    const double expected = formula(u, v);
    EXPECT_LE(std::abs(box_muller(u, v) - expected), 1e-13 * std::abs(expected))
        << "u " << u << " v " << v << " gives " << box_muller(u, v) << ", expected " << expected;
  };
  const Philox random(47, Stream::test);
  for (std::uint64_t i = 0; i < 300'000; ++i)
    expect_equal(1 - random.uniform(2 * i), random.uniform(2 * i + 1));
  const double step = 0x1p-53, root = std::sqrt(0.5);
  std::vector<double> all_u = {1,           1 - step,    1 - 2 * step, root,
                               root - step, root + step, 0.5,          0.25};
  for (double u = step; u < 0.5; u *= 2) all_u.insert(all_u.end(), {u, u + step});
  for (const double u : all_u)
    for (const double v : {0.0, step, 0.25 - step, 0.25, 0.25 + step, 0.5 - step, 0.5, 0.5 + step,
                           0.75, 0.75 + step, 1 - step})
      expect_equal(u, v);
  EXPECT_EQ(box_muller(1, 0), 0);
}

TEST(Philox, BelowIsUniform) {
  constexpr int kCount = 70'000, kBound = 7;
  const Philox random(44, Stream::test);
  std::vector<int> counts(kBound);
  for (int i = 0; i < kCount; ++i) {
    const std::uint64_t value = random.below(kBound, static_cast<std::uint64_t>(i));
    ASSERT_LT(value, std::uint64_t{kBound});
    ++counts[value];
  }
  double chi_square = 0;
  for (int count : counts) chi_square += (count - 1e4) * (count - 1e4) / 1e4;
  EXPECT_LT(chi_square, 35);  // 6 degrees of freedom: exceeded once in 200,000
}

// With a bound of 3/4 of the range, plain multiply-shift would hit every third value twice as
// often.
TEST(Philox, BelowIsWithoutBiasForLargeBounds) {
  constexpr int kCount = 60'000;
  constexpr std::uint64_t kBound = std::uint64_t{3} << 62;
  const Philox random(45, Stream::test);
  int counts[3] = {};
  for (int i = 0; i < kCount; ++i) {
    const std::uint64_t value = random.below(kBound, static_cast<std::uint64_t>(i));
    ASSERT_LT(value, kBound);
    ++counts[value % 3];
  }
  for (int count : counts) EXPECT_NEAR(count, kCount / 3, 5 * std::sqrt(kCount * 2.0 / 9));
}

TEST(Philox, BelowOneIsZeroAndBelowTheLargestBoundWorks) {
  const Philox random(46, Stream::test);
  for (std::uint64_t i = 0; i < 100; ++i) {
    EXPECT_EQ(random.below(1, i), 0u);
    EXPECT_LT(random.below(~std::uint64_t{0}, i), ~std::uint64_t{0});
  }
}

}  // namespace
}  // namespace suanli
