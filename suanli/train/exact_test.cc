// Jobs of exact arithmetic: what the trainer promises of their bits (the steps themselves: engine/executor_exact_test.cc).
#include <gmock/gmock.h>

#include "suanli/train/bench_step_runner.h"
#include "suanli/train/run_folder.h"
#include "suanli/train/run_records.h"
#include "suanli/train/test_run.h"

namespace suanli::train {
namespace {

using testing::HasSubstr;

class ExactJob : public testing::Test {
 protected:
  void SetUp() override { write_dataset(data_, periodic_text(4000)); }
  JobConfig job(const std::string& run = "run") const {
    JobConfig job = tiny_job(data_, folder_ / run);
    job.train.dtype = "exact";
    return job;
  }
  // Steps so long that the next step's terms are thousands of times those before, and it is repeated.
  JobConfig leaping(const std::string& run, int threads) const {
    JobConfig j = job(run);
    j.train.lr = 30;
    j.train.warmup_steps = 0;
    j.train.steps = 4;
    j.run.threads = threads;
    return j;
  }
  // Of a run that must succeed.
  TrainReport trained(const JobConfig& job, Recorder& recorder, bool resume = false) const {
    const auto report = run_job(job, recorder, resume);
    EXPECT_TRUE(report) << report.error().to_string();
    return report.value_or(TrainReport());
  }
  TrainReport trained(const JobConfig& job) const {
    Recorder recorder;
    return trained(job, recorder);
  }

  TestFolder folder_;
  const std::string data_ = folder_ / "data";
};

TEST_F(ExactJob, AnyNumberOfThreadsGivesTheSameBits) {
  trained(job());
  const FinalState expected = final_state(job().run.dir);
  EXPECT_EQ(expected.step, 8);
  for (const int threads : {2, 3, 4}) {
    JobConfig j = job("threads" + std::to_string(threads));
    j.run.threads = threads;
    trained(j);
    EXPECT_EQ(final_state(j.run.dir), expected) << threads;
  }
}

TEST_F(ExactJob, RecomputingGivesTheSameBits) {
  Recorder free, limited;
  trained(job("free"), free);
  JobConfig j = job("limited");
  j.run.memory_limit = static_cast<double>(free.start.memory.value()) * 0.97;
  trained(j, limited);
  EXPECT_GT(limited.start.recompute.blocks, free.start.recompute.blocks);
  EXPECT_EQ(final_state(j.run.dir), final_state(folder_ / "free"));
}

TEST_F(ExactJob, ResumesToTheBitsOfAnUndisturbedRun) {
  trained(job("whole"));
  for (const std::int64_t stop_after : {1, 3, 7}) {
    const JobConfig j = job("stopped" + std::to_string(stop_after));
    Recorder first, second;
    first.stop_after = stop_after;
    EXPECT_EQ(trained(j, first).step, stop_after);
    EXPECT_EQ(trained(j, second, /*resume=*/true).step, 8);
    EXPECT_EQ(final_state(j.run.dir), final_state(folder_ / "whole")) << stop_after;
  }
}

TEST_F(ExactJob, LearnsLikeAnother) {
  JobConfig plain = job("plain");
  plain.train.dtype = "f32";
  const TrainReport exact = trained(job()), f32 = trained(plain);
  EXPECT_NEAR(exact.loss.value(), f32.loss.value(), 0.01 * f32.loss.value());
  EXPECT_NEAR(exact.valid_loss.value(), f32.valid_loss.value(), 0.01 * f32.valid_loss.value());
}

TEST_F(ExactJob, TheLookAtTheFirstMicroBatchIsBooked) {
  const TrainReport report = trained(job());
  EXPECT_EQ(report.usage.runs_of(meter::Part::forward), 8 * 2 + 1);
  EXPECT_EQ(report.usage.runs_of(meter::Part::backward), 8 * 2 + 1);
  EXPECT_EQ(report.usage.runs_of(meter::Part::update), 8);
}

TEST_F(ExactJob, ABudgetPaysForTheLookToo) {
  Recorder probe;
  trained(job("probe"), probe);
  for (const double steps : {1.2, 1.7, 2.2, 3.7}) {
    JobConfig j = job("budget" + std::to_string(steps));
    j.eval.every = 0;
    j.run.budget = steps * probe.start.step_flops.value();
    const auto report = run_job(j);
    EXPECT_EQ(report.has_value(), steps > 1.5) << "the look is half a step of two micro-batches";
    if (!report) {
      EXPECT_EQ(report.error().place, "run.budget");
      continue;
    }
    EXPECT_LE(report->usage.work.total.value(), j.run.budget) << steps;
  }
}

TEST_F(ExactJob, AStepThatIsRepeatedGivesTheSameBits) {
  const TrainReport report = trained(leaping("whole", 1));
  const std::int64_t undisturbed = 4 * 2 + 1;
  EXPECT_GT(report.usage.runs_of(meter::Part::forward), undisturbed) << "nothing was repeated";
  EXPECT_EQ(report.usage.runs_of(meter::Part::backward), report.usage.runs_of(meter::Part::forward));
  EXPECT_EQ(report.usage.runs_of(meter::Part::update), 4);
  for (const std::int64_t stop_after : {1, 2}) {
    const JobConfig j = leaping("stopped" + std::to_string(stop_after), 3);
    Recorder first, second;
    first.stop_after = stop_after;
    EXPECT_EQ(trained(j, first).step, stop_after);
    EXPECT_EQ(trained(j, second, /*resume=*/true).usage.runs, report.usage.runs);
    EXPECT_EQ(final_state(j.run.dir), final_state(folder_ / "whole")) << stop_after;
  }
}

// Asks to stop when it has been read so many times.
class StoppingClock final : public Clock {
 public:
  StoppingClock(std::int64_t reads, std::atomic<bool>& stop) : left_(reads), stop_(stop) {}
  Seconds now() const override {
    if (--left_ == 0) stop_ = true;
    return real_clock().now();
  }
  void sleep_for(Seconds duration) override { real_clock().sleep_for(duration); }
  std::int64_t left() const { return left_; }

 private:
  mutable std::int64_t left_;
  std::atomic<bool>& stop_;
};

TEST_F(ExactJob, StoppedAnywhereItEndsWithTheSameBits) {
  trained(leaping("whole", 1));
  const FinalState expected = final_state(folder_ / "whole");
  int stopped_within_steps = 0;
  std::int64_t last = 0;
  for (std::int64_t reads = 3; last >= 0; reads += 23) {
    const JobConfig j = leaping("stopped" + std::to_string(reads), 2);
    Recorder recorder;
    StoppingClock clock(reads, recorder.stop);
    const auto first = train(j, {.stop = &recorder.stop, .observer = &recorder, .peak = FlopsPerSecond(1e12), .clock = &clock});
    ASSERT_TRUE(first) << first.error().to_string();
    last = clock.left() > 0 ? -1 : reads;
    stopped_within_steps += first->usage.runs_of(meter::Part::forward) > 0 && first->outcome == Outcome::interrupted;
    if (first->outcome != Outcome::finished) {
      Recorder again;
      EXPECT_EQ(trained(j, again, /*resume=*/true).step, 4);
    }
    ASSERT_EQ(final_state(j.run.dir), expected) << reads;
  }
  EXPECT_GT(stopped_within_steps, 5);
}

TEST_F(ExactJob, RecordsTheRootsOfItsStates) {
  JobConfig j = job("digested"), plain = job("plain");
  j.checkpoint = plain.checkpoint = {.every = 2, .keep = 10, .digest_every = 2};
  plain.train.dtype = "f32";
  trained(j);
  trained(plain);
  const auto records = read_run_records(j.run.dir);
  ASSERT_TRUE(records);
  const auto tier = checkpoint::LocalTier::open(j.run.dir, checkpoint::LocalTier::Access::reader);
  ASSERT_TRUE(tier);
  const auto infos = (*tier)->list();
  ASSERT_TRUE(infos);
  ASSERT_EQ(records->digests.size(), 4U);
  for (std::size_t i = 0; i < 4; ++i)
    EXPECT_EQ(records->digests[i], (DigestRecord{infos->at(i).step, infos->at(i).root})) << infos->at(i).step;
  const auto others = read_run_records(plain.run.dir);
  ASSERT_TRUE(others);
  EXPECT_TRUE(others->digests.empty()) << "bits of f32 depend on the machine";
}

TEST_F(ExactJob, AnotherArithmeticDoesNotGoOn) {
  for (const bool is_exact_first : {true, false}) {
    JobConfig j = job(is_exact_first ? "exact" : "plain");
    if (!is_exact_first) j.train.dtype = "f32";
    trained(j);
    const FinalState before = final_state(j.run.dir);
    j.train.steps = 10;
    const std::string began = j.train.dtype;
    j.train.dtype = is_exact_first ? "f32" : "exact";
    const auto report = run_job(j, /*resume=*/true);
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, ErrorCode::mismatch);
    for (const std::string& word : {std::string("train.dtype"), j.train.dtype, began})
      EXPECT_THAT(report.error().to_string(), HasSubstr(word));
    EXPECT_FALSE(report.error().next_step.empty());
    EXPECT_EQ(final_state(j.run.dir), before);
  }
}

TEST(ExactBench, StepsAreOfExactKernels) {
  const StepShape shape{.model = {.layers = 2, .heads = 2, .width = 32, .context = 16, .vocab = 40}, .batch = 3};
  const auto runner = StepRunner::create(shape, {.arithmetic = engine::Arithmetic::exact, .threads = 2, .lr = 1e-2});
  ASSERT_TRUE(runner) << runner.error().to_string();
  ASSERT_TRUE((*runner)->step());
  const double first = (*runner)->loss();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE((*runner)->step());
  EXPECT_LT((*runner)->loss(), first) << "the same tokens again";
  bool has_gemm = false, has_attention = false;
  for (const engine::KernelCall& call : (*runner)->program().forward) {
    has_gemm = has_gemm || (call.spec.name == "exact_matmul" && is_gemm(call));
    has_attention = has_attention || (call.spec.name == "exact_attention" && is_product(call) && !is_gemm(call));
  }
  EXPECT_TRUE(has_gemm && has_attention);
}

}  // namespace
}  // namespace suanli::train
