#include "suanli/plan/power.h"

#include <gmock/gmock.h>

#include "suanli/plan/profile_for_test.h"

namespace suanli::plan {
namespace {

using ::testing::HasSubstr;

TEST(MachinePower, WhatIsStatedStands) {
  const Profile profile = profile_for_test();
  EXPECT_EQ(machine_power(Watts(123), &profile, 2).watts, Interval::exactly(123));
  EXPECT_EQ(machine_power(Watts(123), nullptr, 0).source, "given");
}

TEST(MachinePower, AMeasuredPackageIsPartOfTheMachine) {
  Profile profile = profile_for_test();
  profile.busy_watts = Interval{40, 50, 60};
  const MachinePower power = machine_power(std::nullopt, &profile, 2);
  EXPECT_GT(power.watts.low, 40);
  EXPECT_DOUBLE_EQ(power.watts.expected, 50 * kMachineOverPackage.expected);
  EXPECT_THAT(power.source, HasSubstr("measured of the processor"));
}

TEST(MachinePower, AnEstimateCountsTheCoresThatCompute) {
  Profile profile = profile_for_test();
  profile.busy_watts.reset();
  profile.cores = 2;
  const Interval two = machine_power(std::nullopt, &profile, 2).watts;
  EXPECT_DOUBLE_EQ(machine_power(std::nullopt, &profile, 1).watts.expected, two.expected / 2) << "one core rests";
  EXPECT_EQ(machine_power(std::nullopt, &profile, 64).watts, two) << "threads beyond the cores gain nothing";
  EXPECT_EQ(machine_power(std::nullopt, nullptr, 2).watts, two) << "the same without a profile";
  EXPECT_GT(machine_power(std::nullopt, nullptr, 0).watts.low, 0) << "where nothing is known, one core";
  EXPECT_THAT(machine_power(std::nullopt, nullptr, 2).source, HasSubstr("estimate, not measured"));
}

}  // namespace
}  // namespace suanli::plan
