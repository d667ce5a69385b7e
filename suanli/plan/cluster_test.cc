#include "suanli/plan/cluster.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace suanli::plan {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

ClusterSetup h100s(std::int64_t count) {
  ClusterSetup setup;
  setup.device = AcceleratorTable::built_in().find("H100").value();
  setup.devices = count;
  return setup;
}

double expected(const Report& report, std::string_view key) {
  const Figure* figure = report.find(key);
  EXPECT_NE(figure, nullptr) << key;
  return figure ? figure->value.expected : -1;
}

TEST(Cluster, CountsWhatIsGiven) {
  ClusterSetup setup = h100s(1000);
  setup.price = Dollars(20'000);
  setup.surroundings_price = 0.5;
  setup.power = Watts(500);
  setup.surroundings_power = 1.4;
  setup.overhead = given(1.2, "1");
  setup.electricity = given(0.1, "USD/kWh");
  setup.lifetime_years = 5;
  const Report report = plan_cluster(setup, {.days = 10, .household_watts = 1000}).value();
  EXPECT_DOUBLE_EQ(expected(report, "capital_usd"), 30e6);
  EXPECT_DOUBLE_EQ(expected(report, "power_w"), 840e3);
  EXPECT_DOUBLE_EQ(expected(report, "households"), 840);
  EXPECT_DOUBLE_EQ(expected(report, "energy_j"), 840e3 * 864'000);
  EXPECT_DOUBLE_EQ(expected(report, "electricity_usd"), 840 * 240 * 0.1);
  EXPECT_DOUBLE_EQ(expected(report, "depreciation_usd"), 30e6 * 10 / (5 * 365));
  EXPECT_TRUE(report.find("capital_usd")->value.is_exact());
  EXPECT_TRUE(report.warnings.empty());
}

TEST(Cluster, AssumesTheRestWithIntervals) {
  const Report report = plan_cluster(h100s(100'000), {.days = std::nullopt, .household_watts = std::nullopt}).value();
  const Interval capital = report.find("capital_usd")->value;
  EXPECT_LT(capital.low, 4e9);
  EXPECT_GT(capital.high, 5e9);
  EXPECT_EQ(report.find("energy_j"), nullptr) << "no time is given";
  const Interval households = report.find("households")->value;
  EXPECT_LT(households.low, 56'000);
  EXPECT_GT(households.high, households.expected);
}

TEST(Cluster, SaysWhatItDoesNotKnow) {
  ClusterSetup setup;
  setup.device = AcceleratorTable::built_in().find("TPU v5p").value();
  setup.devices = 8;
  const Report report = plan_cluster(setup, {.days = 1, .household_watts = std::nullopt}).value();
  ASSERT_EQ(report.warnings.size(), 2U);
  EXPECT_THAT(report.warnings[0].message, HasSubstr("no price of TPU-v5p"));
  EXPECT_THAT(report.warnings[1].message, HasSubstr("no design power"));
  EXPECT_EQ(report.find("capital_usd"), nullptr);
  EXPECT_EQ(report.find("power_w"), nullptr);
}

// 1,979 TFLOP/s is the bf16 peak with sparsity, twice the dense 989, and in numbers the dense fp8 peak.
TEST(Peak, TheSparseOneIsExplained) {
  ClusterSetup setup = h100s(8);
  setup.peak = FlopsPerSecond(1979e12);
  const auto warnings = peak_warnings(setup);
  ASSERT_EQ(warnings.size(), 1U);
  EXPECT_THAT(warnings[0].message, AllOf(HasSubstr("sparsity"), HasSubstr("twice the dense 989 TFLOP/s"), HasSubstr("fp8")));
  EXPECT_THAT(warnings[0].next_step, HasSubstr("989"));
  setup.dtype = "fp8";
  EXPECT_TRUE(peak_warnings(setup).empty()) << "it is the dense fp8 peak";
}

TEST(Peak, OfAnotherDtypeOrTooHighIsNoticed) {
  ClusterSetup setup = h100s(8);
  setup.dtype = "fp8";
  setup.peak = FlopsPerSecond(989e12);
  EXPECT_THAT(peak_warnings(setup).at(0).message, HasSubstr("the dense bf16 peak"));
  setup.dtype = "bf16";
  EXPECT_TRUE(peak_warnings(setup).empty());
  setup.peak = FlopsPerSecond(1200e12);
  EXPECT_THAT(peak_warnings(setup).at(0).message, HasSubstr("above the dense bf16 peak"));
  setup.peak = FlopsPerSecond(500e12);
  EXPECT_TRUE(peak_warnings(setup).empty()) << "a rate that is reached";
  setup = {};
  setup.device = AcceleratorTable::built_in().find("A100").value();
  setup.peak = FlopsPerSecond(624e12);
  EXPECT_THAT(peak_warnings(setup).at(0).message, HasSubstr("twice the dense 312 TFLOP/s"));
}

TEST(Peak, Fp16StandsInForBf16) {
  ClusterSetup setup;
  setup.device = AcceleratorTable::built_in().find("V100").value();
  EXPECT_EQ(peak_assumption(setup).value().value.expected, 125e12);
  setup.dtype = "fp8";
  EXPECT_THAT(peak_assumption(setup).error().message, HasSubstr("no known peak in fp8"));
}

TEST(Cluster, RefusesWhatIsImpossible) {
  EXPECT_THAT(plan_cluster(h100s(0), {}).error().message, HasSubstr("0 devices"));
  ClusterSetup setup = h100s(1);
  setup.overhead = given(0.5, "1");
  EXPECT_EQ(plan_cluster(setup, {}).error().place, "--pue");
  setup = h100s(1);
  setup.surroundings_power = 0.5;
  EXPECT_EQ(plan_cluster(setup, {}).error().place, "--surroundings-power");
}

}  // namespace
}  // namespace suanli::plan
