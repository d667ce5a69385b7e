#include "suanli/plan/calibrate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "suanli/base/test_folder.h"
#include "suanli/engine/compile.h"
#include "suanli/plan/calibrate_matmul.h"
#include "suanli/plan/kernel_class.h"
#include "suanli/plan/program_time.h"
#include "suanli/plan/samples.h"

namespace suanli::plan {
namespace {

using engine::Arithmetic;

// A model that takes no time, and rounds as short as they can be.
CalibrateOptions tiny(const std::string& folder) {
  const model::GptConfig model{.layers = 1, .heads = 2, .width = 32, .context = 16, .vocab = 64};
  return {.quick = true,
          .threads = 2,
          .folder = folder,
          .duration = Seconds(0.01),
          .models = {{.model = model, .batch = 2}, {.model = model, .batch = 2, .micro_batches = 2}}};
}

TEST(Calibrate, GivesAProfileThatIsWhole) {
  const TestFolder folder;
  std::vector<CalibrateProgress> told;
  CalibrateOptions options = tiny(folder.path());
  options.progress = [&](const CalibrateProgress& at) { told.push_back(at); };
  const auto profile = calibrate(options);
  ASSERT_TRUE(profile) << profile.error().to_string();
  EXPECT_TRUE(std::filesystem::is_empty(folder.path())) << "the disk's files are gone";
  const auto read = parse_profile(print_profile(*profile), "printed");
  ASSERT_TRUE(read) << read.error().to_string();
  // Nothing speaks against using it here, but that other programs may have had the cores meanwhile.
  for (const Error& warning : profile_warnings(*profile, 2)) EXPECT_EQ(warning.place, "profile.waited_share");
  EXPECT_EQ(profile->threads, 2);
  EXPECT_TRUE(profile->quick);
  ASSERT_TRUE(profile->disk);
  EXPECT_EQ(profile->peaks.size(), 2U);
  EXPECT_EQ(profile->step_overheads.size(), 2U);
  EXPECT_EQ(profile->matmuls.size(), 2 * matmul_shape_classes().size());
  std::set<std::string> f32, bf16;
  for (const KernelRate& rate : profile->kernels) {
    (rate.arithmetic == Arithmetic::f32 ? f32 : bf16).insert(rate.kind);
    EXPECT_LT(rate.seconds.low, rate.seconds.expected) << rate.kind;
    EXPECT_LT(rate.seconds.expected, 1) << rate.kind << " takes microseconds";
  }
  for (const char* kind :
       {"matmul forward curve", "matmul weight gradient", "attention", "attention_grad", "adamw", "accumulate"})
    EXPECT_TRUE(f32.contains(kind) && bf16.contains(kind)) << kind;
  ASSERT_FALSE(told.empty());
  EXPECT_EQ(told.front().doing, "preparing");
  for (const CalibrateProgress& at : told) EXPECT_TRUE(at.done >= 0 && at.done <= 1 && at.left >= Seconds(0));
}

// What is calibrated is what is planned: of the very model that was measured no class is unknown.
TEST(Calibrate, ItsProfileKnowsEveryCallOfItsModels) {
  CalibrateOptions options = tiny("");
  options.arithmetics = {Arithmetic::f32};
  const auto profile = calibrate(options);
  ASSERT_TRUE(profile) << profile.error().to_string();
  EXPECT_FALSE(profile->disk);
  EXPECT_EQ(profile->peaks.size(), 1U);
  const CalibrationModel& model = options.models.back();
  const auto graph = model::gpt_training_graph(model.model, model.batch, model.micro_batches, {});
  ASSERT_TRUE(graph);
  const auto program = engine::compile(*graph, {.arithmetic = Arithmetic::f32});
  ASSERT_TRUE(program);
  const auto time = program_time(*program, *profile);
  ASSERT_TRUE(time);
  EXPECT_TRUE(time->unmeasured.empty()) << time->unmeasured.front();
}

TEST(Calibrate, StopsWhenAskedTo) {
  const TestFolder folder;
  const std::atomic<bool> stop{true};
  CalibrateOptions options = tiny(folder.path());
  options.stop = &stop;
  const auto stopped = calibrate(options);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, ErrorCode::interrupted);
}

TEST(Calibrate, AFolderThatIsNotThereIsRefused) {
  const auto refused = calibrate(tiny("/no/such/folder"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::not_found);
  EXPECT_EQ(refused.error().place, "/no/such/folder");
}

// Nothing that is judged by a calibration may be part of it.
TEST(Calibrate, ItsModelsAreNoJobsOfTheExamplesOrBenches) {
  for (const bool quick : {true, false})
    for (const CalibrationModel& each : calibration_models(quick)) {
      EXPECT_TRUE(each.model.check()) << each.model.width;
      EXPECT_LE(each.model.layers, 2);
      EXPECT_FALSE(each.model.width == 384 || (each.model.width == 768 && each.model.vocab == 50257)) << each.model.width;
    }
  EXPECT_GT(calibration_models(false).size(), calibration_models(true).size());
}

TEST(Samples, DisturbedOnesCountOnlyWhereThereAreTooFewOthers) {
  Samples samples;
  for (const double each : {9.0, 8.0, 10.0}) samples.add(each, true);
  EXPECT_EQ(samples.median(), 9);
  samples.add(1);
  samples.add(2);
  EXPECT_EQ(samples.median(), 8) << "of all five";
  samples.add(3);
  EXPECT_EQ(samples.median(), 2) << "of the quiet three";
  const Interval narrow = samples.interval(0.1), wide = samples.interval(0.9);
  EXPECT_NEAR(narrow.low, 1.2, 1e-12);
  EXPECT_NEAR(narrow.high, 2.8, 1e-12);
  EXPECT_NEAR(wide.low, 0.2, 1e-12);
  EXPECT_NEAR(wide.high, 3.8, 1e-12);
}

}  // namespace
}  // namespace suanli::plan
