#include "suanli/plan/large_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "suanli/plan/fit_ways.h"
#include "suanli/plan/large_run_setup.h"
#include "suanli/plan/run_layouts.h"
#include "suanli/plan/run_traffic.h"

namespace suanli::plan {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Llama 3 405B, arXiv:2407.21783, Table 3.
LargeRun llama405b() {
  LargeRun run;
  run.model.parameters = 405e9;
  run.model.layers = 126;
  run.model.width = 16'384;
  run.model.heads = 128;
  run.model.context = 8192;
  run.model.vocab = 128'256;
  run.tokens = 15.6e12;
  run.cluster.device = AcceleratorTable::built_in().find("H100").value();
  run.cluster.devices = 16'384;
  return run;
}

double expected(const Report& report, std::string_view key) {
  const Figure* figure = report.find(key);
  EXPECT_NE(figure, nullptr) << key;
  return figure ? figure->value.expected : NAN;
}

Error error_of(const LargeRun& run) {
  const auto plan = plan_large_run(run);
  EXPECT_FALSE(plan.has_value());
  return plan ? Error{} : plan.error();
}

TEST(LargeRun, IsArithmeticWhereAllIsGiven) {
  LargeRun run = llama405b();
  run.mfu = 0.40;
  run.counts_faults = false;
  run.price_per_hour = 2;
  const Report report = plan_large_run(run).value().report;
  const double flops = 15.6e12 * (6 * 405e9 + 12.0 * 126 * 16'384 * 8192);
  EXPECT_DOUBLE_EQ(expected(report, "flops"), flops);
  EXPECT_DOUBLE_EQ(expected(report, "time_s"), flops / (16'384 * 989e12 * 0.40));
  EXPECT_DOUBLE_EQ(expected(report, "ideal_time_s"), flops / (16'384 * 989e12));
  EXPECT_TRUE(report.find("time_s")->value.is_exact());
  EXPECT_DOUBLE_EQ(expected(report, "money_usd"), 2 * expected(report, "device_hours"));
  EXPECT_EQ(report.find("goodput"), nullptr);
  run.counts_attention = false;
  EXPECT_DOUBLE_EQ(expected(plan_large_run(run).value().report, "flops"), 6 * 405e9 * 15.6e12);
}

// Its model card has 30.84 million hours of H100, and the paper 38 to 43 % MFU and above 90 % effective time.
TEST(LargeRun, Llama405bLiesInItsInterval) {
  LargeRun run = llama405b();
  run.fault_preset = "llama3";
  for (const bool is_shape_known : {true, false}) {
    if (!is_shape_known) run.model = {.parameters = 405e9};
    const Report report = plan_large_run(run).value().report;
    const Interval hours = report.find("device_hours")->value, mfu = report.find("mfu")->value;
    EXPECT_LT(hours.low, 30.84e6);
    EXPECT_GT(hours.high, 30.84e6);
    EXPECT_LT(mfu.low, 0.41);
    EXPECT_GT(mfu.high, 0.41);
    EXPECT_GT(expected(report, "goodput"), 0.75);
    EXPECT_LE(expected(report, "memory_bytes"), expected(report, "memory_limit_bytes"));
    // 419 faults in 54 days.
    EXPECT_NEAR(expected(report, "mean_time_between_faults_s"), 54 * 86400 / 419.0, 100);
  }
}

TEST(LargeRun, IntervalsHoldTheExpectedAndNameTheirCauses) {
  const Report report = plan_large_run(llama405b()).value().report;
  for (const Figure& figure : report.figures) {
    EXPECT_TRUE(std::isfinite(figure.value.low) && std::isfinite(figure.value.high)) << figure.key;
    EXPECT_LE(figure.value.low, figure.value.expected) << figure.key;
    EXPECT_GE(figure.value.high, figure.value.expected) << figure.key;
    EXPECT_FALSE(figure.why.empty()) << figure.key;
  }
  for (const Assumption& each : report.assumptions)
    EXPECT_FALSE(each.source.empty() || each.text.empty() || each.unit.empty()) << each.key;
  EXPECT_FALSE(report.find("time_s")->influences.empty());
  EXPECT_EQ(report.find("time_s")->influences.front().assumption, "mfu");
}

TEST(LargeRun, MoreFaultsAndWorseMfuTakeLonger) {
  LargeRun run = llama405b();
  run.mfu = 0.4;
  const auto time = [](const LargeRun& each) { return expected(plan_large_run(each).value().report, "time_s"); };
  double before = 0;
  for (const double hours : {1000.0, 30.0, 3.0, 0.5}) {
    run.mean_time_between_faults = Seconds(hours * 3600);
    EXPECT_GT(time(run), before) << hours;
    before = time(run);
  }
  run.mfu = 0.3;
  EXPECT_GT(time(run), before);
}

TEST(LargeRun, EnergyIsPowerTimesTimeAndOwningIsPaidByTheYear) {
  LargeRun run = llama405b();
  run.mfu = 0.4;
  run.counts_faults = false;
  run.cluster.price = Dollars(30'000);
  run.cluster.surroundings_price = 1;
  run.cluster.surroundings_power = 2;
  run.cluster.overhead = given(1.25, "1");
  run.cluster.electricity = given(0.1, "USD/kWh");
  run.cluster.lifetime_years = 4;
  const Report report = plan_large_run(run).value().report;
  const double seconds = expected(report, "time_s");
  EXPECT_DOUBLE_EQ(expected(report, "power_w"), 16'384 * 700 * 2 * 1.25);
  EXPECT_DOUBLE_EQ(expected(report, "energy_j"), expected(report, "power_w") * seconds);
  EXPECT_DOUBLE_EQ(expected(report, "electricity_usd"), expected(report, "energy_j") / 3.6e6 * 0.1);
  EXPECT_DOUBLE_EQ(expected(report, "capital_usd"), 16'384 * 60'000.0);
  EXPECT_NEAR(expected(report, "owning_usd"),
              expected(report, "electricity_usd") + 16'384 * 60'000.0 * seconds / (4 * 365 * 86400.0), 1);
  EXPECT_EQ(expected(report, "money_usd"), expected(report, "owning_usd")) << "a price to buy at was given";
}

// What the published runs needed is found to fit, whatever the sizes.
TEST(Layout, ThatIsChosenMultipliesToTheDevicesAndFits) {
  for (const double parameters : {1.24e8, 7e9, 7e10, 1.75e11, 5.3e11}) {
    for (const std::int64_t devices : {64, 1000, 4096}) {
      LargeRun run;
      run.model.parameters = parameters;
      run.tokens = 3e11;
      run.cluster.device = AcceleratorTable::built_in().find("H100").value();
      run.cluster.devices = devices;
      const auto plan = plan_large_run(run);
      if (18 * parameters / static_cast<double>(devices) > 60e9) {
        EXPECT_FALSE(plan.has_value()) << "the state alone is too large";
        continue;
      }
      ASSERT_TRUE(plan.has_value()) << parameters << " on " << devices << ": " << plan.error().to_string();
      EXPECT_EQ(plan->setup.layout.devices(), devices);
      EXPECT_LE(expected(plan->report, "memory_bytes"), expected(plan->report, "memory_limit_bytes"));
      const double mfu = expected(plan->report, "mfu");
      EXPECT_GT(mfu, 0.01);
      EXPECT_LT(mfu, 0.75);
    }
  }
}

TEST(Layout, ThatIsGivenIsKept) {
  LargeRun run = llama405b();
  run.tensor = 8;
  run.pipeline = 16;
  run.data = 128;
  run.interleave = 4;
  run.shard = 2;
  run.recomputation = Recomputation::selective;
  run.micro_batch = 1;
  run.global_batch = 2048;
  const TrainingSetup setup = plan_large_run(run).value().setup;
  EXPECT_EQ(setup.layout.tensor, 8);
  EXPECT_EQ(setup.layout.pipeline, 16);
  EXPECT_EQ(setup.layout.data, 128);
  EXPECT_EQ(setup.layout.interleave, 4);
  EXPECT_EQ(setup.layout.shard, 2);
  EXPECT_EQ(setup.recomputation, Recomputation::selective);
  EXPECT_EQ(setup.global_batch, 2048);
}

TEST(DoesNotFit, SaysByHowMuchAndThreeWaysThatDo) {
  LargeRun run = llama405b();
  run.tensor = 8;
  run.pipeline = 1;
  run.data = 2048;
  run.shard = 0;
  run.recomputation = Recomputation::none;
  run.micro_batch = 4;
  const Error error = error_of(run);
  EXPECT_EQ(error.code, ErrorCode::no_memory);
  EXPECT_THAT(error.message, AllOf(HasSubstr("849 GiB"), HasSubstr("more than the 75.2 GiB")));
  EXPECT_THAT(error.next_step, AllOf(HasSubstr("(1)"), HasSubstr("(2)"), HasSubstr("(3)")));
}

TEST(DoesNotFit, EachWayIsVerifiedAndCheapestFirst) {
  std::vector<LargeRun> runs(4, llama405b());
  runs[0].cluster.devices = 8;
  runs[1].tensor = 8, runs[1].pipeline = 1, runs[1].data = 2048, runs[1].shard = 0;
  runs[2].tensor = 8, runs[2].pipeline = 16, runs[2].data = 128, runs[2].shard = 0, runs[2].micro_batch = 8;
  runs[3].model = {.parameters = 7e9};
  runs[3].cluster.device = AcceleratorTable::built_in().find("RTX 4090").value();
  runs[3].cluster.devices = 1;
  for (const LargeRun& run : runs) {
    ASSERT_FALSE(settle_run(run).has_value());
    TrainingSetup base;
    base.device = run.cluster.device;
    base.model = run.model.layers > 0 ? run.model : usual_shape(run.model.parameters);
    base.global_batch = 2048;
    const auto ways = ways_to_fit(run, layouts_of(run, base));
    ASSERT_EQ(ways.size(), 3U);
    for (std::size_t i = 0; i < ways.size(); ++i) {
      EXPECT_TRUE(settle_run(ways[i].run).has_value()) << ways[i].text;
      EXPECT_GT(ways[i].cost, 0);
      if (i > 0 && ways[i].changes_model == ways[i - 1].changes_model) {
        EXPECT_GE(ways[i].cost, ways[i - 1].cost);
      }
    }
  }
}

TEST(Impossible, IsNamed) {
  const auto expect_usage = [](auto change, const char* part) {
    LargeRun run = llama405b();
    change(run);
    const Error error = error_of(run);
    EXPECT_EQ(error.code, ErrorCode::usage) << part;
    EXPECT_THAT(error.message, HasSubstr(part));
    EXPECT_FALSE(error.next_step.empty()) << part;
  };
  expect_usage([](LargeRun& run) { run.model = {}; }, "tokens but no parameters");
  expect_usage([](LargeRun& run) { run.tokens = 0; }, "no tokens");
  expect_usage([](LargeRun& run) { run.tokens = NAN; }, "no tokens");
  expect_usage([](LargeRun& run) { run.model.parameters = -1; }, "cannot be");
  expect_usage([](LargeRun& run) { run.model.parameters = INFINITY; }, "cannot be");
  expect_usage([](LargeRun& run) { run.cluster.devices = 0; }, "0 devices");
  expect_usage([](LargeRun& run) { run.cluster.devices = -8; }, "-8 devices");
  expect_usage([](LargeRun& run) { run.mfu = 1.5; }, "MFU of 1.5");
  expect_usage([](LargeRun& run) { run.mfu = NAN; }, "MFU of nan");
  expect_usage([](LargeRun& run) { run.model.heads = 100; }, "100 heads do not divide");
  expect_usage([](LargeRun& run) { run.model.active_parameters = 1e12; }, "more parameters are active");
  expect_usage([](LargeRun& run) { run.tensor = 8, run.pipeline = 16, run.data = 64; }, "8192 devices, not 16384");
  expect_usage([](LargeRun& run) { run.tensor = 3; }, "do not divide 16384");
  expect_usage([](LargeRun& run) { run.pipeline = 128; }, "128 stages for 126 layers");
  expect_usage([](LargeRun& run) { run.data = 4096, run.global_batch = 2048; }, "cannot be laid out");
  expect_usage([](LargeRun& run) { run.pipeline = 1, run.interleave = 4; }, "nothing to interleave");
  expect_usage([](LargeRun& run) { run.shard = 4; }, "sharding level 4");
  expect_usage([](LargeRun& run) { run.mean_time_between_faults = Seconds(0); }, "mean time between faults");
  expect_usage([](LargeRun& run) { run.fault_preset = "llama4"; }, "did you mean 'llama3'");
  expect_usage([](LargeRun& run) { run.price_per_hour = -1; }, "price");
  expect_usage([](LargeRun& run) { run.cluster.overhead = given(0.9, "1"); }, "below 1");
  expect_usage([](LargeRun& run) { run.cluster.dtype = "int4"; }, "no known peak in int4");
}

TEST(Warnings, AreGivenForWhatIsOdd) {
  LargeRun run = llama405b();
  run.model.layers = 32;
  const auto plan = plan_large_run(run);
  ASSERT_TRUE(plan.has_value());
  ASSERT_EQ(plan->report.warnings.size(), 1U);
  EXPECT_THAT(plan->report.warnings[0].message, HasSubstr("32 layers of width 16384 hold about"));
  run = llama405b();
  run.cluster.device.memory.reset();
  run.cluster.device.price.reset();
  run.cluster.device.power.reset();
  run.cluster.device.name = "unknown";
  EXPECT_EQ(plan_large_run(run).value().report.warnings.size(), 3U) << "memory, power, price";
  run = llama405b();
  run.mean_time_between_faults = Seconds(1);
  const Report hopeless = plan_large_run(run).value().report;
  EXPECT_THAT(hopeless.warnings.at(0).message, HasSubstr("of the time is useful"));
  EXPECT_TRUE(std::isfinite(hopeless.find("time_s")->value.high));
}

// Narayanan et al., 2021, section 3.2: 8 b s h (t - 1) / t values a layer and micro-batch in forward and backward, of 2 bytes.
TEST(Traffic, FollowsItsForms) {
  TrainingSetup setup;
  setup.model = usual_shape(1.75e11);
  setup.model.layers = 96, setup.model.width = 12'288, setup.model.context = 2048;
  setup.device = AcceleratorTable::built_in().find("A100").value();
  setup.layout.tensor = 8, setup.layout.pipeline = 8, setup.layout.data = 16;
  setup.global_batch = 1536;
  setup.micro_batch = 1;
  setup.recomputation = Recomputation::none;
  EXPECT_EQ(micro_batches(setup), 96);
  Traffic traffic = traffic_of(setup);
  EXPECT_DOUBLE_EQ(traffic.tensor, 96 * (96 / 8.0) * 8 * 2048 * 12'288 * (7 / 8.0) * 2);
  EXPECT_DOUBLE_EQ(traffic.data, 2 * (15 / 16.0) * 1.75e11 / 64 * 4);
  EXPECT_DOUBLE_EQ(pipeline_bubble(setup), 7.0 / (96 + 7));
  EXPECT_GT(traffic.seconds(setup.device, setup.layout, 0.5), traffic.seconds(setup.device, setup.layout, 0.9));
  setup.recomputation = Recomputation::full;
  EXPECT_DOUBLE_EQ(traffic_of(setup).tensor, 1.5 * traffic.tensor);
  setup.layout = {};
  EXPECT_EQ(traffic_of(setup).seconds(setup.device, setup.layout, 1), 0) << "one device talks to nobody";
}

// A device that is slower than its data sheet says has slower products too: no MFU above 1, intervals in order.
TEST(LargeRun, AGivenPeakScalesTheDevice) {
  LargeRun run = llama405b();
  run.model = {};
  run.model.parameters = 7e9;
  run.tokens = 1e12;
  run.cluster.devices = 512;
  const double usual = expected(plan_large_run(run).value().report, "mfu");
  run.cluster.peak = FlopsPerSecond(100e12);
  const Report report = plan_large_run(run).value().report;
  EXPECT_GT(expected(report, "mfu"), usual) << "memory and links are as fast as before";
  EXPECT_LE(expected(report, "mfu"), 1);
  for (const Figure& each : report.figures) {
    EXPECT_LE(each.value.low, each.value.expected) << each.key;
    EXPECT_LE(each.value.expected, each.value.high) << each.key;
  }
  for (const Assumption& each : report.assumptions) EXPECT_LE(each.value.low, each.value.high) << each.key;
}

// bf16 products were measured: their share of the bf16 peak holds for tf32, not their ratio to the lower tf32 peak.
TEST(LargeRun, Tf32ReachesTheShareOfItsOwnPeak) {
  LargeRun run = llama405b();
  run.cluster.dtype = "tf32";
  const double mfu = expected(plan_large_run(run).value().report, "mfu");
  EXPECT_GT(mfu, 0.3);
  EXPECT_LT(mfu, 0.47) << "the H100 reaches less of its peak than the A100";
}

TEST(LargeRun, LogitsAndTheBlockMadeAgainAreCounted) {
  TrainingSetup setup;
  setup.model = llama405b().model;
  setup.device = llama405b().cluster.device;
  setup.layout.data = 8;
  setup.micro_batch = 1;
  setup.recomputation = Recomputation::full;
  const double kept = activation_memory(setup.model, setup.layout, 1, Recomputation::full, true);
  Transformer block = setup.model;
  block.layers = 1;
  const double again = activation_memory(block, setup.layout, 1, Recomputation::none, true);
  EXPECT_DOUBLE_EQ(device_memory(setup).activations, kept + again + 8192.0 * 128'256 * 6);
}

TEST(LargeRun, ABatchAndLayersAreWhole) {
  LargeRun run = llama405b();
  run.data = 64;
  run.global_batch = 100;
  EXPECT_THAT(error_of(run).message, HasSubstr("100 sequences cannot be cut"));
  run.global_batch = 0;
  run.pipeline = 4;
  run.data = 0;
  run.interleave = 100;
  EXPECT_THAT(error_of(run).message, HasSubstr("126 layers do not fill"));
  run.pipeline = 5;
  run.cluster.devices = 20'480;
  run.interleave = 1;
  EXPECT_THAT(error_of(run).message, HasSubstr("126 layers cannot be cut"));
}

// Fully sharded weights are gathered in every pass.
TEST(Traffic, ShardedWeightsAreGatheredInEachPass) {
  TrainingSetup setup;
  setup.model = llama405b().model;
  setup.layout = {.data = 8, .shard = 3};
  setup.micro_batch = 1;
  setup.global_batch = 8;
  const double once = traffic_of(setup).data;
  EXPECT_DOUBLE_EQ(once, 6 * 405e9 * 7 / 8);
  setup.global_batch = 32;
  EXPECT_DOUBLE_EQ(traffic_of(setup).data, 4 * once);
}

}  // namespace
}  // namespace suanli::plan
