#include "suanli/plan/step_time.h"

#include <gmock/gmock.h>

#include <cmath>

#include "suanli/plan/settle.h"
#include "suanli/plan/whole_run.h"

namespace suanli::plan {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

Accelerator device(const char* name = "A100-SXM-80GB") { return *AcceleratorTable::built_in().find(name); }

// GPT-3's shape with tensor degree 8 and pipeline degree 8 on 512 A100.
TrainingSetup setup() {
  TrainingSetup made;
  made.model = {.parameters = 175e9, .layers = 96, .width = 12288, .heads = 96, .context = 2048, .vocab = 51200};
  made.device = device();
  made.layout = {.tensor = 8, .pipeline = 8, .data = 8, .interleave = 2, .sequence_parallel = true, .shard = 1};
  made.global_batch = 768;
  made.micro_batch = 1;
  made.stack = Stack::megatron;
  return made;
}

double seconds(const TrainingSetup& made) {
  const auto time = predict_step_time(made);
  EXPECT_TRUE(time) << time.error().to_string();
  return time ? time->step.value() : 0;
}

double part(const TrainingSetup& made, const std::string& name) {
  const auto time = predict_step_time(made);
  for (const StepTime::Part& each : time->parts)
    if (each.name == name) return each.seconds.value();
  return 0;
}

TEST(StepTime, PartsAddUpAndMfuIsWhatTheStepMeans) {
  const auto time = predict_step_time(setup());
  ASSERT_TRUE(time);
  double sum = 0;
  for (const StepTime::Part& each : time->parts) sum += each.seconds.value();
  EXPECT_NEAR(sum, time->step.value(), 1e-9 * sum);
  EXPECT_EQ(time->tokens, 768 * 2048);
  EXPECT_NEAR(time->mfu, flops_per_token(setup().model) * time->tokens / (time->step.value() * 512 * 312e12), 1e-12);
  EXPECT_GT(time->hfu, time->mfu) << "attention is recomputed";
  EXPECT_LT(time->relative.low, 1);
  EXPECT_GT(time->relative.high, 1);
}

TEST(StepTime, TheBubbleIsThatOfThePipeline) {
  TrainingSetup made = setup();
  const auto at = [&](int pipeline, int interleave) {
    made.layout.pipeline = pipeline;
    made.layout.interleave = interleave;
    const double bubble = part(made, "pipeline bubble");
    const auto time = predict_step_time(made);
    const double passes = time->step.value() - bubble - part(made, "data parallel") - part(made, "update");
    return bubble / passes;
  };
  EXPECT_NEAR(at(8, 1), 7.0 / 96, 1e-9) << "(p - 1) / m";
  EXPECT_NEAR(at(8, 2), 7.0 / 2 / 96, 1e-9) << "(p - 1) / (v m)";
  EXPECT_EQ(at(1, 1), 0);
}

TEST(StepTime, WhatIsBetterIsNotSlower) {
  const double usual = seconds(setup());
  TrainingSetup faster_link = setup();
  faster_link.cluster_link = BytesPerSecond(100e9);
  EXPECT_LT(seconds(faster_link), usual);
  TrainingSetup slower_link = setup();
  slower_link.cluster_link = BytesPerSecond(1e9);
  EXPECT_GT(seconds(slower_link), usual);
  TrainingSetup more_passes = setup();
  more_passes.global_batch *= 2;
  EXPECT_LT(seconds(more_passes), 2 * usual) << "a longer batch hides bubble and exchange";
  TrainingSetup recomputed = setup();
  recomputed.recomputation = Recomputation::full;
  EXPECT_GT(seconds(recomputed), 1.2 * usual);
  TrainingSetup plain = setup();
  plain.flash = false;
  EXPECT_GT(seconds(plain), usual);
  TrainingSetup overlapped = setup();
  overlapped.stack = Stack::megascale;
  EXPECT_LT(seconds(overlapped), usual);
  TrainingSetup better_device = setup();
  better_device.device = device("H100-SXM-80GB");
  EXPECT_LT(seconds(better_device), 0.7 * usual);
  TrainingSetup fp8 = better_device;
  fp8.dtype = "fp8";
  EXPECT_LT(seconds(fp8), seconds(better_device));
}

TEST(StepTime, ShardedWeightsCostWhatTheLinkLeavesOpen) {
  TrainingSetup made = setup();
  made.layout = {.tensor = 1, .pipeline = 1, .data = 1024, .shard = 3};
  made.stack = Stack::fsdp;
  made.global_batch = 1024;
  const double fast = part(made, "sharded weights");
  made.cluster_link = BytesPerSecond(2e9);
  const double slow = part(made, "sharded weights");
  EXPECT_GT(slow, 5 * fast);
  // Three times 2 bytes per parameter over eight ports of a machine at 70 %, less what computation hides.
  const double gather = 6 * 175e9 / (8 * 2e9 * 0.7);
  EXPECT_LT(slow, gather);
  EXPECT_GT(slow, 0.3 * gather);
  made.stack = Stack::zero3;
  EXPECT_GT(part(made, "sharded weights"), slow) << "each device through its own port";
}

TEST(StepTime, NeverMoreThanTheDeviceCanDo) {
  const AcceleratorTable table = AcceleratorTable::built_in();
  for (const Accelerator& each : table.all())
    for (const double parameters : {1e8, 7e9, 1e12})
      for (const int data : {1, 8, 100'000}) {
        TrainingSetup made;
        made.model.parameters = parameters;
        made.device = each;
        made.layout.data = data;
        const auto time = predict_step_time(made);
        ASSERT_TRUE(time) << each.name << ": " << time.error().to_string();
        EXPECT_GT(time->mfu, 0) << each.name;
        EXPECT_LT(time->mfu, 1) << each.name;
        EXPECT_LE(time->mfu, time->hfu) << each.name;
      }
}

TEST(StepTime, ExtremesStayFinite) {
  TrainingSetup made = setup();
  for (const std::int64_t context : {1, 2048, 1'000'000})
    for (const int pipeline : {1, 96})
      for (const double batch : {1.0, 1e9}) {
        made.model.context = context;
        made.layout.pipeline = pipeline;
        made.global_batch = batch;
        const auto time = predict_step_time(made);
        ASSERT_TRUE(time);
        EXPECT_TRUE(std::isfinite(time->step.value()) && time->step.value() > 0);
        EXPECT_TRUE(time->mfu > 0 && time->mfu < 1) << context << " " << pipeline << " " << batch;
        EXPECT_NEAR(time->tokens, batch * static_cast<double>(context), 1e-6 * time->tokens);
      }
}

TEST(StepTime, WhatCannotBeIsSaid) {
  const auto message = [](const auto& change) {
    TrainingSetup made = setup();
    change(made);
    const auto time = predict_step_time(made);
    return time ? std::string() : time.error().message;
  };
  EXPECT_THAT(message([](TrainingSetup& s) { s.model.parameters = 0; }), HasSubstr("parameters must be positive"));
  EXPECT_THAT(message([](TrainingSetup& s) { s.model.parameters = NAN; }), HasSubstr("parameters must be positive"));
  EXPECT_THAT(message([](TrainingSetup& s) { s.layout.tensor = 0; }), HasSubstr("tensor-parallel degree must be positive"));
  EXPECT_THAT(message([](TrainingSetup& s) { s.layout.data = -1; }), HasSubstr("data-parallel degree must be positive"));
  EXPECT_THAT(message([](TrainingSetup& s) { s.global_batch = -1; }), HasSubstr("must not be negative"));
  EXPECT_THAT(message([](TrainingSetup& s) { s.dtype = "bf166"; }), HasSubstr("did you mean 'bf16'"));
  EXPECT_THAT(message([](TrainingSetup& s) { s.dtype = "fp8"; }), HasSubstr("has no fp8"));
  EXPECT_THAT(message([](TrainingSetup& s) { s.device = {}; s.device.name = "own"; }), HasSubstr("no peak of 'own'"));
  EXPECT_THAT(message([](TrainingSetup& s) { s.layout.tensor = s.layout.pipeline = 1'000'000; }), HasSubstr("more than 1e9"));
  const auto stack = stack_from_name("megatrom");
  ASSERT_FALSE(stack);
  EXPECT_THAT(stack.error().message, HasSubstr("did you mean 'megatron'"));
}

TEST(StepTime, WhatIsAssumedMakesTheIntervalWider) {
  SetupFacts facts;
  facts.model.parameters = 70e9;
  facts.device = device("H100-SXM-80GB");
  facts.devices = 512;
  const auto settled = settle(facts);
  ASSERT_TRUE(settled) << settled.error().to_string();
  EXPECT_FALSE(settled->is_known);
  EXPECT_THAT(settled->assumed, Not(IsEmpty()));
  EXPECT_EQ(settled->setup.devices(), 512);
  EXPECT_GT(step_time_error(false).high, step_time_error(true).high);
  EXPECT_LT(step_time_error(false).low, step_time_error(true).low);
}

TEST(Settle, TheLayoutFitsAndDividesTheDevices) {
  SetupFacts facts;
  facts.model = {.parameters = 405e9, .layers = 126, .width = 16384, .heads = 128, .context = 8192, .vocab = 128'256};
  facts.device = device("H100-SXM-80GB");
  facts.devices = 16'384;
  facts.stack = Stack::megatron;
  const auto settled = settle(facts);
  ASSERT_TRUE(settled) << settled.error().to_string();
  const Layout& layout = settled->setup.layout;
  EXPECT_EQ(layout.devices(), 16'384);
  EXPECT_LE(layout.tensor, 8);
  EXPECT_LT(state_memory(settled->setup.model, layout).total(), 0.6 * 80 * 1024.0 * 1024 * 1024);
  facts.tensor = 3;
  facts.pipeline = 1;
  const auto uneven = settle(facts);
  ASSERT_FALSE(uneven);
  EXPECT_THAT(uneven.error().message, HasSubstr("16384 devices cannot be cut into tensor degree 3"));
  facts.devices = -1;
  EXPECT_FALSE(settle(facts));
  facts.devices = 0;
  facts.tensor = facts.pipeline = facts.data = 1'000'000;
  EXPECT_THAT(settle(facts).error().message, HasSubstr("more than 1e9"));
}

TEST(Settle, SpareDevicesShareSequencesOrWeights) {
  SetupFacts facts;
  facts.model.parameters = 10e9;
  facts.model.context = 131'072;
  facts.device = device("H100-SXM-80GB");
  facts.devices = 128;
  facts.tensor = facts.pipeline = 1;
  facts.data = 8;
  EXPECT_EQ(settle(facts)->setup.context_parallel, 16);
  facts.model.context = 8192;
  const auto sharded = settle(facts);
  EXPECT_EQ(sharded->setup.context_parallel, 1);
  EXPECT_EQ(sharded->setup.gather_group, 16);
  EXPECT_EQ(sharded->setup.layout.data, 128);
}

TEST(WholeRun, IsLongerThanItsSteps) {
  SetupFacts facts;
  facts.model.parameters = 7e9;
  facts.device = device();
  facts.devices = 128;
  const auto settled = settle(facts);
  ASSERT_TRUE(settled);
  const auto run = predict_whole_run(*settled, 1e12);
  ASSERT_TRUE(run) << run.error().to_string();
  const double steady = 1e12 / run->step.tokens * run->step.step.value();
  EXPECT_GT(run->seconds.expected, steady);
  EXPECT_LT(run->seconds.low, run->seconds.expected);
  EXPECT_LT(run->seconds.expected, run->seconds.high);
  EXPECT_NEAR(run->device_hours.expected, run->seconds.expected * 128 / 3600, 1e-6 * run->device_hours.expected);
  EXPECT_FALSE(predict_whole_run(*settled, 0));
}

TEST(WholeRun, QuantilesWeighTheirValues) {
  EXPECT_EQ(weighted_quantile({}, 0.5), 0);
  EXPECT_EQ(weighted_quantile({{3, 1}}, 0.1), 3);
  EXPECT_DOUBLE_EQ(weighted_quantile({{3, 1}, {1, 1}, {2, 1}}, 0.5), 2);
  EXPECT_DOUBLE_EQ(weighted_quantile({{1, 1}, {2, 1}}, 0.5), 1.5);
  EXPECT_EQ(weighted_quantile({{1, 1}, {2, 1}}, 1), 2);
  EXPECT_LT(weighted_quantile({{1, 9}, {2, 1}}, 0.5), 1.2);
}

}  // namespace
}  // namespace suanli::plan
