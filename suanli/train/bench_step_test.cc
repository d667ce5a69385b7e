#include "suanli/train/bench_step.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>

#include "suanli/base/ticking_clock.h"
#include "suanli/engine/compile.h"

namespace suanli::train {
namespace {

using testing::HasSubstr;

StepShape tiny(std::int64_t micro_batches = 1) {
  return {.model = {.layers = 2, .heads = 2, .width = 32, .context = 16, .vocab = 40},
          .batch = 3,
          .micro_batches = micro_batches};
}

TEST(BenchStep, CasesAreThoseOfTheirNames) {
  const auto a = find_bench_case("train-step-a"), b = find_bench_case("train-step-b");
  ASSERT_TRUE(a && b);
  EXPECT_EQ(a->shape().tokens(), Tokens(4096));
  EXPECT_EQ(b->model.parameters(), 50257 * 768 + 512 * 768 + 12 * (12 * 768 * 768 + 13 * 768) + 2 * 768);
  for (const BenchCase& each : bench_cases()) EXPECT_TRUE(each.model.check()) << each.name;
  const auto wrong = find_bench_case("train-stepa");
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code, ErrorCode::usage);
  EXPECT_THAT(wrong.error().to_string(),
              testing::AllOf(HasSubstr("'train-stepa'"), HasSubstr("did you mean"), HasSubstr("train-step-b")));
}

TEST(BenchStep, StepsTrainAndAreTimed) {
  for (const std::int64_t micro_batches : {1, 3}) {
    const auto runner = StepRunner::create(tiny(micro_batches), {.threads = 2, .lr = 1e-2});
    ASSERT_TRUE(runner) << runner.error().to_string();
    ASSERT_TRUE((*runner)->step());
    const double first = (*runner)->loss();
    EXPECT_NEAR(first, std::log(40), 0.2) << "random tokens";
    for (int i = 0; i < 10; ++i) ASSERT_TRUE((*runner)->step());
    EXPECT_LT((*runner)->loss(), first) << "the same tokens again";
    const StepTimes& last = (*runner)->last();
    double calls = 0;
    for (const auto& phase : last.call_seconds)
      for (const double seconds : phase) {
        EXPECT_GT(seconds, 0);
        calls += seconds;
      }
    EXPECT_LE(calls, last.seconds.value());
    EXPECT_EQ((*runner)->executor().call_times(graph::Phase::forward).front().calls,
              static_cast<std::size_t>(11 * micro_batches));
  }
}

TEST(BenchStep, StartAddsUpOnTheClockGiven) {
  TickingClock clock;
  const auto runner = StepRunner::create(tiny(), {.launch = Seconds(7), .clock = &clock});
  ASSERT_TRUE(runner);
  ASSERT_TRUE((*runner)->step());
  ASSERT_TRUE((*runner)->step());
  const StartTimes& start = (*runner)->start();
  EXPECT_EQ(start.launch, Seconds(7));
  EXPECT_EQ(start.compile, Seconds(1));
  EXPECT_EQ(start.first_step, Seconds(2)) << "tokens and step; not the second step";
  EXPECT_EQ(start.total(), Seconds(7 + 4 + 2)) << "graph, compile, state, executor";
}

TEST(BenchStep, ReportHoldsTogether) {
  const auto runner = StepRunner::create(tiny(), {.threads = 2});
  ASSERT_TRUE(runner);
  std::vector<int> told;
  const auto report = bench(**runner, {.steps = 4, .progress = [&](const BenchProgress& progress) {
                                         told.push_back(progress.steps == 0 ? -1 : progress.done);
                                       }});
  ASSERT_TRUE(report) << report.error().to_string();
  EXPECT_EQ(told, (std::vector{-1, -1, 0, 1, 2, 3}));
  EXPECT_EQ((*runner)->steps(), 2 + 4);
  EXPECT_LE(report->step_p10, report->step_median);
  EXPECT_LE(report->step_median, report->step_p90);
  EXPECT_DOUBLE_EQ(report->tokens_per_second.value(), 48 / report->step_median.value());
  const double rate = (*runner)->program().step_flops / report->step_median.value();
  EXPECT_DOUBLE_EQ(report->efficiency, rate / report->calibration.products.value());
  EXPECT_DOUBLE_EQ(report->mfu, rate / report->calibration.nominal.value());
  EXPECT_GT(report->gemm_share, 0);
  EXPECT_GT(report->peak_resident, (*runner)->program().memory.total(1));
  std::size_t calls = 0;
  double seconds = 0;
  for (const KindTime& kind : report->kinds) {
    calls += kind.calls;
    seconds += kind.seconds.value();
  }
  const engine::Program& program = (*runner)->program();
  EXPECT_EQ(calls, program.forward.size() + program.backward.size() + program.update.size());
  EXPECT_GT(seconds, 0);
  EXPECT_TRUE(std::ranges::is_sorted(report->kinds, std::greater(), &KindTime::seconds));
}

TEST(BenchStep, StopsBetweenStepsAndSaysWhere) {
  std::atomic<bool> stop = false;
  const auto runner = StepRunner::create(tiny(), {});
  ASSERT_TRUE(runner);
  const auto report = bench(**runner, {.steps = 4,
                                       .progress = [&](const BenchProgress& at) { stop = at.steps > 0 && at.done == 1; },
                                       .stop = &stop});
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, ErrorCode::interrupted);
  EXPECT_THAT(report.error().message, HasSubstr("after 2 of 4 timed steps"));
  EXPECT_EQ((*runner)->steps(), 2 + 2);
}

TEST(BenchStep, AProgramIsRunAsItWasCompiled) {
  const StepShape shape = tiny();
  const auto graph = model::gpt_training_graph(shape.model, shape.batch, shape.micro_batches, shape.optimizer);
  ASSERT_TRUE(graph);
  const auto program = engine::compile(*graph, {.recompute = {.cheap = true, .blocks = 2}});
  ASSERT_TRUE(program);
  const auto runner = StepRunner::create(shape, *graph, *program, {}), plain = StepRunner::create(shape, {});
  ASSERT_TRUE(runner && plain);
  EXPECT_EQ((*runner)->program().target.recompute.blocks, 2);
  EXPECT_GT((*runner)->program().backward.size(), (*plain)->program().backward.size());
  for (int i = 0; i < 2; ++i) ASSERT_TRUE((*runner)->step() && (*plain)->step());
  EXPECT_EQ((*runner)->loss(), (*plain)->loss());
}

TEST(BenchStep, AShapeOutOfRangeIsAnError) {
  StepShape shape = tiny();
  shape.model.heads = 5;
  const auto runner = StepRunner::create(shape, {});
  ASSERT_FALSE(runner);
  EXPECT_EQ(runner.error().code, ErrorCode::config);
}

}  // namespace
}  // namespace suanli::train
