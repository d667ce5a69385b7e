// Wrong input through the built command: one clear error, the documented exit code, nothing lost.
#include <gmock/gmock.h>

#include "suanli/cli/command_for_test.h"

namespace suanli::cli {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

class CliErrors : public CommandTest {
 protected:
  void expect_error(const Words& words, int code, const std::string& name,
                    const std::vector<std::string>& parts) {
    const Ended ended = run(words);
    EXPECT_EQ(ended.code, code) << ended.err;
    EXPECT_EQ(ended.out, "");
    EXPECT_THAT(ended.err, AllOf(::testing::StartsWith("error: "), HasSubstr("[" + name + "]"),
                                 HasSubstr("\n  next: ")));
    for (const std::string& part : parts) EXPECT_THAT(ended.err, HasSubstr(part));
  }
};

TEST_F(CliErrors, UnknownWordsGetTheNearestKnownOne) {
  expect_error({"trian", "job.toml"}, 2, "usage", {"'trian'", "did you mean 'train'?"});
  expect_error({"train", "job.toml", "--resum"}, 2, "usage",
               {"'--resum'", "did you mean '--resume'?", "suanli train"});
  expect_error({"data", "lod", "x"}, 2, "usage", {"'lod'", "did you mean 'load'?"});
  expect_error({"help", "jobs"}, 2, "usage", {"'jobs'", "did you mean 'job'?"});
  expect_error({"train"}, 2, "usage", {"JOB is required"});
  expect_error({"generate", "run", "--tokens", "many"}, 2, "usage", {"--tokens", "many"});
  expect_error({"generate", "run", "--seed", "-1"}, 2, "usage", {"--seed", "-1 is negative"});
  expect_error({"data", "load", "a.txt", "--out", "data", "--shard-tokens", "-5"}, 2, "usage",
               {"--shard-tokens", "-5"});
  expect_error({"version", "now"}, 2, "usage", {"'now'"});
}

TEST_F(CliErrors, WrongJobsNameFileLineAndKey) {
  put_job(5);
  expect_error({"train", "none.toml"}, 1, "not_found", {"none.toml"});
  expect_error({"train", "job.toml", "--set", "train.step=3"}, 2, "usage",
               {"train.step", "did you mean 'steps'?"});
  expect_error({"train", "job.toml", "--cap", "fast"}, 2, "usage", {"--cap", "fast"});
  put(folder_ / "bad.toml", "[train]\nsteps = 5\nbach = 4\n");
  expect_error({"train", "bad.toml"}, 3, "config", {"bad.toml:3", "bach", "did you mean 'batch'?"});
  put(folder_ / "worse.toml", "[train\n");
  expect_error({"explain", "worse.toml"}, 3, "config", {"worse.toml:1", "not valid TOML"});
}

TEST_F(CliErrors, MissingEmptyAndForeignData) {
  put_job(5);
  expect_error({"train", "job.toml"}, 1, "not_found", {"data"});
  EXPECT_FALSE(fs::exists(folder_ / "run/run.json")) << "no run was begun";
  expect_error({"data", "load", "none.txt", "--out", "data"}, 1, "not_found", {"none.txt"});
  put(folder_ / "empty.txt", "");
  expect_error({"data", "load", "empty.txt", "--out", "data"}, 1, "empty", {});
  EXPECT_FALSE(fs::exists(folder_ / "data/dataset.json"));
  fs::create_directories(folder_ / "data");
  put(folder_ / "data/dataset.json", "{\"format\": \"other\"}");
  expect_error({"data", "info", "data"}, 1, "foreign", {"dataset.json"});
  expect_error({"data", "fetch", "bible-kjw"}, 2, "usage", {"did you mean 'bible-kjv'?"});
}

TEST_F(CliErrors, DamagedShardsAreFound) {
  make_dataset();
  const auto info = run({"data", "verify", "data", "--json"});
  ASSERT_EQ(info.code, 0);
  for (const auto& entry : fs::directory_iterator(folder_ / "data")) {
    if (entry.path().extension() == ".json") continue;
    std::string bytes = content_of(entry.path());
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
    put(entry.path(), bytes);
  }
  expect_error({"data", "verify", "data"}, 1, "corrupt", {"data/"});
}

TEST_F(CliErrors, RunsThatAreNotThereOrInUse) {
  expect_error({"eval", "nowhere"}, 1, "not_found", {"nowhere"});
  expect_error({"generate", "nowhere"}, 1, "not_found", {"nowhere"});
  expect_error({"plot", "nowhere"}, 1, "not_found", {"nowhere"});
  expect_error({"ckpt", "list", "nowhere"}, 1, "not_found", {"nowhere"});
  make_dataset();
  put_job(5);
  ASSERT_EQ(run({"train", "job.toml", "--quiet"}).code, 0);
  expect_error({"train", "job.toml"}, 3, "config", {"run"});
  expect_error({"train", "job.toml", "--resume", "--set", "train.lr=0.5"}, 1, "mismatch",
               {"train.lr", "0.5"});
  expect_error({"generate", "run", "--temperature", "-1"}, 2, "usage", {"--temperature", "-1"});
}

TEST_F(CliErrors, TwoTrainersDoNotShareAFolder) {
  make_dataset();
  put_job(1'000'000);
  Running first = start({"train", "job.toml", "--json"});
  first.wait_for(
      [](const std::string& out) { return out.find("\"event\":\"step\"") != std::string::npos; });
  // In a folder of its own, so that the output files differ.
  const TestFolder other;
  Running second({SUANLI_COMMAND, "train", folder_ / "run", "--resume"}, other.path(),
                 environment_);
  const Ended refused = second.end();
  EXPECT_EQ(refused.code, 1);
  EXPECT_THAT(refused.err, HasSubstr("[busy]"));
  first.send(SIGTERM);
  EXPECT_EQ(first.end().code, 5);
}

TEST_F(CliErrors, WithJsonErrorsAreJsonToo) {
  const Ended ended = run({"eval", "nowhere", "--json"});
  EXPECT_EQ(ended.code, 1);
  EXPECT_THAT(ended.err, ::testing::StartsWith("error: "));
  const auto error = ended.json();
  EXPECT_EQ(error["event"], "error");
  EXPECT_EQ(error["code"], "not_found");
  EXPECT_EQ(error["exit_code"], 1);
  EXPECT_THAT(error["place"].get<std::string>(), HasSubstr("nowhere"));
  EXPECT_EQ(run({"eval", "--json", "--bachtes", "2"}).json()["code"], "usage");
}

TEST_F(CliErrors, AFullDiskUnderTheResultIsAnError) {
  const Ended ended =
      Running({"/bin/sh", "-c", std::string(SUANLI_COMMAND) + " help errors > /dev/full"},
              folder_.path(), environment_)
          .end();
  EXPECT_EQ(ended.code, 1);
  EXPECT_THAT(ended.err, AllOf(HasSubstr("standard output"), HasSubstr("[no_space]")));
}

TEST_F(CliErrors, AReaderThatGoesAwayIsNone) {
  const Ended ended =
      Running({"/bin/bash", "-c",
               "set -o pipefail; " + std::string(SUANLI_COMMAND) + " help all | head -1"},
              folder_.path(), environment_)
          .end();
  EXPECT_EQ(ended.code, 0) << ended.err;
}

}  // namespace
}  // namespace suanli::cli
