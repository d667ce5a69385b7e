#include "suanli/plan/rate_table.h"

#include <gtest/gtest.h>

#include <cmath>

#include "suanli/plan/profile_for_test.h"

namespace suanli::plan {
namespace {

using engine::Arithmetic;

CallClass product(double m, double n, double k, const std::string& kind = "matmul forward") {
  return {.kind = kind, .sizes = {m, n, k}, .flops = 2 * m * n * k, .bytes = 4 * (m * k + k * n + m * n), .is_product = true};
}

// A profile whose products reach a share of the limit that grows with K: half of it at K = 64, all at 1,024.
double share(double k) { return 0.5 + 0.125 * std::log2(k / 64); }
Profile profile_of_products(const std::vector<double>& depths) {
  Profile profile = profile_for_test();
  profile.kernels.clear();
  for (const double k : depths) {
    const CallClass call = product(1024, 1024, k);
    const double seconds = (call.flops / 100e9 + call.bytes / 20e9 + 1e-6) / share(k);
    const Interval interval{0.9 * seconds, seconds, 1.2 * seconds};
    profile.kernels.push_back({call.kind, Arithmetic::f32, call.sizes, call.flops, call.bytes, interval});
  }
  return profile;
}
double expected_seconds(double k) {
  const CallClass call = product(1024, 1024, k);
  return (call.flops / 100e9 + call.bytes / 20e9 + 1e-6) / share(k);
}

TEST(RateTable, AMeasuredSizeIsAnsweredByItsMeasurement) {
  const Profile profile = profile_of_products({64, 256, 1024});
  const RateTable table(profile, Arithmetic::f32);
  for (const double k : {64.0, 256.0, 1024.0}) {
    const auto found = table.estimate(product(1024, 1024, k));
    EXPECT_TRUE(found.is_measured);
    EXPECT_NEAR(found.seconds.expected / expected_seconds(k), 1, 0.02) << k;
    EXPECT_LT(found.seconds.low, found.seconds.expected);
    EXPECT_GT(found.seconds.high, found.seconds.expected);
  }
}

TEST(RateTable, BetweenSizesItInterpolates) {
  const Profile profile = profile_of_products({64, 256, 1024});
  const RateTable table(profile, Arithmetic::f32);
  for (const double k : {128.0, 512.0})
    EXPECT_NEAR(table.estimate(product(1024, 1024, k)).seconds.expected / expected_seconds(k), 1, 0.03) << k;
}

TEST(RateTable, FarFromAllSizesTheIntervalIsWider) {
  const Profile profile = profile_of_products({64, 256});
  const RateTable table(profile, Arithmetic::f32);
  const auto width = [&](double m, double k) {
    const Interval found = table.estimate(product(m, 1024, k)).seconds;
    return found.high / found.low;
  };
  EXPECT_GT(width(1024, 16384), 1.2 * width(1024, 128));
  EXPECT_GT(width(1, 64), 1.2 * width(1024, 64));
}

TEST(RateTable, WhatWasMeasuredTwiceDifferentlyIsAveraged) {
  Profile profile = profile_of_products({256});
  profile.kernels.push_back(profile.kernels[0]);
  Interval& second = profile.kernels[1].seconds;
  second = {second.low * 1.21, second.expected * 1.21, second.high * 1.21};
  const RateTable table(profile, Arithmetic::f32);
  EXPECT_NEAR(table.estimate(product(1024, 1024, 256)).seconds.expected / expected_seconds(256), 1.1, 0.01);
}

TEST(RateTable, AnUnmeasuredKindIsToldFromItsRelativesAndSaysSo) {
  const Profile profile = profile_of_products({256});
  const RateTable table(profile, Arithmetic::f32);
  const auto relative = table.estimate(product(1024, 1024, 256, "matmul weight gradient curve"));
  EXPECT_FALSE(relative.is_measured);
  EXPECT_NEAR(relative.seconds.expected / expected_seconds(256), 1, 0.01);
  EXPECT_GT(relative.seconds.high / relative.seconds.low, 2);
  const CallClass strange{.kind = "fourier", .sizes = {1e6}, .flops = 1e6, .bytes = 20e6};
  const auto unknown = table.estimate(strange);
  EXPECT_FALSE(unknown.is_measured);
  EXPECT_TRUE(unknown.is_memory_bound);
  EXPECT_GT(unknown.seconds.expected, 1e-3) << "memory alone takes a millisecond";
  EXPECT_GE(unknown.seconds.expected, unknown.seconds.low);
}

TEST(RateTable, TheLimitThatBindsIsNamed) {
  const Profile profile = profile_of_products({256});
  const RateTable table(profile, Arithmetic::f32);
  EXPECT_FALSE(table.estimate(product(1024, 1024, 1024)).is_memory_bound);
  EXPECT_TRUE(table.estimate(product(1024, 1024, 2)).is_memory_bound);
}

}  // namespace
}  // namespace suanli::plan
