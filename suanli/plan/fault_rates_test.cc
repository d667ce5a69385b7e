#include "suanli/plan/fault_rates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace suanli::plan {
namespace {

using ::testing::HasSubstr;

double mean_days(const std::vector<Assumption>& assumptions, double nodes) {
  return mean_time_between_faults(Values(assumptions), nodes) / 86400;
}

FaultPreset preset(std::string_view name) { return fault_preset(name).value(); }

TEST(FaultRates, EachPresetHasItsOwnNameASourceAndAnInterval) {
  std::set<std::string_view> names;
  for (const FaultPreset& each : fault_presets()) {
    EXPECT_TRUE(names.insert(each.name).second) << each.name;
    EXPECT_FALSE(each.text.empty() || each.source.empty()) << each.name;
    EXPECT_TRUE(0 < each.per_node_day.low && each.per_node_day.low < each.per_node_day.expected &&
                each.per_node_day.expected < each.per_node_day.high)
        << each.name;
  }
  EXPECT_EQ(fault_presets().front().name, "typical");
}

TEST(FaultRates, AnUnknownPresetIsToldWithTheNearest) {
  const auto wrong = fault_preset("lama3");
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code, ErrorCode::usage);
  EXPECT_THAT(wrong.error().message, HasSubstr("did you mean 'llama3'?"));
}

// What was published, from which the presets and the term of software come.
TEST(FaultRates, MeanTimesAreThoseOfTheSources) {
  EXPECT_NEAR(24 * mean_days(fault_assumptions(preset("llama3"), 2048), 2048), 3.09, 0.01);
  EXPECT_NEAR(mean_days(fault_assumptions(preset("rsc1"), 1), 1), 47, 2);
  EXPECT_NEAR(24 * mean_days(fault_assumptions(preset("rsc1"), 128), 128), 7.9, 0.8);
  EXPECT_NEAR(24 * mean_days(fault_assumptions(preset("rsc1"), 2048), 2048), 1.8, 0.3);
}

TEST(FaultRates, SoftwareShortensTheLifeOfSmallJobsMost) {
  const auto share = [](double nodes) {
    const double software = software_faults_per_day(nodes).expected;
    return software / (software + preset("rsc1").per_node_day.expected * nodes);
  };
  EXPECT_GT(share(1), 0.6);
  EXPECT_LT(share(2048), 0.2);
}

TEST(FaultRates, ARateIsCarriedOverByDevices) {
  const auto four = fault_assumptions(preset("preemptible"), 1, 4);
  EXPECT_DOUBLE_EQ(four[0].value.expected, 4 * preset("preemptible").per_node_day.expected);
  EXPECT_TRUE(four[1].value.is_exact());
}

TEST(FaultRates, AGivenMeanTimeComesBackExactly) {
  EXPECT_DOUBLE_EQ(mean_days(given_fault_assumptions(Seconds(5 * 3600), 77), 77), 5.0 / 24);
  const std::vector<Assumption> never = {{"faults_per_node_day", "", Interval::exactly(0), "1/day", ""},
                                         {"software_faults_per_day", "", Interval::exactly(0), "1/day", ""}};
  EXPECT_TRUE(std::isinf(mean_time_between_faults(Values(never), 8)));
}

}  // namespace
}  // namespace suanli::plan
