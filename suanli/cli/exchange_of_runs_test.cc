#include "suanli/cli/exchange_of_runs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace suanli::cli {
namespace {

using testing::HasSubstr;

// A run of `steps` steps of one second, 100 FLOPs and 10 tokens each.
train::RunRecords run_of(std::int64_t steps, std::vector<train::ValidLossRecord> evals) {
  train::RunRecords records;
  train::SessionRecord session;
  session.steps = steps;
  session.step_flops = Flops(100);
  session.step_tokens = Tokens(10);
  records.sessions = {session};
  for (std::int64_t step = 1; step <= steps; ++step)
    records.steps.push_back({step, 1.0, 1.0, Tokens(10), Seconds(1), Flops(0), Joules(0)});
  records.evals = std::move(evals);
  return records;
}

TEST(ExchangeOfRuns, CostsAreOfTheStepsUntilThen) {
  const auto points = quality_points(run_of(20, {{10, 4}, {20, 2}}));
  ASSERT_EQ(points.size(), 2u);
  EXPECT_EQ(points[0].cost.operations, Flops(1000));
  EXPECT_EQ(points[1].cost.seconds, Seconds(20));
  EXPECT_EQ(points[1].cost.tokens, 200);
  EXPECT_FALSE(points[1].cost.joules) << "nobody counted them";
}

TEST(ExchangeOfRuns, LinesThatAreLostAreTakenToBeLikeTheOthers) {
  train::RunRecords records = run_of(20, {{10, 4}, {20, 2}});
  records.steps.erase(records.steps.begin() + 3, records.steps.begin() + 12);
  const auto points = quality_points(records);
  EXPECT_EQ(points[0].cost.operations, Flops(1000));
  EXPECT_NEAR(points[0].cost.seconds.value(), 10, 1e-9);
  EXPECT_NEAR(points[1].cost.seconds.value(), 20, 1e-9);
  EXPECT_EQ(points[1].cost.tokens, 200);
  records.steps.clear();
  EXPECT_EQ(quality_points(records)[1].cost.operations, Flops(2000)) << "steps are counted by their number";
}

TEST(ExchangeOfRuns, EachStepCostsWhatItsSessionDid) {
  train::RunRecords records = run_of(20, {{20, 2}});
  train::SessionRecord second = records.sessions[0];
  second.first_step = 15;
  second.step_flops = Flops(1000);
  records.sessions.push_back(second);
  EXPECT_EQ(quality_points(records)[0].cost.operations, Flops(15 * 100 + 5 * 1000));
}

TEST(ExchangeOfRuns, AnEvaluationBeyondAllStepsIsNotOfThisRun) {
  EXPECT_EQ(quality_points(run_of(20, {{20, 2}, {std::int64_t{1} << 60, 1}})).size(), 1u);
}

TEST(ExchangeOfRuns, ALossIsReachedBetweenEvaluations) {
  const auto points = quality_points(run_of(30, {{10, 4}, {20, 2}, {30, 3}}));
  EXPECT_NEAR(cost_to_loss(points, 3)->step, 15, 1e-9);
  EXPECT_NEAR(cost_to_loss(points, 2.5)->operations.value(), 1750, 1e-9);
  EXPECT_EQ(cost_to_loss(points, 4)->step, 10);
  EXPECT_EQ(cost_to_loss(points, 2)->step, 20) << "the first time counts";
  EXPECT_FALSE(cost_to_loss(points, 5)) << "passed before anyone looked";
  EXPECT_FALSE(cost_to_loss(points, 1.9));
}

TEST(ExchangeOfRuns, TheRateIsGivenAtSeveralLossesAndAtTheBestOfBoth) {
  // The second learns the same, three times as slowly, and further.
  const auto first = quality_points(run_of(40, {{10, 4}, {20, 3}, {40, 2}}));
  const auto second = quality_points(run_of(150, {{30, 4}, {60, 3}, {120, 2}, {150, 1.5}}));
  const auto levels = exchange_levels(first, second);
  ASSERT_TRUE(levels) << levels.error().to_string();
  ASSERT_GE(levels->size(), 3u);
  for (std::size_t i = 0; i < levels->size(); ++i) {
    const ExchangeLevel& level = (*levels)[i];
    EXPECT_NEAR(level.second.operations / level.first.operations, 3, 1e-9) << level.loss;
    EXPECT_NEAR(level.second.seconds / level.first.seconds, 3, 1e-9) << level.loss;
    EXPECT_EQ(level.is_best, i + 1 == levels->size());
    if (i > 0) {
      EXPECT_LT(level.loss, (*levels)[i - 1].loss);
    }
  }
  EXPECT_EQ(levels->back().loss, 2) << "the best of the worse one";
  EXPECT_EQ(levels->back().first.step, 40);
}

TEST(ExchangeOfRuns, WithoutACommonLossThereIsNoRate) {
  const auto levels = exchange_levels(quality_points(run_of(20, {{10, 5}, {20, 4}})),
                                      quality_points(run_of(20, {{10, 3}, {20, 2}})));
  ASSERT_FALSE(levels);
  EXPECT_EQ(levels.error().code, ErrorCode::mismatch);
  EXPECT_THAT(levels.error().message, HasSubstr("5.000 to 4.000"));
  // One point in common is enough.
  const auto one = exchange_levels(quality_points(run_of(20, {{10, 5}, {20, 3}})), quality_points(run_of(20, {{10, 3}})));
  ASSERT_TRUE(one);
  ASSERT_EQ(one->size(), 1u);
  EXPECT_EQ(one->front().loss, 3);
  EXPECT_TRUE(one->front().is_best);
}

}  // namespace
}  // namespace suanli::cli
