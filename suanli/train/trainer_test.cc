#include "suanli/train/trainer.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "suanli/train/metrics.h"
#include "suanli/train/run_folder.h"
#include "suanli/train/test_run.h"

namespace suanli::train {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

class Trainer : public testing::Test {
 protected:
  void SetUp() override { write_dataset(data_, periodic_text(4000)); }

  JobConfig job(const std::string& run = "run") const { return tiny_job(data_, folder_ / run); }
  std::vector<json> metrics(const std::string& run, const std::string& kind) const {
    std::istringstream lines(read_file(folder_ / (run + "/metrics.jsonl")).value_or(""));
    std::vector<json> found;
    for (std::string line; std::getline(lines, line);)
      if (json record = json::parse(line); record["kind"] == kind)
        found.push_back(std::move(record));
    return found;
  }
  std::vector<std::int64_t> steps_in_metrics(const std::string& run,
                                             const std::string& kind = "step") const {
    std::vector<std::int64_t> steps;
    for (const json& record : metrics(run, kind)) steps.push_back(record["step"]);
    return steps;
  }
  // What an undisturbed run of this job ends with.
  FinalState undisturbed(JobConfig job) const {
    job.run.dir = folder_ / "undisturbed";
    const auto report = run_job(job);
    EXPECT_TRUE(report) << report.error().to_string();
    return final_state(job.run.dir);
  }

  TestFolder folder_;
  const std::string data_ = folder_ / "data";
};

TEST_F(Trainer, LearnsATextThatRepeats) {
  JobConfig j = job();
  j.train.steps = 60;
  j.train.batch = 4;
  j.train.lr = 1e-2;
  j.train.warmup_steps = 5;
  j.eval.every = 30;
  Recorder recorder;
  const auto report = run_job(j, recorder);
  ASSERT_TRUE(report) << report.error().to_string();
  EXPECT_EQ(report->outcome, Outcome::finished);
  ASSERT_EQ(recorder.steps.size(), 60u);
  EXPECT_NEAR(recorder.steps.front().loss, std::log(256), 0.3)
      << "at first every byte is as likely";
  EXPECT_LT(recorder.steps.back().loss, 1.0);
  ASSERT_EQ(recorder.evals.size(), 2u);
  EXPECT_LT(recorder.evals[1].loss, 1.0);
  EXPECT_LT(recorder.evals[1].loss, recorder.evals[0].loss);
  EXPECT_NEAR(recorder.evals[1].perplexity, std::exp(recorder.evals[1].loss), 1e-9);
  EXPECT_NEAR(recorder.evals[1].bits_per_byte, recorder.evals[1].loss / std::log(2), 1e-9);
  EXPECT_EQ(report->valid_loss, recorder.evals[1].loss);
}

TEST_F(Trainer, ReportsAndMetricsTellTheSame) {
  Recorder recorder;
  const auto report = run_job(job(), recorder);
  ASSERT_TRUE(report) << report.error().to_string();
  EXPECT_EQ(report->step, 8);
  EXPECT_EQ(report->usage.steps, 8);
  EXPECT_EQ(report->usage.tokens, Tokens(8 * 2 * 2 * 32));
  EXPECT_EQ(report->loss, recorder.steps.back().loss);
  EXPECT_EQ(steps_in_metrics("run"), (std::vector<std::int64_t>{1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_THAT(steps_in_metrics("run", "eval"), ElementsAre(4, 8));
  EXPECT_EQ(steps_in_metrics("run", "checkpoint").back(), 8);
  EXPECT_EQ(recorder.checkpoints.back(), 8);
  ASSERT_EQ(metrics("run", "start").size(), 1u);
  const json start = metrics("run", "start")[0];
  EXPECT_EQ(start["mfu_base"], "given peak");
  EXPECT_EQ(start["step_flops"], recorder.start.step_flops.value());
  EXPECT_EQ(metrics("run", "end")[0]["outcome"], "finished");
  for (std::size_t i = 0; i < 8; ++i) {
    const json record = metrics("run", "step")[i];
    EXPECT_EQ(record["loss"], recorder.steps[i].loss);
    EXPECT_EQ(record["tokens"], 128);
    EXPECT_GT(record["tokens_per_s"], 0);
    EXPECT_NEAR(record["mfu"].get<double>(),
                recorder.start.step_flops.value() / recorder.steps[i].seconds.value() / 1e12,
                1e-12);
    EXPECT_GT(record["grad_norm"], 0);
  }
  EXPECT_EQ(metrics("run", "step")[0]["lr"], 1.5e-3) << "half way through the warm-up";
  // Eight steps and two evaluations of two batches; all operations have an op.
  EXPECT_GT(report->usage.work.total, recorder.start.step_flops * 8.0);
  EXPECT_LT(report->usage.work.total, recorder.start.step_flops * 10.0);
  Flops by_op;
  for (const auto& [op, flops] : report->usage.work.by_op) by_op += flops;
  EXPECT_NEAR(by_op / report->usage.work.total, 1, 1e-12);
  EXPECT_EQ(recorder.steps.front().flops_total, recorder.start.step_flops)
      << "the phases add up to the graph's cost";
  EXPECT_NEAR(report->usage.total_seconds().value(), report->session_seconds.value(), 1e-2);
}

TEST_F(Trainer, AnyNumberOfThreadsGivesTheSameBits) {
  for (const std::string dtype : {"f32", "bf16"}) {
    JobConfig j = job();
    j.train.dtype = dtype;
    FinalState first;
    for (const int threads : {1, 2, 3}) {
      j.run.dir = folder_ / (dtype + std::to_string(threads));
      j.run.threads = threads;
      const auto report = run_job(j);
      if (!report && report.error().code == ErrorCode::unsupported)
        GTEST_SKIP() << report.error().message;
      ASSERT_TRUE(report) << report.error().to_string();
      if (threads == 1) first = final_state(j.run.dir);
      EXPECT_EQ(first.step, 8);
      EXPECT_EQ(final_state(j.run.dir), first) << dtype << " " << threads;
    }
  }
}

TEST_F(Trainer, ResumesToTheBitsOfAnUndisturbedRunFromAnyStep) {
  const FinalState whole = undisturbed(job());
  for (const std::int64_t stop_after : {1, 3, 4, 7}) {
    const std::string run = "stopped" + std::to_string(stop_after);
    Recorder first;
    first.stop_after = stop_after;
    const auto stopped = run_job(job(run), first);
    ASSERT_TRUE(stopped) << stopped.error().to_string();
    EXPECT_EQ(stopped->outcome, Outcome::interrupted);
    EXPECT_EQ(stopped->step, stop_after);
    EXPECT_EQ(final_state(folder_ / run).step, stop_after);
    EXPECT_EQ(metrics(run, "end").back()["outcome"], "interrupted");

    Recorder second;
    const auto finished = run_job(job(run), second, /*resume=*/true);
    ASSERT_TRUE(finished) << finished.error().to_string();
    EXPECT_EQ(finished->outcome, Outcome::finished);
    EXPECT_EQ(second.start.first_step, stop_after);
    EXPECT_EQ(second.steps.front().step, stop_after + 1);
    EXPECT_TRUE(second.warnings.empty());
    EXPECT_EQ(final_state(folder_ / run), whole) << stop_after;
    EXPECT_EQ(finished->usage.steps, 8);
    EXPECT_EQ(steps_in_metrics(run), (std::vector<std::int64_t>{1, 2, 3, 4, 5, 6, 7, 8}));
    EXPECT_THAT(steps_in_metrics(run, "eval"), ElementsAre(4, 8))
        << "the evaluation owed at " << stop_after;
    // The losses are those of the undisturbed run too.
    for (std::size_t i = 0; i < 8; ++i)
      EXPECT_EQ(metrics(run, "step")[i]["loss"], metrics("undisturbed", "step")[i]["loss"]);
  }
}

TEST_F(Trainer, ResumesAfterStopsAtRandomMoments) {
  JobConfig j = job("random");
  j.train.steps = 30;
  j.checkpoint.every = 0;
  const FinalState whole = undisturbed(j);
  std::srand(5);
  bool resume = false, done = false;
  for (int session = 0; session < 200 && !done; ++session) {
    Recorder recorder;
    std::thread stopper([&recorder] {
      std::this_thread::sleep_for(std::chrono::microseconds(std::rand() % 20'000));
      recorder.stop = true;
    });
    const auto report = run_job(j, recorder, resume);
    stopper.join();
    ASSERT_TRUE(report) << report.error().to_string();
    done = report->outcome == Outcome::finished;
    EXPECT_EQ(final_state(j.run.dir).step, report->step) << "a stop saves the last step";
    resume = true;
  }
  if (!done) {
    ASSERT_TRUE(run_job(j, true));
  }
  EXPECT_EQ(final_state(j.run.dir), whole);
}

TEST_F(Trainer, AFinishedRunResumesToMoreSteps) {
  JobConfig j = job();
  j.train.schedule = "constant";
  ASSERT_TRUE(run_job(j));
  Recorder nothing_left;
  const auto again = run_job(j, nothing_left, true);
  ASSERT_TRUE(again) << again.error().to_string();
  EXPECT_EQ(again->outcome, Outcome::finished);
  EXPECT_TRUE(nothing_left.steps.empty());
  EXPECT_TRUE(again->loss.has_value() && again->valid_loss.has_value()) << "remembered";

  j.train.steps = 12;
  j.eval.every = 6;
  j.checkpoint.keep = 1;
  j.run.threads = 2;
  const auto longer = run_job(j, true);
  ASSERT_TRUE(longer) << longer.error().to_string();
  EXPECT_EQ(longer->step, 12);
  EXPECT_EQ(describe_run(j.run.dir)->job.train.steps, 12) << "job.toml is the job in effect";
  EXPECT_EQ(undisturbed(j), final_state(j.run.dir));
}

TEST_F(Trainer, ResumesFromAnOlderSnapshotIfTheNewestIsDamaged) {
  ASSERT_TRUE(run_job(job()));
  const FinalState whole = final_state(job().run.dir);
  const std::string newest = job().run.dir + "/checkpoints/step-00000008/state.safetensors";
  std::string bytes = read_file(newest).value_or("");
  ASSERT_FALSE(bytes.empty());
  bytes[bytes.size() / 2] ^= 1;
  ASSERT_TRUE(write_file_atomic(newest, as_bytes(bytes)));

  Recorder recorder;
  const auto report = run_job(job(), recorder, true);
  ASSERT_TRUE(report) << report.error().to_string();
  ASSERT_EQ(recorder.warnings.size(), 1u);
  EXPECT_EQ(recorder.warnings[0].code, ErrorCode::corrupt);
  EXPECT_THAT(recorder.warnings[0].place, HasSubstr("step-00000008"));
  EXPECT_EQ(recorder.start.first_step, 6);
  EXPECT_EQ(final_state(job().run.dir), whole) << "the damaged one is replaced";
  EXPECT_EQ(steps_in_metrics("run"), (std::vector<std::int64_t>{1, 2, 3, 4, 5, 6, 7, 8}));
}

// Puts a value into a tensor of the newest snapshot, as a machine with bad memory would.
void poison(const std::string& run, const std::string& name, float value) {
  const auto tier = checkpoint::LocalTier::open(run, checkpoint::LocalTier::Access::owner);
  ASSERT_TRUE(tier);
  auto loaded = checkpoint::load_latest(**tier, {});
  ASSERT_TRUE(loaded);
  for (auto& tensor : loaded->snapshot.tensors)
    if (tensor.name == name) std::memcpy(tensor.data.data(), &value, sizeof value);
  ASSERT_TRUE((*tier)->save(loaded->snapshot));
}

TEST_F(Trainer, ANotANumberStopsWithStepAndTensorAndKeepsTheCheckpoint) {
  // After step 4 an evaluation is owed, which meets the damage first.
  for (const auto& [stop_after, where] :
       std::map<int, std::string>{{4, "after step 4"}, {5, "in step 6"}}) {
    const std::string run = "run" + std::to_string(stop_after);
    Recorder first;
    first.stop_after = stop_after;
    ASSERT_TRUE(run_job(job(run), first));
    poison(folder_ / run, "h.1.mlp.c_fc.weight", std::numeric_limits<float>::quiet_NaN());
    const FinalState before = final_state(folder_ / run);

    Recorder recorder;
    const auto report = run_job(job(run), recorder, true);
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, ErrorCode::not_finite);
    EXPECT_THAT(report.error().message, HasSubstr(where));
    EXPECT_THAT(report.error().message, HasSubstr("first bad tensor"));
    EXPECT_THAT(report.error().message, HasSubstr("h.1.mlp.c_fc.weight"));
    EXPECT_TRUE(recorder.steps.empty());
    EXPECT_EQ(final_state(folder_ / run), before);
    EXPECT_EQ(metrics(run, "end").back()["outcome"], "not_finite");
  }
}

TEST_F(Trainer, ALearningRateThatExplodesStopsAndLeavesASnapshotThatLoads) {
  JobConfig j = job();
  j.train.steps = 200;
  j.train.lr = 1e6;
  j.train.min_lr_ratio = 1;
  j.train.weight_decay = 1e3;
  j.checkpoint.every = 1;
  const auto report = run_job(j);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, ErrorCode::not_finite);
  EXPECT_THAT(report.error().message, HasSubstr("step "));
  EXPECT_THAT(report.error().next_step, HasSubstr("train.lr"));
  EXPECT_GE(final_state(j.run.dir).step, 1);
}

TEST_F(Trainer, ABudgetStopsBeforeItIsExceededAndALargerOneGoesOn) {
  JobConfig j = job();
  j.eval.every = 0;
  const FinalState whole = undisturbed(j);
  Recorder probe;
  ASSERT_TRUE(run_job(job("probe"), probe));
  const double step = probe.start.step_flops.value();

  j.run.budget = 3.5 * step;
  const auto stopped = run_job(j);
  ASSERT_TRUE(stopped) << stopped.error().to_string();
  EXPECT_EQ(stopped->outcome, Outcome::budget_spent);
  EXPECT_EQ(stopped->step, 3);
  EXPECT_LE(stopped->usage.work.total.value(), j.run.budget);
  EXPECT_EQ(final_state(j.run.dir).step, 3);

  const auto nothing = run_job(j, true);
  ASSERT_TRUE(nothing);
  EXPECT_EQ(nothing->outcome, Outcome::budget_spent);
  EXPECT_EQ(nothing->step, 3) << "what was spent before counts";

  j.run.budget = 100 * step;
  const auto finished = run_job(j, true);
  ASSERT_TRUE(finished);
  EXPECT_EQ(finished->outcome, Outcome::finished);
  EXPECT_EQ(final_state(j.run.dir), whole);

  JobConfig poor = job("poor");
  poor.run.budget = 0.5 * step;
  const auto refused = run_job(poor);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::config);
  EXPECT_THAT(refused.error().message, HasSubstr("does not pay for the first step"));
}

TEST_F(Trainer, ABudgetCountsWhatAKilledSessionDidAfterItsLastCheckpoint) {
  JobConfig j = job();
  j.train.steps = 4;
  ASSERT_TRUE(run_job(j));
  const std::string metrics = j.run.dir + "/metrics.jsonl";
  Recorder probe;
  ASSERT_TRUE(run_job(job("probe"), probe));
  const double step = probe.start.step_flops.value();
  StepRecord lost{};
  lost.step = 5;
  lost.flops_total = Flops(1000 * step);
  const std::string lines = read_file(metrics).value_or("") + metrics_line(lost) + "\n";
  ASSERT_TRUE(write_file_atomic(metrics, as_bytes(lines)));

  j.train.steps = 8;
  j.run.budget = 900 * step;
  const auto spent = run_job(j, true);
  ASSERT_TRUE(spent) << spent.error().to_string();
  EXPECT_EQ(spent->outcome, Outcome::budget_spent);
  EXPECT_EQ(spent->step, 4);
  j.run.budget = 1100 * step;
  EXPECT_EQ(run_job(j, true)->outcome, Outcome::finished);
}

TEST_F(Trainer, ACapHoldsTheRunBackAndOneTooLowIsRefused) {
  JobConfig j = job("capped");
  Recorder probe;
  ASSERT_TRUE(run_job(job("probe"), probe));
  j.train.steps = 4;
  j.run.threads = 2;
  j.run.cap = probe.start.step_flops.value() * 8;
  Recorder recorder;
  const auto report = train(j, {.observer = &recorder});
  ASSERT_TRUE(report) << report.error().to_string();
  EXPECT_GT(report->usage.of(meter::Cause::waiting), Seconds(0));
  EXPECT_EQ(recorder.start.mfu_base, MfuBase::none) << "nothing is measured under a cap";
  EXPECT_FALSE(recorder.steps.back().mfu.has_value());

  JobConfig low = job("low");
  low.run.cap = 1000;
  const auto refused = run_job(low);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::config);
  EXPECT_EQ(refused.error().place, "run.cap");
  EXPECT_THAT(refused.error().next_step, HasSubstr("FLOP/s"));
}

TEST_F(Trainer, WithoutAPeakGivenOneIsMeasured) {
  Recorder recorder;
  JobConfig j = job();
  j.train.steps = 2;
  const auto report = train(j, {.observer = &recorder});
  ASSERT_TRUE(report) << report.error().to_string();
  EXPECT_EQ(recorder.start.mfu_base, MfuBase::measured);
  EXPECT_EQ(metrics("run", "start")[0]["mfu_base"], "measured GEMM rate");
  EXPECT_GT(recorder.start.peak, FlopsPerSecond(1e8));
  EXPECT_TRUE(recorder.steps.back().mfu.has_value());
}

TEST_F(Trainer, SamplesTextOnTheWay) {
  JobConfig j = job();
  j.sample = {.every = 4, .prompt = "the ", .tokens = 6};
  Recorder recorder;
  const auto report = run_job(j, recorder);
  ASSERT_TRUE(report) << report.error().to_string();
  ASSERT_EQ(recorder.samples.size(), 2u);
  EXPECT_EQ(recorder.samples[4].size(), 6u);
  EXPECT_EQ(steps_in_metrics("run", "sample"), (std::vector<std::int64_t>{4, 8}));
  JobConfig plain = job("plain");
  ASSERT_TRUE(run_job(plain));
  EXPECT_EQ(final_state(plain.run.dir), final_state(j.run.dir)) << "samples change nothing";
}

TEST_F(Trainer, WithoutAValidationPartItTrainsAndSaysSo) {
  write_dataset(data_, periodic_text(1000), 0);
  Recorder recorder;
  const auto report = run_job(job(), recorder);
  ASSERT_TRUE(report) << report.error().to_string();
  ASSERT_EQ(recorder.warnings.size(), 1u);
  EXPECT_THAT(recorder.warnings[0].message, HasSubstr("no evaluation"));
  EXPECT_FALSE(report->valid_loss.has_value());
}

}  // namespace
}  // namespace suanli::train
