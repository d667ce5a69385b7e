// `suanli train --on local:N` through the built command: workers are processes, linked under TLS over loopback.
#include <gmock/gmock.h>

#include "suanli/cli/command_for_test.h"

namespace suanli::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class CliLocalPool : public CommandTest {
 protected:
  void SetUp() override {
    make_dataset();
    put_job(6);
  }
  Words words_of(const std::string& run, const Words& more) {
    Words words = {"train", "job.toml",          "--run", run, "--set", "arith=exact", "--set", "train.micro_batches=3",
                   "--set", "checkpoint.every=3"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  std::string root_of(const std::string& run) {
    const Ended ended = this->run({"digest", run, "--json"});
    EXPECT_EQ(ended.code, 0) << ended.err;
    return ended.json()["root"];
  }
  // The process of a worker of this run, by its command line; 0 if there is none.
  pid_t worker_of(const std::string& name) {
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      const std::string line = content_of(entry.path() / "cmdline");
      if (line.find("--name") != std::string::npos && line.find(name) != std::string::npos &&
          content_of(entry.path() / "environ").find(folder_.path()) != std::string::npos)
        return std::stoi(entry.path().filename());
    }
    return 0;
  }
};

TEST_F(CliLocalPool, EndsWithTheBitsOfOneMachine) {
  ASSERT_EQ(run(words_of("alone", {"--quiet"})).code, 0);
  const Ended pool = run(words_of("pool", {"--on", "local:3"}));
  ASSERT_EQ(pool.code, 0) << pool.err;
  EXPECT_EQ(root_of("pool"), root_of("alone"));
  EXPECT_THAT(pool.err, AllOf(HasSubstr("worker-3"), HasSubstr("was placed on"), HasSubstr("step 6")));
  EXPECT_THAT(pool.out, HasSubstr("communication"));
  const Ended eval = run({"eval", "pool", "--json"});
  EXPECT_EQ(eval.code, 0) << eval.err;
}

TEST_F(CliLocalPool, SlowLinesChangeTheTimeAndNotTheResult) {
  put(folder_ / "lines.toml",
      "[[place]]\nname = \"here\"\n[[place]]\nname = \"there\"\n[[link]]\ndelay = \"5ms\"\nrate = \"50 Mbit/s\"\n");
  ASSERT_EQ(run(words_of("alone", {"--quiet"})).code, 0);
  const Ended pool = run(words_of("pool", {"--on", "local:2", "--links", "lines.toml", "--quiet"}));
  ASSERT_EQ(pool.code, 0) << pool.err;
  EXPECT_EQ(root_of("pool"), root_of("alone"));
}

TEST_F(CliLocalPool, AStoppedRunGoesOnToTheSameBits) {
  ASSERT_EQ(run(words_of("alone", {"--quiet"})).code, 0);
  Running running = start(words_of("pool", {"--on", "local:2", "--json"}));
  running.wait_for([](const std::string& out) { return out.find("\"step\"") != std::string::npos; });
  running.send(SIGINT);
  const Ended stopped = running.end();
  ASSERT_THAT(stopped.code, testing::AnyOf(0, 5)) << stopped.err;
  if (stopped.code == 5) {
    const Ended resumed = run(words_of("pool", {"--on", "local:3", "--quiet", "--resume"}));
    ASSERT_EQ(resumed.code, 0) << resumed.err;
  }
  EXPECT_EQ(root_of("pool"), root_of("alone"));
}

TEST_F(CliLocalPool, ALostWorkerStopsTheJobWithTheReasonAndTheRunGoesOn) {
  environment_["SUANLI_TEST_MARK"] = folder_.path();
  Words words = words_of("pool", {"--on", "local:2"});
  words.insert(words.end(), {"--set", "train.steps=4000", "--set", "checkpoint.every=2"});
  Running running = start(words);
  // One that holds a stage: a worker that stands by may go.
  pid_t worker = 0;
  std::string name;
  running.wait_for([&](const std::string&) {
    const std::string said = content_of(folder_ / "stderr");
    const std::size_t stage =
        said.find(" is saved") == std::string::npos ? std::string::npos : said.find("worker-", said.find("was placed on"));
    if (stage == std::string::npos) return false;
    name = said.substr(stage, std::string("worker-1").size());
    worker = worker_of(name);
    return worker != 0;
  });
  ASSERT_NE(worker, 0);
  kill(worker, SIGKILL);
  const Ended ended = running.end();
  EXPECT_NE(ended.code, 0);
  EXPECT_THAT(ended.err, AllOf(HasSubstr(name), HasSubstr("--resume")));
  const Ended resumed =
      run({"train", "pool", "--resume", "--on", "local:1", "--quiet", "--set", "train.steps=4000", "--budget", "1T"});
  EXPECT_EQ(resumed.code, 3) << "a budget is refused, not ignored";
  EXPECT_THAT(run({"digest", "pool"}).out, HasSubstr("step"));
}

TEST_F(CliLocalPool, WrongWordsAreNamed) {
  for (const auto& [words, said] :
       std::vector<std::pair<Words, std::string>>{{{"--on", "local:0"}, "1 to 64"},
                                                  {{"--on", "local:two"}, "names no pool"},
                                                  {{"--on", "local:2", "--links", "nowhere.toml"}, "nowhere.toml"},
                                                  {{"--links", "lines.toml"}, "--on local:4"},
                                                  {{"--on", "local:2", "--cap", "1G"}, "run.cap"}}) {
    const Ended ended = run(words_of("pool", words));
    EXPECT_NE(ended.code, 0);
    EXPECT_THAT(ended.err, HasSubstr(said));
  }
  EXPECT_FALSE(std::filesystem::exists(folder_ / "pool/run.json"));
}

}  // namespace
}  // namespace suanli::cli
