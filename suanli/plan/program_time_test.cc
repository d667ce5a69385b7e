#include "suanli/plan/program_time.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "suanli/engine/compile.h"
#include "suanli/model/gpt.h"
#include "suanli/plan/profile_for_test.h"

namespace suanli::plan {
namespace {

using engine::Arithmetic;

engine::Program gpt(std::int64_t width, Arithmetic arithmetic, std::int64_t micro_batches = 1) {
  const model::GptConfig config{.layers = 2, .heads = 2, .width = width, .context = 32, .vocab = 100};
  const auto graph = model::gpt_training_graph(config, 4, micro_batches, {});
  EXPECT_TRUE(graph);
  auto program = engine::compile(*graph, {.arithmetic = arithmetic});
  EXPECT_TRUE(program);
  return std::move(*program);
}

TEST(ProgramTime, AStepIsItsCallsAndWhatLiesBetweenThem) {
  const Profile profile = profile_for_test();
  for (const std::int64_t micro_batches : {1, 3}) {
    const engine::Program program = gpt(64, Arithmetic::bf16, micro_batches);
    const auto time = program_time(program, profile);
    ASSERT_TRUE(time) << time.error().to_string();
    ASSERT_EQ(time->calls.size(), program.forward.size() + program.backward.size() + program.update.size());
    Interval calls{};
    for (const CallEstimate& call : time->calls) {
      EXPECT_GT(call.seconds.low, 0) << call.kind;
      EXPECT_LE(call.seconds.low, call.seconds.expected) << call.kind;
      EXPECT_LE(call.seconds.expected, call.seconds.high) << call.kind;
      calls.low += call.seconds.low, calls.expected += call.seconds.expected, calls.high += call.seconds.high;
    }
    // The profile's factor for bf16, and clearing accumulators at 20 GB/s.
    const auto cleared = static_cast<double>(program.memory.accumulators.value());
    EXPECT_EQ(cleared > 0, micro_batches > 1);
    EXPECT_NEAR(time->step_seconds.expected, 1.02 * calls.expected + cleared / 20e9, 1e-9);
    EXPECT_NEAR(time->step_seconds.low, calls.low + cleared / 22e9, 1e-9);
    EXPECT_NEAR(time->step_seconds.high, 1.05 * calls.high + cleared / 18e9, 1e-9);
  }
}

TEST(ProgramTime, ExactArithmeticIsRefused) {
  const auto time = program_time(gpt(64, Arithmetic::exact, 1), profile_for_test());
  ASSERT_FALSE(time);
  EXPECT_EQ(time.error().code, ErrorCode::unsupported);
}

TEST(ProgramTime, MicroBatchesRepeatForwardAndBackwardButNotTheUpdate) {
  const Profile profile = profile_for_test();
  const auto seconds = [&](std::int64_t micro_batches, graph::Phase phase) {
    const auto time = program_time(gpt(64, Arithmetic::f32, micro_batches), profile);
    double sum = 0;
    for (const CallEstimate& call : time->calls)
      if (call.phase == phase) sum += call.seconds.expected;
    return sum;
  };
  EXPECT_NEAR(seconds(6, graph::Phase::forward) / seconds(3, graph::Phase::forward), 2, 1e-9);
  EXPECT_NEAR(seconds(6, graph::Phase::backward) / seconds(3, graph::Phase::backward), 2, 1e-9);
  EXPECT_NEAR(seconds(6, graph::Phase::update) / seconds(3, graph::Phase::update), 1, 1e-9);
}

TEST(ProgramTime, AWiderModelTakesLonger) {
  const Profile profile = profile_for_test();
  const auto narrow = program_time(gpt(64, Arithmetic::f32), profile), wide = program_time(gpt(256, Arithmetic::f32), profile);
  ASSERT_TRUE(narrow && wide);
  EXPECT_GT(wide->step_seconds.expected, 4 * narrow->step_seconds.expected);
}

TEST(ProgramTime, KindsThatWereNotMeasuredAreNamed) {
  const auto time = program_time(gpt(64, Arithmetic::f32), profile_for_test());
  ASSERT_TRUE(time);
  EXPECT_THAT(time->unmeasured, ::testing::Contains("attention"));
  EXPECT_THAT(time->unmeasured, ::testing::Not(::testing::Contains("adamw")));
}

TEST(ProgramTime, AnArithmeticThatTheProfileLacksIsRefused) {
  Profile profile = profile_for_test();
  std::erase_if(profile.kernels, [](const KernelRate& rate) { return rate.arithmetic == Arithmetic::bf16; });
  EXPECT_TRUE(program_time(gpt(64, Arithmetic::f32), profile));
  const auto refused = program_time(gpt(64, Arithmetic::bf16), profile);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::usage);
  EXPECT_THAT(refused.error().to_string(), ::testing::HasSubstr("--dtype bf16"));
}

}  // namespace
}  // namespace suanli::plan
