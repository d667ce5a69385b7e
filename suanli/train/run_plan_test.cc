#include "suanli/train/run_plan.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "suanli/base/file.h"
#include "suanli/plan/profile_for_test.h"
#include "suanli/train/run_folder.h"
#include "suanli/train/run_records.h"
#include "suanli/train/test_run.h"

namespace suanli::train {
namespace {

using testing::HasSubstr;

class RunPlanTest : public testing::Test {
 protected:
  void SetUp() override {
    write_dataset(data_, periodic_text(4000));
    profile_ = plan::profile_for_test();
    profile_.machine = plan::here().machine;
    profile_.threads = 1;  // as tiny_job has
  }
  // Plans are of settled jobs.
  JobConfig settled() const {
    JobConfig job = tiny_job(data_, folder_ / "run");
    job.model.vocab = 256;
    return job;
  }
  Result<TrainReport> run(const JobConfig& job, bool resume = false) {
    return train(job, {.resume = resume, .peak = FlopsPerSecond(1e12), .profile = &profile_});
  }

  TestFolder folder_;
  const std::string data_ = folder_ / "data";
  plan::Profile profile_;
};

TEST_F(RunPlanTest, ARunKeepsItsPlanWhoseOperationsAreThoseThatItUses) {
  JobConfig job = settled();
  job.sample = {.every = 4, .prompt = "the ", .tokens = 3};
  job.checkpoint.every = 0;
  ASSERT_TRUE(run(job));
  const auto plan = load_run_plan(RunPaths{job.run.dir}.plan());
  ASSERT_TRUE(plan) << plan.error().to_string();
  EXPECT_EQ(plan->threads, 1);
  EXPECT_EQ(plan->dtype, "f32");
  EXPECT_EQ(plan->profile_machine, profile_.machine);
  EXPECT_EQ(plan->evaluation_batches, 2);
  EXPECT_GT(plan->memory, Bytes(0));
  EXPECT_LE(plan->step.low, plan->step.expected);
  EXPECT_GT(plan->step.low, 0);
  const PlannedRun whole = planned_until(*plan, job, 8);
  const auto records = read_run_records(job.run.dir);
  ASSERT_TRUE(records);
  EXPECT_EQ(whole.flops, records->spent.flops_total) << "8 steps, 2 evaluations, 2 samples";
  EXPECT_NEAR(whole.seconds.expected,
              8 * plan->step.expected + 4 * plan->evaluation.expected + 6 * plan->sample.expected +
                  plan->snapshot.last().expected,
              1e-12);
}

TEST_F(RunPlanTest, APlanMadeAfterwardsIsTheSame) {
  const JobConfig job = settled();
  ASSERT_TRUE(run(job));
  const auto before = load_run_plan(RunPaths{job.run.dir}.plan());
  const auto after = plan_run(job, 2, profile_);
  ASSERT_TRUE(before && after);
  EXPECT_EQ(after->step, before->step);
  EXPECT_EQ(after->evaluation, before->evaluation);
  EXPECT_EQ(after->step_flops, before->step_flops);
  EXPECT_EQ(after->memory, before->memory);
}

TEST_F(RunPlanTest, NoPlanIsKeptThatIsNotOfThisMachineAndThisBeginning) {
  const std::string path = RunPaths{settled().run.dir}.plan();
  ASSERT_TRUE(run(settled()));
  ASSERT_TRUE(std::filesystem::remove(path));
  JobConfig longer = settled();
  longer.train.schedule = "constant";
  ASSERT_TRUE(run(settled(), true));
  EXPECT_FALSE(std::filesystem::exists(path)) << "on resume it is too late";

  JobConfig other = settled();
  other.run.dir = folder_ / "threads";
  profile_.threads = 2;
  ASSERT_TRUE(run(other));
  EXPECT_FALSE(std::filesystem::exists(RunPaths{other.run.dir}.plan()));

  profile_.threads = 1;
  profile_.machine = "Another CPU";
  other.run.dir = folder_ / "machine";
  ASSERT_TRUE(run(other));
  EXPECT_FALSE(std::filesystem::exists(RunPaths{other.run.dir}.plan()));
}

TEST_F(RunPlanTest, ACapLetsNothingBeFaster) {
  JobConfig job = settled();
  const auto free = plan_run(job, 0, profile_);
  ASSERT_TRUE(free);
  job.run.cap = free->step_flops.value() / (10 * free->step.high);
  const auto held = plan_run(job, 0, profile_);
  ASSERT_TRUE(held);
  EXPECT_NEAR(held->step.low, 10 * free->step.high, 1e-9 * free->step.high);
  EXPECT_NEAR(held->step.high, 10 * free->step.high, 1e-9 * free->step.high);
}

TEST(PlannedUntil, CountsSnapshotsAndWaitsForTheLast) {
  RunPlan plan;
  plan.step = {1, 2, 3};
  plan.snapshot = {.copy = {1, 1, 1}, .stall = {5, 5, 5}, .write = {7, 7, 7}};
  JobConfig job;
  job.train.steps = 10;
  job.eval.every = 0;
  job.sample.every = 0;
  job.checkpoint.every = 4;
  EXPECT_EQ(planned_until(plan, job, 0).seconds.expected, 0);
  EXPECT_EQ(planned_until(plan, job, 4).seconds, (plan::Interval{4 + 8, 8 + 8, 12 + 8})) << "one, which is waited for";
  EXPECT_EQ(planned_until(plan, job, 10).seconds, (plan::Interval{10 + 2 * 5 + 8, 20 + 2 * 5 + 8, 30 + 2 * (5 + 3) + 8}))
      << "fast steps wait until the snapshot before is written";
  job.checkpoint.every = 0;
  EXPECT_EQ(planned_until(plan, job, 10).seconds.expected, 20 + 8);
}

TEST(PlannedUntil, CountsEvaluationsAndSamplesAsTheyCome) {
  RunPlan plan;
  plan.step = {1, 2, 3};
  plan.evaluation = {10, 10, 10};
  plan.evaluation_batches = 2;
  plan.sample = {100, 100, 100};
  JobConfig job;
  job.train.steps = 10;
  job.eval.every = 4;
  job.sample = {.every = 5, .prompt = "", .tokens = 3};
  EXPECT_EQ(planned_until(plan, job, 3).seconds, (plan::Interval{3, 6, 9}));
  EXPECT_EQ(planned_until(plan, job, 4).seconds.expected, 8 + 20);
  EXPECT_EQ(planned_until(plan, job, 9).seconds.expected, 18 + 40 + 300);
  EXPECT_EQ(planned_until(plan, job, 10).seconds.expected, 20 + 60 + 600) << "the last step is evaluated";
  job.eval.every = 5;
  EXPECT_EQ(planned_until(plan, job, 10).seconds.expected, 20 + 40 + 600) << "once";
  job.eval.every = 0;
  EXPECT_EQ(planned_until(plan, job, 10).seconds.expected, 20 + 20 + 600);
}

TEST(RunPlanJson, ReadsBackAndNamesWhatIsWrong) {
  RunPlan plan;
  plan.step = {0.1, 0.2, 0.3};
  plan.step_flops = Flops(1e9);
  plan.memory = Bytes(1 << 20);
  plan.threads = 2;
  plan.dtype = "bf16";
  plan.profile_machine = "CPU \"x\"\n";
  plan.made = "2026-11-22T03:34:00Z";
  plan.unmeasured = {"adamw"};
  const std::string text = print_run_plan(plan);
  const auto again = parse_run_plan(text, "plan.json");
  ASSERT_TRUE(again) << again.error().to_string();
  EXPECT_EQ(print_run_plan(*again), text);
  EXPECT_EQ(again->profile_machine, plan.profile_machine);

  for (std::size_t size = 0; size < text.size() - 1; size += 7) {
    const auto torn = parse_run_plan(std::string_view(text).substr(0, size), "plan.json");
    ASSERT_FALSE(torn) << size;
    EXPECT_THAT(torn.error().place, HasSubstr("plan.json"));
  }
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string changed = text;
    const std::size_t at = changed.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return parse_run_plan(changed.replace(at, from.size(), to), "plan.json");
  };
  EXPECT_EQ(with("\"version\": 2", "\"version\": 1").error().code, ErrorCode::version);
  EXPECT_EQ(with("suanli-run-plan", "suanli-run").error().code, ErrorCode::foreign);
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{{"\"low\": 0.1", "\"low\": -0.1"},
                                                                                 {"\"low\": 0.1", "\"low\": 0.25"},
                                                                                 {"\"low\": 0.1", "\"low\": \"0.1\""},
                                                                                 {"\"low\": 0.1", "\"low\": 1e300"},
                                                                                 {"\"threads\": 2", "\"threads\": 1e9"},
                                                                                 {"\"threads\": 2", "\"thread\": 2"},
                                                                                 {"\"adamw\"", "3"},
                                                                                 {"\"bf16\"", "null"}}) {
    const auto wrong = with(from, to);
    ASSERT_FALSE(wrong) << to;
    EXPECT_EQ(wrong.error().code, ErrorCode::corrupt) << to;
  }
}

}  // namespace
}  // namespace suanli::train
