#include "suanli/train/initial_weights.h"

#include <gmock/gmock.h>

#include "suanli/checkpoint/local_tier.h"
#include "suanli/train/test_run.h"

namespace suanli::train {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class InitialWeights : public testing::Test {
 protected:
  void SetUp() override {
    write_dataset(folder_ / "data", periodic_text(4'000));
    write_dataset(folder_ / "other", periodic_text(4'000, "pack my box with five jugs. "));
    ASSERT_TRUE(run_job(tiny_job(folder_ / "data", folder_ / "base")));
  }
  JobConfig tuned() const {
    JobConfig job = tiny_job(folder_ / "other", folder_ / "tuned");
    job.train.init = folder_ / "base";
    return job;
  }
  std::map<std::string, std::string> tensors_of(const std::string& run) const {
    const auto tier = checkpoint::LocalTier::open(folder_ / run, checkpoint::LocalTier::Access::reader);
    const auto loaded = checkpoint::load_latest(**tier, {});
    std::map<std::string, std::string> tensors;
    for (const checkpoint::NamedTensor& tensor : loaded->snapshot.tensors)
      tensors[tensor.name] = std::string(reinterpret_cast<const char*>(tensor.bytes().data()), tensor.bytes().size());
    return tensors;
  }
  TestFolder folder_;
};

TEST_F(InitialWeights, AreThoseThatTheOtherRunEndedWith) {
  JobConfig job = tuned();
  job.train.steps = 1;
  job.train.warmup_steps = 0;
  job.train.lr = 0;  // nothing moves
  ASSERT_TRUE(run_job(job));
  const auto base = tensors_of("base"), after = tensors_of("tuned");
  EXPECT_EQ(after.at("wte.weight"), base.at("wte.weight"));
  EXPECT_EQ(after.at("h.1.attn.c_attn.weight"), base.at("h.1.attn.c_attn.weight"));
  EXPECT_NE(after, base) << "the optimizer begins anew";
}

TEST_F(InitialWeights, ARunThatIsStoppedNeedsTheOtherNoMore) {
  ASSERT_TRUE(run_job(tuned()));
  const FinalState whole = final_state(folder_ / "tuned");
  std::filesystem::remove_all(folder_ / "tuned");
  Recorder recorder;
  recorder.stop_after = 3;
  ASSERT_TRUE(run_job(tuned(), recorder));
  std::filesystem::remove_all(folder_ / "base");
  ASSERT_TRUE(run_job(tuned(), /*resume=*/true));
  EXPECT_EQ(final_state(folder_ / "tuned"), whole);
}

TEST_F(InitialWeights, WhatDoesNotFitIsNamedAndLeavesNoRun) {
  const auto refused = [&](const JobConfig& job) {
    const auto report = run_job(job);
    EXPECT_FALSE(report);
    EXPECT_FALSE(std::filesystem::exists(folder_ / "tuned/run.json"));
    return report ? Error{} : report.error();
  };
  JobConfig job = tuned();
  job.model.width = 64;
  EXPECT_THAT(refused(job).to_string(), AllOf(HasSubstr("train.init"), HasSubstr("[256x32]"), HasSubstr("[256x64]")));
  job = tuned();
  job.model.layers = 3;
  EXPECT_THAT(refused(job).to_string(), HasSubstr("no parameter 'h.2."));
  job = tuned();
  job.train.init = folder_ / "nowhere";
  EXPECT_EQ(refused(job).code, ErrorCode::not_found);
  EXPECT_THAT(refused(job).to_string(), AllOf(HasSubstr("train.init"), HasSubstr("nowhere")));
  std::filesystem::remove_all(folder_ / "base/checkpoints");
  EXPECT_THAT(refused(tuned()).to_string(), HasSubstr("no checkpoint yet"));
}

}  // namespace
}  // namespace suanli::train
