// What a memory limit does to a job: less memory, the same bits, or a refusal that names the least there can be.
#include "suanli/train/memory.h"

#include <gmock/gmock.h>

#include "suanli/base/text.h"
#include "suanli/train/setup.h"
#include "suanli/train/test_run.h"

namespace suanli::train {
namespace {

using testing::HasSubstr;

class Memory : public testing::Test {
 protected:
  void SetUp() override { write_dataset(data_, periodic_text(4000)); }

  // Deep enough that recomputing blocks saves something.
  JobConfig deep_job(const std::string& run = "run") const {
    JobConfig job = tiny_job(data_, folder_ / run);
    job.model.layers = 4;
    job.model.vocab = 256;
    job.train.batch = 4;
    job.train.steps = 4;
    return job;
  }
  static Bytes evaluation_of(const JobConfig& job) {
    const auto bytes = evaluation_bytes(job, true);
    SUANLI_CHECK(bytes.has_value());
    return *bytes;
  }
  static TrainingPlan plan_of(const JobConfig& job, Bytes limit) {
    const auto graph = training_graph(job);
    SUANLI_CHECK(graph.has_value());
    auto plan = training_plan(job, *graph, evaluation_of(job), limit);
    SUANLI_CHECK(plan.has_value());
    return std::move(*plan);
  }

  TestFolder folder_;
  const std::string data_ = folder_ / "data";
};

TEST_F(Memory, WithoutNeedNoBlockIsRecomputed) {
  const TrainingPlan free = plan_of(deep_job(), Bytes(0));
  EXPECT_EQ(free.program.target.recompute.blocks, 0);
  EXPECT_EQ(free.beside.snapshots, free.program.memory.state * std::int64_t{2});
  const TrainingPlan same = plan_of(deep_job(), free.total());
  EXPECT_EQ(same.total(), free.total());
  EXPECT_EQ(same.program.target.recompute.blocks, 0);
}

TEST_F(Memory, ALimitIsKeptWithAllThatLiesBeside) {
  const TrainingPlan free = plan_of(deep_job(), Bytes(0)), least = plan_of(deep_job(), Bytes(1));
  ASSERT_LT(least.total(), free.total());
  const Bytes limit((free.total().value() + least.total().value()) / 2);
  const TrainingPlan plan = plan_of(deep_job(), limit);
  EXPECT_LE(plan.total(), limit);
  EXPECT_GT(plan.program.target.recompute.blocks, 0);
  EXPECT_TRUE(check_memory(plan, {limit, ""}));
}

TEST_F(Memory, TheLeastPlanKeepsALimitOfItsSizeAndNoneBelow) {
  const Bytes least = plan_of(deep_job(), Bytes(1)).total();
  EXPECT_EQ(plan_of(deep_job(), least).total(), least);
  const TrainingPlan refused = plan_of(deep_job(), least - Bytes(1));
  EXPECT_EQ(refused.total(), least);
  const Status status = check_memory(refused, {least - Bytes(1), "the limit is "});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::no_memory);
  EXPECT_THAT(status.error().message, HasSubstr(format_bytes(least)));
}

TEST_F(Memory, EvaluationAndSamplesCount) {
  JobConfig job = deep_job();
  const auto none = evaluation_bytes(job, false), some = evaluation_bytes(job, true);
  ASSERT_TRUE(none && some);
  EXPECT_EQ(*none, Bytes(0));
  EXPECT_GT(*some, Bytes(0));
  job.sample.every = 2;
  const auto samples = evaluation_bytes(job, true);
  ASSERT_TRUE(samples);
  EXPECT_GT(*samples, *some);
}

TEST_F(Memory, ARunUnderALimitEndsWithTheSameBits) {
  const JobConfig job = deep_job();
  Recorder at_leisure;
  ASSERT_TRUE(run_job(job, at_leisure));
  EXPECT_EQ(at_leisure.start.recompute.blocks, 0);
  EXPECT_EQ(at_leisure.start.memory, plan_of(job, Bytes(0)).total());

  JobConfig limited = deep_job("limited");
  limited.run.memory_limit = static_cast<double>(plan_of(job, Bytes(1)).total().value());
  Recorder recorder;
  const auto report = run_job(limited, recorder);
  ASSERT_TRUE(report) << report.error().to_string();
  EXPECT_LE(recorder.start.memory.value(), limited.run.memory_limit);
  EXPECT_LT(recorder.start.memory, at_leisure.start.memory);
  EXPECT_GT(recorder.start.recompute.blocks, 0);
  EXPECT_EQ(final_state(limited.run.dir), final_state(job.run.dir));
}

TEST_F(Memory, ARunIsRefusedWithTheLeastItNeeds) {
  JobConfig job = deep_job();
  job.run.memory_limit = 1000;
  const auto report = run_job(job);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, ErrorCode::no_memory);
  EXPECT_THAT(report.error().message, HasSubstr(format_bytes(plan_of(job, Bytes(1)).total())));
}

}  // namespace
}  // namespace suanli::train
