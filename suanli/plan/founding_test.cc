// The figures of the founding documents as golden tests: what our functions compute, under the convention that each has, beside
// what was stated.
#include "suanli/plan/founding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace suanli::plan {
namespace {

using ::testing::HasSubstr;
constexpr double kGwh = 3.6e12, kHour = 3600;

struct Golden {
  const char* key;
  double computed;   // what comes out
  double tolerance;  // relative
};

// Stated figures that hold, to the digits that they have.
constexpr Golden kHolding[] = {
    {"llama405b_flops", 3.645e25, 1e-12},
    {"peak_16000", 3.17e19, 0.002},
    {"ideal_days_16000", 14, 0.01},
    {"capital_16000", 960e6, 1e-12},
    {"devices_16000", 480e6, 1e-12},
    {"rest_16000", 480e6, 1e-12},
    {"power_16000", 22.4e6, 1e-12},
    {"energy_16000", 29.03 * kGwh, 1e-4},
    {"electricity_16000", 2.41e6, 1e-3},
    {"electricity_share_16000", 0.0025, 0.01},
    {"peak_100000", 1.979e20, 1e-12},
    {"ideal_time_100000", 53 * kHour, 0.01},
    {"reached_days_100000", 9, 0.03},
    {"flops_100_days", 1.71e27, 1e-3},
    {"largest_model", 19e12, 1e-3},
    {"largest_model_reached", 4.8e12, 1e-6},
    {"power_100000", 140e6, 1e-12},
    {"energy_100000", 336 * kGwh, 1e-12},
    {"electricity_100000", 27.9e6, 1e-3},
    {"capital_100000", 6e9, 1e-12},
    {"capital_100000_discounted", 4e9, 1e-12},
    {"households_most", 126'000, 1e-9},
    {"households_least", 56'000, 1e-9},
    {"gpt3_petaflop_days", 3640, 1e-3},
    {"gpt3_efficiency", 0.23, 0.02},
    {"gpt4_flops", 2.15e25, 0.004},
    {"serving_day", 0.7e6, 0.03},
    {"exchange_first", 21e15, 1e-12},
    {"exchange_second", 3e15, 1e-12},
    {"exchange_7", 7, 1e-12},
};

// Those that err or are not what they are taken for, with what is right.
constexpr Golden kErring[] = {
    {"quotient_seconds", 1.19e6, 0.003},  // not 1.48e6
    {"days_42", 34.4, 0.003},             // the right quotient over 40.3 % MFU
    {"slowdown", 3.9, 0.004},             // not three
    {"actual_days", 67.8, 0.001},         // 54 are a part of the run
    {"energy_100000_misprint", 336 * kGwh, 1e-12},
    {"gpt4_in_trillions", 2.15e13, 1e-12},
    {"gpt2_parameters", 1.5e9, 0.04},
    {"clock", 3e9, 1e-12},
};

const Founding& all() {
  static const Founding found = founding().value();
  return found;
}

TEST(Founding, StatedFiguresComeOut) {
  for (const Golden& golden : kHolding) {
    const FoundingFigure* figure = all().find(golden.key);
    ASSERT_NE(figure, nullptr) << golden.key;
    ASSERT_TRUE(figure->computed.has_value()) << golden.key;
    EXPECT_NEAR(*figure->computed / golden.computed, 1, golden.tolerance) << golden.key;
    EXPECT_NEAR(figure->stated / golden.computed, 1, 1e-12) << golden.key;
    EXPECT_TRUE(figure->relation == Relation::agrees || figure->relation == Relation::rounded) << golden.key;
    if (figure->relation == Relation::agrees) {
      EXPECT_NEAR(*figure->computed / figure->stated, 1, 1e-9) << golden.key;
    }
    EXPECT_FALSE(figure->convention.empty()) << golden.key;
  }
}

TEST(Founding, ErrorsAreNamedWithWhatIsRight) {
  for (const Golden& golden : kErring) {
    const FoundingFigure* figure = all().find(golden.key);
    ASSERT_NE(figure, nullptr) << golden.key;
    EXPECT_TRUE(figure->relation == Relation::errs || figure->relation == Relation::unlike) << golden.key;
    EXPECT_NEAR(*figure->computed / golden.computed, 1, golden.tolerance) << golden.key;
    EXPECT_FALSE(figure->why.empty()) << golden.key;
  }
  EXPECT_THAT(all().find("peak_16000")->why, ::testing::AllOf(HasSubstr("twice the dense 989"), HasSubstr("fp8")));
  EXPECT_THAT(all().find("exchange_first")->why, HasSubstr("a FLOP is no rate"));
  EXPECT_THAT(all().find("gpt4_in_trillions")->why, HasSubstr("2.15e16"));
  EXPECT_THAT(all().find("days_42")->why, HasSubstr("54 days"));
}

TEST(Founding, ServingCapitalLiesInOurInterval) {
  const FoundingFigure* figure = all().find("serving_capital");
  EXPECT_EQ(figure->relation, Relation::within);
  EXPECT_EQ(figure->stated, 800e6);
  EXPECT_NEAR(*figure->computed, 30'000 * std::sqrt(8000.0 * 18'000.0) * 2, 1);
  EXPECT_GT(figure->stated, 30'000 * 8000.0 * 2);
  EXPECT_LT(figure->stated, 30'000 * 18'000.0 * 2);
}

TEST(Founding, EveryFigureIsTested) {
  std::set<std::string> tested = {"serving_capital", "exchange_3",
                                  "exchange_6"};  // the last two: observations, nothing to compute
  for (const Golden& golden : kHolding) tested.insert(golden.key);
  for (const Golden& golden : kErring) tested.insert(golden.key);
  for (const FoundingFigure& figure : all().figures) EXPECT_TRUE(tested.erase(figure.key)) << figure.key;
  EXPECT_TRUE(tested.empty());
  EXPECT_FALSE(all().find("exchange_3")->computed.has_value());
  EXPECT_EQ(all().find("exchange_3")->stated, 3);
  EXPECT_EQ(all().find("exchange_6")->stated, 6);
}

// From 14 ideal days to the 78 of 16,384 devices that the model card has (30.84 million hours; 80 of 16,000).
TEST(Founding, TheMissingTimeIsFound) {
  const auto& steps = all().missing_time;
  ASSERT_EQ(steps.size(), 5U);
  EXPECT_NEAR(steps[0].days, 13.86, 0.01);
  EXPECT_NEAR(steps[1].days / steps[0].days, 1979.0 / 989, 1e-9);
  EXPECT_NEAR(steps[2].days / steps[1].days, 1 + 12.0 * 126 * 16'384 * 8192 / (6 * 405e9), 1e-9);
  EXPECT_NEAR(steps[3].days / steps[2].days, 1 / 0.41, 1e-9);
  EXPECT_NEAR(steps[4].days, 30.84e6 / 16'000 / 24, 4);
}

}  // namespace
}  // namespace suanli::plan
