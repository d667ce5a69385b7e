#include "suanli/train/growth.h"

#include <gmock/gmock.h>

#include "suanli/train/test_run.h"

namespace suanli::train {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Keeps growths too.
class GrowthRecorder final : public Observer {
 public:
  void on_step(const StepRecord& record) override {
    steps.push_back(record);
    if (record.step == stop_after) stop = true;
  }
  void on_growth(const GrowthRecord& record) override { growths.push_back(record); }
  void on_eval(const EvalRecord& record) override { evals.push_back(record); }
  std::vector<std::int64_t> growth_steps() const {
    std::vector<std::int64_t> result;
    for (const GrowthRecord& each : growths) result.push_back(each.step);
    return result;
  }
  std::atomic<bool> stop = false;
  std::int64_t stop_after = -1;
  std::vector<StepRecord> steps;
  std::vector<EvalRecord> evals;
  std::vector<GrowthRecord> growths;
};

class Growth : public testing::Test {
 protected:
  void SetUp() override { write_dataset(folder_ / "data", periodic_text(6'000)); }
  JobConfig job(const std::string& run = "run") const {
    JobConfig made = tiny_job(folder_ / "data", folder_ / run);
    made.model = {.layers = 1, .heads = 2, .width = 16, .context = 32, .vocab = 0};
    made.train.steps = 12;
    made.grow.to = "2x16,3x32";
    made.grow.at = "4,7";
    return made;
  }
  Result<TrainReport> run(const JobConfig& made, GrowthRecorder& recorder, bool resume = false) {
    return train(made, {.resume = resume, .stop = &recorder.stop, .observer = &recorder, .peak = FlopsPerSecond(1e12)});
  }
  TestFolder folder_;
};

TEST_F(Growth, TakesOnItsSizesAtTheirSteps) {
  GrowthRecorder recorder;
  const auto report = run(job(), recorder);
  ASSERT_TRUE(report) << report.error().to_string();
  EXPECT_EQ(report->outcome, Outcome::finished);
  EXPECT_EQ(report->session_steps, 12);
  EXPECT_THAT(recorder.growth_steps(), ElementsAre(4, 7));
  EXPECT_EQ(recorder.growths[0].reason, "1 layers of width 16 become 2 of 16");
  ASSERT_EQ(recorder.steps.size(), 12U);
  // It computes the same afterwards: the loss goes on falling, and each later step costs more.
  EXPECT_LT(recorder.steps[11].loss, recorder.steps[6].loss);
  const auto cost = [&](std::size_t i) { return (recorder.steps[i].flops_total - recorder.steps[i - 1].flops_total).value(); };
  EXPECT_LT(cost(2), 0.8 * cost(5));
  EXPECT_LT(cost(5), 0.5 * cost(9));
  const auto described = describe_run(folder_ / "run");
  ASSERT_TRUE(described);
  EXPECT_EQ(described->job.model.layers, 3);
  EXPECT_EQ(described->job.model.heads, 4);
  EXPECT_EQ(described->info.size_since, 7);
  EXPECT_EQ(described->info.parameters, recorder.growths[1].parameters);
}

TEST_F(Growth, StopsAnywhereAndGoesOnToTheSameBits) {
  for (const char* dtype : {"f32", "exact"}) {
    JobConfig whole = job(std::string("whole-") + dtype);
    whole.train.dtype = dtype;
    GrowthRecorder undisturbed;
    ASSERT_TRUE(run(whole, undisturbed));
    for (const std::int64_t stop_after : {2, 4, 5, 7, 11}) {
      SCOPED_TRACE(std::string(dtype) + ", stopped after " + std::to_string(stop_after));
      JobConfig stopped = job(std::string("stopped-") + dtype + std::to_string(stop_after));
      stopped.train.dtype = dtype;
      GrowthRecorder first, second;
      first.stop_after = stop_after;
      const auto report = run(stopped, first);
      ASSERT_TRUE(report) << report.error().to_string();
      EXPECT_EQ(report->step, stop_after);
      const auto finished = run(stopped, second, /*resume=*/true);
      ASSERT_TRUE(finished) << finished.error().to_string();
      EXPECT_EQ(final_state(stopped.run.dir).root, final_state(whole.run.dir).root);
      EXPECT_EQ(finished->usage.steps, 12);
    }
  }
}

TEST_F(Growth, AKilledOneGoesOnAtTheSizeOfItsSnapshot) {
  GrowthRecorder first, second;
  first.stop_after = 6;
  const JobConfig made = job();
  ASSERT_TRUE(run(made, first));
  // As if killed after the snapshot of the second size and before job.toml: that says the first.
  const auto described = describe_run(folder_ / "run");
  ASSERT_TRUE(described);
  ASSERT_EQ(described->job.model.layers, 2);
  JobConfig stale = described->job;
  stale.model.layers = 1;
  ASSERT_TRUE(write_file_atomic(folder_ / "run/job.toml", as_bytes(print_job(stale))));
  const auto finished = run(made, second, /*resume=*/true);
  ASSERT_TRUE(finished) << finished.error().to_string();
  EXPECT_THAT(second.growth_steps(), ElementsAre(7));
}

TEST_F(Growth, WithoutStepsAPlateauEndsASegment) {
  JobConfig made = job();
  made.grow.at = "";
  made.grow.to = "2x16";
  made.grow.window = 3;
  made.grow.gain = 0.9;  // no loss falls so fast
  GrowthRecorder recorder;
  ASSERT_TRUE(run(made, recorder));
  EXPECT_THAT(recorder.growth_steps(), ElementsAre(6)) << "two windows are needed";
  made.run.dir = folder_ / "never";
  made.grow.gain = 0;
  GrowthRecorder falling;
  ASSERT_TRUE(run(made, falling));
  EXPECT_TRUE(falling.growths.empty()) << "the loss of this text falls in every window";
}

TEST_F(Growth, EvaluationIsTheSameBeforeAndAfter) {
  JobConfig made = job();
  made.eval.every = 4;
  made.grow.to = "2x32";
  made.grow.at = "4";
  GrowthRecorder grows, stays;
  ASSERT_TRUE(run(made, grows));
  made.grow = {};
  made.run.dir = folder_ / "stays";
  made.train.steps = 12;
  ASSERT_TRUE(run(made, stays));
  EXPECT_EQ(grows.steps[3].loss, stays.steps[3].loss);
  // The loss of a step is that before its update, so the fifth still is that of the old weights.
  EXPECT_NEAR(grows.steps[4].loss, stays.steps[4].loss, 2e-6 * stays.steps[4].loss);
  EXPECT_NE(grows.steps[8].loss, stays.steps[8].loss);
}

TEST_F(Growth, BadKeysAreNamed) {
  const auto refused = [&](auto change, const std::string& word) {
    JobConfig made = job();
    change(made);
    const Status status = check_job(made, "job.toml");
    ASSERT_FALSE(status) << word;
    EXPECT_THAT(status.error().to_string(), HasSubstr(word));
  };
  refused([](JobConfig& j) { j.grow.to = "big"; }, "'train.grow.to' is 'big'");
  refused([](JobConfig& j) { j.grow.to = "2x16,,3x32"; }, "'train.grow.to'");
  refused([](JobConfig& j) { j.grow.to = "2x24,3x32"; }, "a width of 24 is not");
  refused([](JobConfig& j) { j.grow.to = "3x16,2x32"; }, "2 layers are fewer than the 3");
  refused([](JobConfig& j) { j.grow.at = "4"; }, "which are 1 steps for 2 sizes");
  refused([](JobConfig& j) { j.grow.at = "7,4"; }, "rising steps");
  refused([](JobConfig& j) { j.grow.at = "4,12"; }, "rising steps");
  refused([](JobConfig& j) { j.grow.at = "4,x"; }, "rising steps");
  const auto parsed = parse_job("[train.grow]\nto = \"4x32\"\nwindow = 7\n[train]\nsteps = 9\n", "job.toml");
  ASSERT_TRUE(parsed) << parsed.error().to_string();
  EXPECT_EQ(parsed->grow.to, "4x32");
  EXPECT_EQ(parsed->grow.window, 7);
  JobConfig set;
  ASSERT_TRUE(apply_override(set, "train.grow.to=4x32,8x64"));
  EXPECT_EQ(set.grow.to, "4x32,8x64");
}

}  // namespace
}  // namespace suanli::train
