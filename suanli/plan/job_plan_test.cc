#include "suanli/plan/job_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "suanli/graph/op.h"
#include "suanli/plan/fault_rates.h"
#include "suanli/plan/job_for_test.h"

namespace suanli::plan {
namespace {

using ::testing::HasSubstr;

constexpr double kOther = 1.002;  // a step over its kernels, as expected

double expected(const Report& report, const char* key) {
  const Figure* figure = report.find(key);
  return figure ? figure->value.expected : NAN;
}

TEST(StepFlops, AreThoseOfTheGraphToTheLastOne) {
  const JobForTest job;
  const StepFlops flops = step_flops(job.graph, job.program);
  EXPECT_EQ(flops.total(), graph::step_cost(job.graph).flops);
  EXPECT_EQ(flops.total(), job.program.step_flops);
  double attention = 0;
  for (const char* op : {"attention", "attention_stats", "attention_grad"})
    for (const graph::NodeId id : job.graph.nodes_of(op)) attention += graph::node_cost(job.graph, id).flops;
  EXPECT_EQ(flops.attention, 6 * attention);
  EXPECT_GT(flops.attention, 0);
}

TEST(StepFlops, RecomputedOnesGrowWithWhatIsMadeAgain) {
  const JobForTest job;
  const auto recomputed = [&](engine::Recomputation again) {
    const auto program = engine::compile(job.graph, {.arithmetic = job.arithmetic, .recompute = again});
    return step_flops(job.graph, *program).recomputed;
  };
  const StepFlops flops = step_flops(job.graph, job.program);
  EXPECT_LT(recomputed({}), 0.01 * flops.forward);
  EXPECT_LT(recomputed({}), recomputed({.cheap = true}));
  // Blocks as well: less than a forward pass, since what a block hands on is kept.
  const double all = recomputed({.cheap = true, .blocks = 2});
  EXPECT_GT(all, 0.25 * flops.forward);
  EXPECT_LT(all, flops.forward);
}

TEST(JobMemory, AddsUpToTheEnginesPlan) {
  const JobForTest job;
  const engine::MemoryPlan& plan = job.program.memory;
  const JobMemory memory = job_memory(plan, graph::parameter_count(job.graph), Bytes(7), Bytes(5));
  EXPECT_EQ(memory.total(), plan.total(1) + Bytes(12));
  EXPECT_EQ(memory.weights + memory.optimizer, plan.state);
  // Two moments, and a few scalars.
  EXPECT_GE(memory.optimizer, memory.weights * std::int64_t{2});
  EXPECT_LT(memory.optimizer, memory.weights * std::int64_t{2} + Bytes(100));
  EXPECT_EQ(memory.gradients, plan.accumulators);
  EXPECT_GT(memory.gradients, Bytes(0));
}

TEST(JobPlan, TimeIsTheSumOfItsParts) {
  const JobForTest job;
  const Report report = plan_job(job.work(), host_for_test(), terms_for_test());
  EXPECT_NEAR(expected(report, "step_time_s"), 10 * kOther, 1e-9);
  // 1,000 steps, 10 evaluations of 2 batches of 1 s, 9 snapshots of 0.5 s, one copied in 0.2 s and written in 4 s, 2 s of start.
  EXPECT_NEAR(expected(report, "time_s"), 1000 * 10 * kOther + 20 + 9 * 0.5 + 4.2 + 2, 1e-6);
  EXPECT_NEAR(expected(report, "tokens_per_s"), 4 * 6 * 32 / (10 * kOther), 1e-9);
  EXPECT_EQ(expected(report, "faults"), 0);
  EXPECT_EQ(report.find("mean_time_between_faults_s"), nullptr);
  EXPECT_EQ(expected(report, "best_checkpoint_every"), 0);
  const Interval time = report.find("step_time_s")->value;
  EXPECT_NEAR(time.low, 8 * kOther, 0.05);
  EXPECT_NEAR(time.high, 14 * kOther, 0.1);
}

TEST(JobPlan, CountsOperationsByGraphAndByConvention) {
  const JobForTest job;
  const JobWork work = job.work();
  const Report report = plan_job(work, host_for_test(), terms_for_test());
  const double tokens = 1000.0 * 4 * 6 * 32, parameters = work.shape.parameters;
  EXPECT_EQ(expected(report, "flops") + expected(report, "update_flops"), 1000 * job.program.step_flops);
  EXPECT_EQ(expected(report, "forward_flops") + expected(report, "backward_flops"), expected(report, "flops"));
  EXPECT_EQ(expected(report, "convention_flops"), tokens * (6 * parameters + 12 * 2 * 64 * 32));
  EXPECT_NEAR(expected(report, "attention_convention_flops"), tokens * 12 * 2 * 64 * 32, 1);
  EXPECT_LT(expected(report, "attention_flops"), expected(report, "attention_convention_flops"));
  EXPECT_NEAR(expected(report, "mfu"), (work.flops.forward + work.flops.backward) / (10 * kOther * 1e9), 1e-12);
  EXPECT_GE(expected(report, "hfu"), expected(report, "mfu"));
  EXPECT_DOUBLE_EQ(expected(report, "spent_flops"), 1000 * job.program.step_flops + 20 * job.evaluation.step_flops);
}

TEST(JobPlan, ARateCapMakesTheStepLonger) {
  const JobForTest job;
  JobWork work = job.work();
  work.cap = work.flops.total() / 60;
  EXPECT_DOUBLE_EQ(expected(plan_job(work, host_for_test(), terms_for_test()), "step_time_s"), 60);
  EXPECT_DOUBLE_EQ(expected(plan_job(work, host_for_test(), terms_for_test()), "evaluation_time_s"),
                   20 * std::max(1.0, work.evaluation_batch_flops / work.cap));
  work.evaluations = 0;
  work.samples = 3, work.sample_tokens = 7, work.sample_token_flops = 5 * work.cap;
  EXPECT_DOUBLE_EQ(expected(plan_job(work, host_for_test(), terms_for_test()), "sample_time_s"), 3 * 7 * 5);
  work = job.work();
  work.cap = work.flops.total() * 60;
  EXPECT_NEAR(expected(plan_job(work, host_for_test(), terms_for_test()), "step_time_s"), 10 * kOther, 1e-9);
}

TEST(JobPlan, ABudgetThatEndsTheRunIsTold) {
  const JobForTest job;
  JobWork work = job.work();
  EXPECT_TRUE(plan_job(work, host_for_test(), terms_for_test()).warnings.empty());
  work.budget = (1000 * job.program.step_flops + 20 * job.evaluation.step_flops) / 2;
  const auto warnings = plan_job(work, host_for_test(), terms_for_test()).warnings;
  ASSERT_EQ(warnings.size(), 1U);
  EXPECT_EQ(warnings[0].code, ErrorCode::budget);
  EXPECT_THAT(warnings[0].message, HasSubstr("near step 500 of 1,000"));
}

TEST(JobPlan, TheBestIntervalFollowsTheRule) {
  const JobForTest job;
  JobTerms terms = terms_for_test();
  terms.faults = given_fault_assumptions(Seconds(3600), 1);
  JobHost host = host_for_test();
  host.compute = Interval::exactly(10 / kOther);
  // sqrt(2 x 0.5 x 3600) / 10 = 6: between 1 and what writing allows.
  EXPECT_EQ(expected(plan_job(job.work(), host, terms), "best_checkpoint_every"), 6);
  // step^2 / (2 M) = 13.9 ms: below it every step, if the disk keeps up.
  host.snapshot.stall = Interval::exactly(0.0138);
  EXPECT_EQ(expected(plan_job(job.work(), host, terms), "best_checkpoint_every"), 1);
  host.snapshot.write = Interval::exactly(25);
  EXPECT_EQ(expected(plan_job(job.work(), host, terms), "best_checkpoint_every"), 3);
}

TEST(JobPlan, ASnapshotThatTakesLongerThanTheIntervalStallsTheRun) {
  const JobForTest job;
  JobHost host = host_for_test();
  host.compute = Interval::exactly(10 / kOther);
  host.snapshot.write = Interval::exactly(1030);
  EXPECT_DOUBLE_EQ(expected(plan_job(job.work(), host, terms_for_test()), "checkpoint_stall_s"), 30.5);
}

TEST(JobPlan, FaultsCostWhatTheyInterrupt) {
  const JobForTest job;
  JobTerms terms = terms_for_test();
  terms.faults = given_fault_assumptions(Seconds(50'000), 1);
  const Report report = plan_job(job.work(), host_for_test(), terms);
  // Recovery of 600 s and half an interval of 1,002 s.
  const double lost = (600 + 501.0) / 50'000;
  EXPECT_NEAR(expected(report, "goodput"), (1 - lost) / (1 + 0.5 / 1002), 1e-9);
  EXPECT_NEAR(expected(report, "fault_time_s") / expected(report, "time_s"), lost, 1e-3);
  EXPECT_NEAR(expected(report, "faults"), expected(report, "time_s") / 50'000, 1e-12);
  EXPECT_TRUE(report.warnings.empty());
}

TEST(JobPlan, ARunThatHardlyEverGetsOnIsTold) {
  const JobForTest job;
  JobTerms terms = terms_for_test();
  terms.faults = given_fault_assumptions(Seconds(1000), 1);
  const Report report = plan_job(job.work(), host_for_test(), terms);
  ASSERT_FALSE(report.warnings.empty());
  EXPECT_EQ(report.warnings.back().place, "checkpoint.every");
  EXPECT_LT(expected(report, "goodput"), 0.5);
  EXPECT_TRUE(std::isfinite(expected(report, "time_s")));
}

TEST(JobPlan, MoneyIsElectricityOrRentOrBoth) {
  const JobForTest job;
  JobTerms terms = terms_for_test();
  const Report electric = plan_job(job.work(), host_for_test(), terms);
  const double hours = expected(electric, "time_s") / 3600;
  EXPECT_NEAR(expected(electric, "energy_j"), 100 * 3600 * hours, 1e-3);
  EXPECT_NEAR(expected(electric, "money_usd"), 0.1 * 0.1 * hours, 1e-9);
  terms.price_per_hour = 2;
  EXPECT_NEAR(expected(plan_job(job.work(), host_for_test(), terms), "money_usd"), 2 * hours + 0.01 * hours, 1e-9);
  terms.electricity_share = 0;
  EXPECT_NEAR(expected(plan_job(job.work(), host_for_test(), terms), "money_usd"), 2 * hours, 1e-9);
}

TEST(JobPlan, EnergySaysThatItsPowerIsTheUncertainPart) {
  const JobForTest job;
  const Report report = plan_job(job.work(), host_for_test(), terms_for_test());
  ASSERT_FALSE(report.find("energy_j")->influences.empty());
  EXPECT_EQ(report.find("energy_j")->influences.front().assumption, "watts");
}

TEST(JobPlan, GradientsOnTheirWayAreHiddenInPart) {
  const JobForTest job;
  JobHost host = host_for_test();
  host.compute = Interval::exactly(10);
  host.communication = 6;
  host.hideable = 4;
  const Interval step = plan_job(job.work(), host, terms_for_test()).find("step_time_s")->value;
  EXPECT_NEAR(step.expected, (10 + 6 - 2) * kOther, 1e-9);
  EXPECT_NEAR(step.low, 12, 0.1);
  EXPECT_NEAR(step.high, 16, 0.2);
}

}  // namespace
}  // namespace suanli::plan
