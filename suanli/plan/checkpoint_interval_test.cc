#include "suanli/plan/checkpoint_interval.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace suanli::plan {
namespace {

constexpr Seconds kThreeHours{3 * 3600.0};
constexpr Seconds kNever{std::numeric_limits<double>::infinity()};

// By search: the interval at which most of the time is useful, by the complete model.
double searched_best(double stall, double mean) {
  double best = 0, best_ratio = 0;
  for (double interval = stall / 100; interval < 20 * mean; interval *= 1.001) {
    const double ratio = complete_time_ratio({Seconds(interval), Seconds(stall), Seconds(0), Seconds(mean)});
    if (ratio > best_ratio) best_ratio = ratio, best = interval;
  }
  return best;
}

TEST(CheckpointInterval, YoungIsTheRootOfTwiceStallTimesMeanTime) {
  EXPECT_DOUBLE_EQ(young_interval(Seconds(0.5), kThreeHours).value(), std::sqrt(2 * 0.5 * 10800));
}

TEST(CheckpointInterval, DalyIsTheBestOfTheCompleteModel) {
  for (const double stall : {1.0, 30.0, 600.0})
    EXPECT_NEAR(daly_interval(Seconds(stall), Seconds(3600)).value(), searched_best(stall, 3600),
                0.01 * searched_best(stall, 3600))
        << stall;
  EXPECT_EQ(daly_interval(Seconds(100), Seconds(50)), Seconds(50));
}

TEST(CheckpointInterval, EveryStepBreaksEvenAtStepSquaredOverTwiceTheMeanTime) {
  // Waste per second of saving after every step, and after every second one: equal there.
  const auto waste = [](double stall, double steps, double step, double mean) {
    return stall / (steps * step) + steps * step / (2 * mean);
  };
  const Seconds step(10), stall = stall_for_every_step(step, kThreeHours);
  EXPECT_NEAR(stall.value(), 4.63e-3, 1e-5);
  EXPECT_LT(waste(stall.value(), 1, 10, 10800), waste(stall.value(), 2, 10, 10800));
  EXPECT_EQ(best_steps_between(stall, kThreeHours, step), 1);
  // sqrt(2 stall M) / step is 10.39 at half a second.
  EXPECT_EQ(best_steps_between(Seconds(0.5), kThreeHours, step), 10);
}

TEST(CheckpointInterval, IsNeverMoreOftenThanSnapshotsCanBeWritten) {
  EXPECT_EQ(best_steps_between(Seconds(0), Seconds(600), Seconds(1), Seconds(7.2)), 8);
  EXPECT_EQ(best_steps_between(Seconds(0), Seconds(600), Seconds(1)), 1);
  EXPECT_EQ(best_steps_between(Seconds(1), kNever, Seconds(1)), 0);
}

TEST(TimeRatio, FirstOrderIsMetasExpression) {
  // 2,000 GPUs' worth of nodes: 250 nodes at 0.0065 faults a node-day, an hour between snapshots, 5 minutes to recover, 10 s
  // stall.
  const Seconds mean(86400 / (250 * 0.0065));
  const Interruptions given{Seconds(3600), Seconds(10), Seconds(300), mean};
  EXPECT_DOUBLE_EQ(expected_time_ratio(given), (1 - 250 * 0.0065 / 86400 * (300 + 1800)) / (1 + 10.0 / 3600));
  EXPECT_NEAR(expected_time_ratio(given), complete_time_ratio(given), 2e-3);
  EXPECT_DOUBLE_EQ(useful_time_ratio(given), expected_time_ratio(given));
}

TEST(TimeRatio, WithoutFaultsOnlyTheStallIsLost) {
  const Interruptions given{Seconds(90), Seconds(10), Seconds(300), kNever};
  EXPECT_DOUBLE_EQ(expected_time_ratio(given), 0.9);
  EXPECT_DOUBLE_EQ(complete_time_ratio(given), 0.9);
}

TEST(TimeRatio, ManyFaultsLeaveLittleButNeverLessThanNothing) {
  const Interruptions given{Seconds(3600), Seconds(10), Seconds(1200), Seconds(1000)};
  EXPECT_EQ(expected_time_ratio(given), 0);
  EXPECT_GT(useful_time_ratio(given), 0);
  EXPECT_LT(useful_time_ratio(given), 0.05);
}

TEST(TimeRatio, ChangesOverFromOneModelToTheOtherWithoutAJump) {
  const auto at = [](double interval) {
    return useful_time_ratio({Seconds(interval), Seconds(1), Seconds(0), Seconds(1000)});
  };
  EXPECT_NEAR(at(199.9), at(200.1), 0.01);
  EXPECT_GT(at(199.9), at(400));
}

}  // namespace
}  // namespace suanli::plan
