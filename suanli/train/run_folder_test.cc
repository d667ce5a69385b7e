#include "suanli/train/run_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "suanli/base/test_folder.h"

namespace suanli::train {
namespace {

using testing::HasSubstr;

RunInfo some_info() {
  return {sha256("graph"), sha256("data"), "bytes", 1234, "2026-01-02T03:04:05Z", "0.1.0"};
}

JobConfig some_job(const std::string& folder) {
  JobConfig job;
  job.data.path = "/data";
  job.run.dir = folder;
  return job;
}

class RunFolderTest : public testing::Test {
 protected:
  void establish() {
    auto run = RunFolder::begin(path_);
    ASSERT_TRUE(run) << run.error().to_string();
    const Status status = run->establish(some_job(path_), some_info());
    ASSERT_TRUE(status) << status.error().to_string();
  }
  void write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(make_folders(path_));
    ASSERT_TRUE(write_file_atomic(path_ + "/" + name, as_bytes(text)));
  }
  TestFolder folder_;
  const std::string path_ = folder_ / "a/run";
};

TEST_F(RunFolderTest, IsDescribedByWhatWasEstablished) {
  establish();
  const auto run = describe_run(path_);
  ASSERT_TRUE(run) << run.error().to_string();
  EXPECT_EQ(run->job, some_job(path_));
  EXPECT_EQ(run->info, some_info());
}

TEST_F(RunFolderTest, ARunIsNotBegunTwice) {
  establish();
  const auto again = RunFolder::begin(path_);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ErrorCode::config);
  EXPECT_EQ(again.error().place, path_);
  EXPECT_THAT(again.error().next_step, HasSubstr("--resume"));
}

TEST_F(RunFolderTest, ForeignFilesAreLeftAlone) {
  write("thesis.txt", "years of work");
  const auto run = RunFolder::begin(path_);
  ASSERT_FALSE(run);
  EXPECT_EQ(run.error().code, ErrorCode::foreign);
  EXPECT_THAT(run.error().message, HasSubstr("thesis.txt"));
  EXPECT_FALSE(read_file(path_ + "/.lock")) << "nothing is put beside them";
  EXPECT_EQ(read_file(path_ + "/thesis.txt").value_or(""), "years of work");
}

TEST_F(RunFolderTest, AStartThatWasKilledIsBegunAgain) {
  {
    auto run = RunFolder::begin(path_);
    ASSERT_TRUE(run);
    ASSERT_TRUE(run->update_job(some_job(path_)));
  }
  EXPECT_EQ(describe_run(path_).error().code, ErrorCode::not_found)
      << "without run.json there is no run";
  establish();
  EXPECT_TRUE(describe_run(path_));
}

TEST_F(RunFolderTest, OneTrainerAtATime) {
  {
    const auto first = RunFolder::begin(path_);
    ASSERT_TRUE(first);
    const auto second = RunFolder::begin(path_);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, ErrorCode::busy);
  }
  establish();
  const auto first = RunFolder::resume(path_);
  ASSERT_TRUE(first) << first.error().to_string();
  for (const auto& second : {RunFolder::resume(path_), RunFolder::begin(path_)}) {
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, ErrorCode::busy);
  }
  EXPECT_TRUE(describe_run(path_)) << "readers need no lock";
}

TEST_F(RunFolderTest, ThereMustBeARunToResume) {
  const auto run = RunFolder::resume(path_);
  ASSERT_FALSE(run);
  EXPECT_EQ(run.error().code, ErrorCode::not_found);
  EXPECT_THAT(run.error().next_step, HasSubstr("without --resume"));
}

TEST_F(RunFolderTest, AMovedFolderIsStillTheRun) {
  establish();
  const std::string moved = folder_ / "moved";
  ASSERT_EQ(std::rename(path_.c_str(), moved.c_str()), 0);
  const auto run = describe_run(moved);
  ASSERT_TRUE(run);
  EXPECT_EQ(run->job.run.dir, moved);
}

TEST_F(RunFolderTest, DamageIsNamed) {
  const std::string good = print_run_info(some_info());
  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    return text;
  };
  struct Case {
    std::string text;
    ErrorCode code;
    std::string word;
  };
  for (const Case& c : std::vector<Case>{
           {"", ErrorCode::empty, "empty"},
           {"{}", ErrorCode::foreign, "suanli-run"},
           {"[1]", ErrorCode::foreign, "suanli-run"},
           {good.substr(0, good.size() / 2), ErrorCode::corrupt, ""},
           {replaced("\"version\": 1", "\"version\": 2"), ErrorCode::version, "version 2"},
           {replaced("\"version\": 1", "\"version\": \"1\""), ErrorCode::corrupt, "version"},
           {replaced("\"tokenizer\": \"bytes\"", "\"tokenizer\": 5"), ErrorCode::corrupt,
            "tokenizer"},
           {replaced("parameters", "parametres"), ErrorCode::corrupt, "parameters"},
           {replaced(sha256("graph").hex(), "abc"), ErrorCode::corrupt, "graph_sha256"}}) {
    const auto info = parse_run_info(c.text, "run.json");
    ASSERT_FALSE(info) << c.text;
    EXPECT_EQ(info.error().code, c.code) << info.error().to_string();
    EXPECT_THAT(info.error().place, HasSubstr("run.json"));
    EXPECT_THAT(info.error().to_string(), HasSubstr(c.word));
  }
  establish();
  write("job.toml", "[train]\nsteps = 0\n");
  const auto run = describe_run(path_);
  ASSERT_FALSE(run);
  EXPECT_THAT(run.error().place, HasSubstr("job.toml:2"));
}

TEST(RunInfoTime, IsIso8601) {
  EXPECT_THAT(utc_now(), testing::MatchesRegex("20..-..-..T..:..:..Z"));
}

}  // namespace
}  // namespace suanli::train
