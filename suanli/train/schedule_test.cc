#include "suanli/train/schedule.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <numbers>

namespace suanli::train {
namespace {

TEST(Schedule, WarmsUpInEqualSteps) {
  const Schedule schedule{.lr = 1, .min_ratio = 0.1, .warmup_steps = 4, .steps = 10};
  EXPECT_DOUBLE_EQ(schedule.at(0), 0.25);
  EXPECT_DOUBLE_EQ(schedule.at(1), 0.5);
  EXPECT_DOUBLE_EQ(schedule.at(3), 1);
}

TEST(Schedule, CosineFallsToItsLeastInTheLastStep) {
  const Schedule schedule{
      .lr = 2, .min_ratio = 0.1, .warmup_steps = 0, .steps = 100, .decay = Decay::cosine};
  EXPECT_NEAR(schedule.at(49), 2 * 0.55, 1e-12) << "half way";
  EXPECT_NEAR(schedule.at(99), 0.2, 1e-12);
  for (int step = 1; step < 100; ++step)
    EXPECT_LT(schedule.at(step), schedule.at(step - 1)) << step;
  EXPECT_DOUBLE_EQ(schedule.at(1000), schedule.at(99)) << "a run that goes on keeps the last value";
}

TEST(Schedule, CosineIsOneAndTheSameEverywhere) {
  const Schedule schedule{.lr = 1, .min_ratio = 0, .warmup_steps = 0, .steps = 100'000, .decay = Decay::cosine};
  std::uint64_t bits = 0;
  for (int step = 0; step < schedule.steps; ++step) {
    const double height = schedule.at(step);
    ASSERT_NEAR(height, 0.5 * (1 + std::cos(std::numbers::pi * (step + 1) / 100'000)), 1e-15) << step;
    bits = 31 * bits + std::bit_cast<std::uint64_t>(height);
  }
  EXPECT_EQ(bits, 0x1E3E56888FDA170Fu) << "another CPU or compiler gave others";
  EXPECT_EQ(schedule.at(schedule.steps), 0);
}

TEST(Schedule, LinearFallsByEqualSteps) {
  const Schedule schedule{
      .lr = 1, .min_ratio = 0, .warmup_steps = 0, .steps = 4, .decay = Decay::linear};
  EXPECT_DOUBLE_EQ(schedule.at(0), 0.75);
  EXPECT_DOUBLE_EQ(schedule.at(1), 0.5);
  EXPECT_DOUBLE_EQ(schedule.at(3), 0);
}

TEST(Schedule, ConstantStays) {
  const Schedule schedule{.lr = 3, .warmup_steps = 2, .steps = 5, .decay = Decay::constant};
  EXPECT_DOUBLE_EQ(schedule.at(0), 1.5);
  EXPECT_DOUBLE_EQ(schedule.at(4), 3);
}

TEST(Schedule, WarmUpMayTakeTheWholeRun) {
  const Schedule schedule{.lr = 1, .warmup_steps = 5, .steps = 5};
  EXPECT_DOUBLE_EQ(schedule.at(4), 1);
  EXPECT_TRUE(schedule.at(5) > 0);
}

TEST(Schedule, NamesAreThoseOfTheJob) {
  EXPECT_EQ(decay_from_name("cosine"), Decay::cosine);
  EXPECT_EQ(decay_from_name("linear"), Decay::linear);
  EXPECT_EQ(decay_from_name("constant"), Decay::constant);
  EXPECT_EQ(decay_from_name("step"), std::nullopt);
}

}  // namespace
}  // namespace suanli::train
