// What a trainer refuses, and that nothing is lost by it.
#include <gmock/gmock.h>

#include "suanli/train/run_folder.h"
#include "suanli/train/test_run.h"

namespace suanli::train {
namespace {

using testing::HasSubstr;

class Refusal : public testing::Test {
 protected:
  void SetUp() override { write_dataset(data_, periodic_text(4000)); }
  JobConfig job() const { return tiny_job(data_, folder_ / "run"); }

  void expect_refused(const JobConfig& job, bool resume, ErrorCode code,
                      const std::vector<std::string>& words) const {
    const auto report = run_job(job, resume);
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, code) << report.error().to_string();
    for (const std::string& word : words) EXPECT_THAT(report.error().to_string(), HasSubstr(word));
    EXPECT_FALSE(report.error().next_step.empty()) << report.error().to_string();
  }

  TestFolder folder_;
  const std::string data_ = folder_ / "data";
};

TEST_F(Refusal, AnExistingRunIsOnlyResumed) {
  ASSERT_TRUE(run_job(job()));
  const FinalState before = final_state(job().run.dir);
  expect_refused(job(), false, ErrorCode::config,
                 {"already holds a run", "--resume", job().run.dir});
  EXPECT_EQ(final_state(job().run.dir), before);
}

TEST_F(Refusal, AnAbsentRunIsNotResumed) {
  expect_refused(job(), true, ErrorCode::not_found, {"no run to resume", job().run.dir});
}

TEST_F(Refusal, ATrainerAtWorkKeepsOthersOut) {
  ASSERT_TRUE(run_job(job()));
  const auto held = RunFolder::resume(job().run.dir);
  ASSERT_TRUE(held);
  expect_refused(job(), true, ErrorCode::busy, {job().run.dir});
  expect_refused(job(), false, ErrorCode::busy, {job().run.dir});
}

TEST_F(Refusal, TwoTrainersOnOneFolder) {
  // The second comes while the first is in the middle of its steps.
  class Second final : public Observer {
   public:
    explicit Second(JobConfig job) : job_(std::move(job)) {}
    void on_step(const StepRecord& record) override {
      if (record.step != 3) return;
      for (const bool resume : {false, true}) {
        const auto report = train(job_, {.resume = resume, .peak = FlopsPerSecond(1e12)});
        codes.push_back(report ? ErrorCode::usage : report.error().code);
      }
    }
    std::vector<ErrorCode> codes;

   private:
    JobConfig job_;
  };
  Second second(job());
  const auto report = train(job(), {.observer = &second, .peak = FlopsPerSecond(1e12)});
  ASSERT_TRUE(report) << report.error().to_string();
  EXPECT_EQ(report->step, 8);
  EXPECT_THAT(second.codes, testing::ElementsAre(ErrorCode::busy, ErrorCode::busy));
}

TEST_F(Refusal, ResumingWithAnotherModelNamesTheKey) {
  ASSERT_TRUE(run_job(job()));
  const FinalState before = final_state(job().run.dir);
  JobConfig changed = job();
  changed.model.layers = 3;
  expect_refused(changed, true, ErrorCode::mismatch, {"model.layers", "is 3", "began with 2"});
  changed = job();
  changed.train.lr = 1;
  expect_refused(changed, true, ErrorCode::mismatch, {"train.lr", "0.003"});
  changed = job();
  changed.train.seed = 2;
  expect_refused(changed, true, ErrorCode::mismatch, {"train.seed"});
  changed = job();
  changed.train.dtype = "bf16";
  expect_refused(changed, true, ErrorCode::mismatch, {"train.dtype", "bf16", "f32"});
  EXPECT_EQ(final_state(job().run.dir), before);
  EXPECT_EQ(describe_run(job().run.dir)->job.train.lr, 3e-3);
}

TEST_F(Refusal, FewerStepsThanAreDone) {
  ASSERT_TRUE(run_job(job()));
  const FinalState before = final_state(job().run.dir);
  JobConfig shorter = job();
  shorter.train.steps = 5;
  expect_refused(shorter, true, ErrorCode::config, {"train.steps", "is 5", "has done 8"});
  EXPECT_EQ(final_state(job().run.dir), before);
  EXPECT_EQ(describe_run(job().run.dir)->job.train.steps, 8);
}

TEST_F(Refusal, WhatTheJobLeavesOpenIsTakenFromTheRun) {
  ASSERT_TRUE(run_job(job()));
  JobConfig open = job();
  open.train.dtype = "auto";
  open.model.vocab = 0;
  EXPECT_TRUE(run_job(open, true));
  EXPECT_EQ(describe_run(open.run.dir)->job.train.dtype, "f32");
  EXPECT_EQ(describe_run(open.run.dir)->job.model.vocab, 256);
}

TEST_F(Refusal, ResumingWithAnotherDatasetNamesBoth) {
  ASSERT_TRUE(run_job(job()));
  write_dataset(folder_ / "other", periodic_text(4000, "another text "));
  JobConfig changed = job();
  changed.data.path = folder_ / "other";
  expect_refused(changed, true, ErrorCode::mismatch, {"data.path", folder_ / "other"});

  // The same data elsewhere will do.
  write_dataset(folder_ / "copy", periodic_text(4000));
  changed.data.path = folder_ / "copy";
  EXPECT_TRUE(run_job(changed, true));
}

TEST_F(Refusal, OtherJobs) {
  JobConfig j = job();
  j.model.heads = 3;
  expect_refused(j, false, ErrorCode::config, {"model.width", "32", "3 heads"});
  j = job();
  j.data.path = folder_ / "absent";
  expect_refused(j, false, ErrorCode::not_found, {"absent"});
  j = job();
  j.model.vocab = 10;
  expect_refused(j, false, ErrorCode::mismatch, {"256", "10", "model.vocab"});
  j = job();
  j.model.context = 100'000;
  expect_refused(j, false, ErrorCode::empty, {"100001"});
  j = job();
  j.run.memory_limit = 1000;
  expect_refused(j, false, ErrorCode::no_memory, {"run.memory_limit", "1000 B"});
  j = job();
  j.model.vocab = 300;
  j.sample.every = 1;
  expect_refused(j, false, ErrorCode::config, {"sample.every", "300"});
  // None of them left a run behind: the folder can be used.
  EXPECT_TRUE(run_job(job()));
}

TEST_F(Refusal, AModelTooLargeForTheMachine) {
  JobConfig j = job();
  j.model = {.layers = 100, .heads = 64, .width = 16384, .context = 32, .vocab = 0};
  expect_refused(j, false, ErrorCode::no_memory, {"GiB"});
}

TEST_F(Refusal, AFolderWithOtherFiles) {
  ASSERT_TRUE(make_folders(job().run.dir));
  ASSERT_TRUE(write_file_atomic(job().run.dir + "/notes.txt", as_bytes("mine")));
  expect_refused(job(), false, ErrorCode::foreign, {"notes.txt"});
}

TEST_F(Refusal, AFlippedTokenInAShard) {
  ASSERT_TRUE(run_job(job()));
  const FinalState before = final_state(job().run.dir);
  const auto dataset = data::Dataset::open(data_);
  ASSERT_TRUE(dataset);
  for (const data::Split split : data::kSplits) {
    const std::string shard = data_ + "/" + dataset->info().of(split).front().file;
    const std::string whole = read_file(shard).value_or("");
    std::string flipped = whole;
    flipped[500] = static_cast<char>(flipped[500] ^ 1);
    ASSERT_TRUE(write_file_atomic(shard, as_bytes(flipped)));
    JobConfig fresh = job();
    fresh.run.dir = folder_ / "second";
    expect_refused(fresh, false, ErrorCode::corrupt, {shard});
    JobConfig longer = job();
    longer.train.steps = 12;
    expect_refused(longer, true, ErrorCode::corrupt, {shard});
    ASSERT_TRUE(write_file_atomic(shard, as_bytes(whole)));
  }
  EXPECT_EQ(final_state(job().run.dir), before);
}

TEST_F(Refusal, DamagedListsAndRunFiles) {
  ASSERT_TRUE(run_job(job()));
  ASSERT_TRUE(write_file_atomic(job().run.dir + "/run.json", as_bytes("{")));
  expect_refused(job(), true, ErrorCode::corrupt, {"run.json"});
  const std::string dataset = data_ + "/dataset.json";
  const std::string text = read_file(dataset).value_or("");
  ASSERT_TRUE(write_file_atomic(dataset, as_bytes(text.substr(0, text.size() / 2))));
  JobConfig j = job();
  j.run.dir = folder_ / "second";
  expect_refused(j, false, ErrorCode::corrupt, {"dataset.json"});
}

TEST_F(Refusal, AllSnapshotsDamaged) {
  ASSERT_TRUE(run_job(job()));
  for (const char* step : {"step-00000006", "step-00000008"}) {
    const std::string path = job().run.dir + "/checkpoints/" + step + "/manifest.json";
    ASSERT_TRUE(write_file_atomic(path, as_bytes("{}")));
  }
  expect_refused(job(), true, ErrorCode::foreign, {"step-00000008", "none of 2 snapshots"});
}

}  // namespace
}  // namespace suanli::train
