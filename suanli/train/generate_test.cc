#include "suanli/train/generate.h"

#include <gmock/gmock.h>

#include <cmath>
#include <filesystem>

#include "suanli/train/test_run.h"

namespace suanli::train {
namespace {

using testing::HasSubstr;

// One run for all tests of the suite: it has learnt its text by heart.
class Generate : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TestFolder();
    write_dataset(data(), periodic_text(4000));
    JobConfig job = tiny_job(data(), run());
    job.train.steps = 120;
    job.train.batch = 4;
    job.train.lr = 1e-2;
    job.train.warmup_steps = 10;
    job.eval.batches = 1000;
    job.checkpoint.every = 0;
    const auto report = run_job(job);
    ASSERT_TRUE(report) << report.error().to_string();
    valid_loss_ = report->valid_loss.value();
  }
  static void TearDownTestSuite() { delete folder_; }
  static std::string data() { return *folder_ / "data"; }
  static std::string run() { return *folder_ / "run"; }

  void SetUp() override {
    auto model = TrainedModel::load(run(), {.threads = 1});
    ASSERT_TRUE(model) << model.error().to_string();
    model_ = std::move(*model);
  }
  std::string generated(std::string_view prompt, std::int64_t count,
                        const model::SamplingOptions& options) {
    std::string text;
    const Status status = model_->generate(prompt, count, options, [&](char byte) {
      text += byte;
      return true;
    });
    EXPECT_TRUE(status) << status.error().to_string();
    return text;
  }

  static TestFolder* folder_;
  static double valid_loss_;
  std::unique_ptr<TrainedModel> model_;
};
TestFolder* Generate::folder_ = nullptr;
double Generate::valid_loss_ = 0;

TEST_F(Generate, ContinuesWhatItLearnt) {
  EXPECT_EQ(model_->step(), 120);
  // Shorter than the context of 32, then sliding beyond it.
  EXPECT_EQ(generated("the quick brown fox. the ", 16, {.temperature = 0}), "quick brown fox.");
  EXPECT_EQ(generated("the quick brown fox. the quick ", 40, {.temperature = 0}),
            "brown fox. the quick brown fox. the quic");
}

TEST_F(Generate, SamplesByTheSeed) {
  const model::SamplingOptions hot{.temperature = 3, .seed = 1}, other{.temperature = 3, .seed = 2};
  const std::string once = generated("the ", 40, hot);
  EXPECT_EQ(once.size(), 40u);
  EXPECT_EQ(generated("the ", 40, hot), once);
  EXPECT_NE(generated("the ", 40, other), once);
}

TEST_F(Generate, AnEmptyPromptAndNothingToGenerateAreFine) {
  EXPECT_EQ(generated("", 5, {.temperature = 0}).size(), 5u);
  EXPECT_EQ(generated("the", 0, {}), "");
}

TEST_F(Generate, TheReceiverMayEndIt) {
  std::string text;
  ASSERT_TRUE(model_->generate("the ", 100, {.temperature = 0},
                               [&](char byte) { return text += byte, text.size() < 7; }));
  EXPECT_EQ(text.size(), 7u);
}

TEST_F(Generate, AStopEndsIt) {
  const std::atomic<bool> stop = true;
  const auto stopped = TrainedModel::load(run(), {.threads = 1, .stop = &stop});
  ASSERT_TRUE(stopped);
  int count = 0;
  EXPECT_TRUE((*stopped)->generate("the ", 100, {}, [&](char) { return ++count, true; }));
  EXPECT_EQ(count, 0);
  const auto score = (*stopped)->evaluate(data(), data::Split::valid);
  ASSERT_FALSE(score);
  EXPECT_EQ(score.error().code, ErrorCode::interrupted);
}

TEST_F(Generate, BadOptionsAreRefused) {
  const auto ignore = [](char) { return true; };
  EXPECT_EQ(model_->generate("a", 5, {.temperature = -1}, ignore).error().code, ErrorCode::usage);
  const Status negative = model_->generate("a", -5, {}, ignore);
  ASSERT_FALSE(negative);
  EXPECT_EQ(negative.error().code, ErrorCode::usage);
  EXPECT_THAT(negative.error().message, HasSubstr("-5"));
}

TEST_F(Generate, EvaluatesASplitAsTrainingDid) {
  const auto score = model_->evaluate(data(), data::Split::valid);
  ASSERT_TRUE(score) << score.error().to_string();
  EXPECT_EQ(score->evaluation.loss, valid_loss_);
  EXPECT_NEAR(score->bits_per_byte, valid_loss_ / std::log(2), 1e-12);
  // A quarter of 4001 tokens: windows of 32 at stride 32, one more token for the last target.
  const auto dataset = data::Dataset::open(data());
  const auto windows = data::Windows::create(*dataset, data::Split::valid, 32);
  EXPECT_EQ(score->evaluation.tokens, Tokens(static_cast<std::int64_t>(windows->count()) * 32));
  const auto part = model_->evaluate(data(), data::Split::train, 3);
  ASSERT_TRUE(part);
  EXPECT_EQ(part->evaluation.tokens, Tokens(3 * 4 * 32));
}

TEST_F(Generate, AnotherTextIsHarder) {
  write_dataset(*folder_ / "other", periodic_text(2000, "ZYXW 98765 "));
  const auto own = model_->evaluate(data(), data::Split::valid);
  const auto other = model_->evaluate(*folder_ / "other", data::Split::valid);
  ASSERT_TRUE(own && other);
  EXPECT_GT(other->evaluation.loss, own->evaluation.loss + 1);
}

TEST_F(Generate, ADamagedDatasetIsNotMeasured) {
  const std::string copy = *folder_ / "damaged";
  write_dataset(copy, periodic_text(4000));
  const auto dataset = data::Dataset::open(copy);
  ASSERT_TRUE(dataset);
  const std::string shard = copy + "/" + dataset->info().of(data::Split::valid).front().file;
  std::string bytes = read_file(shard).value_or("");
  bytes[500] = static_cast<char>(bytes[500] ^ 1);
  ASSERT_TRUE(write_file_atomic(shard, as_bytes(bytes)));
  const auto score = model_->evaluate(copy, data::Split::valid);
  ASSERT_FALSE(score);
  EXPECT_EQ(score.error().code, ErrorCode::corrupt);
  EXPECT_EQ(score.error().place, shard);
}

TEST_F(Generate, AnAbsentRunOrOneWithoutSnapshotIsNamed) {
  const auto absent = TrainedModel::load(*folder_ / "absent");
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, ErrorCode::not_found);
  EXPECT_THAT(absent.error().to_string(), HasSubstr("absent"));
  const std::string begun = *folder_ / "begun";
  std::filesystem::copy(run(), begun, std::filesystem::copy_options::recursive);
  std::filesystem::remove_all(begun + "/checkpoints");
  const auto empty = TrainedModel::load(begun);
  ASSERT_FALSE(empty);
  EXPECT_EQ(empty.error().code, ErrorCode::not_found);
  EXPECT_EQ(empty.error().place, begun);
  const auto no_data = model_->evaluate(*folder_ / "absent", data::Split::valid);
  ASSERT_FALSE(no_data);
  EXPECT_EQ(no_data.error().code, ErrorCode::not_found);
}

}  // namespace
}  // namespace suanli::train
