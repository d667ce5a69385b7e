// `suanli train --on local:N` through the built command: workers are processes, linked under TLS over loopback.
#include <gmock/gmock.h>

#include <map>

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

TEST_F(CliLocalPool, BeginsWithTheWeightsOfAnotherRun) {
  ASSERT_EQ(run(words_of("base", {"--quiet"})).code, 0);
  const auto tune = [&](const std::string& name, const Words& more) {
    Words words = words_of(name, {"--quiet", "--set", "train.init=base", "--set", "train.seed=7"});
    words.insert(words.end(), more.begin(), more.end());
    const Ended ended = run(words);
    EXPECT_EQ(ended.code, 0) << ended.err;
  };
  tune("alone", {});
  tune("pool", {"--on", "local:2"});
  EXPECT_EQ(root_of("pool"), root_of("alone"));
  const Ended replayed = run({"replay", "alone"});
  EXPECT_EQ(replayed.code, 0) << replayed.err;
  const Ended none = run(words_of("none", {"--set", "train.init=nowhere", "--on", "local:2"}));
  EXPECT_NE(none.code, 0);
  EXPECT_THAT(none.err, AllOf(HasSubstr("train.init"), HasSubstr("nowhere")));
}

TEST_F(CliLocalPool, SlowLinesChangeTheTimeAndNotTheResult) {
  put(folder_ / "lines.toml",
      "[[place]]\nname = \"here\"\n[[place]]\nname = \"there\"\n[[link]]\ndelay = \"5ms\"\nrate = \"50 Mbit/s\"\n");
  ASSERT_EQ(run(words_of("alone", {"--quiet"})).code, 0);
  const Ended pool = run(words_of("pool", {"--on", "local:2", "--links", "lines.toml", "--quiet"}));
  ASSERT_EQ(pool.code, 0) << pool.err;
  EXPECT_EQ(root_of("pool"), root_of("alone"));
}

// What a run's metrics say beside its steps: evaluations, samples, digests and checkpoints, each kind by its steps.
std::map<std::string, std::map<int, nlohmann::json>> records_of(const std::string& run_folder) {
  std::map<std::string, std::map<int, nlohmann::json>> records;
  std::istringstream in(content_of(run_folder + "/metrics.jsonl"));
  for (std::string line; std::getline(in, line);) {
    const auto record = nlohmann::json::parse(line);
    const std::string kind = record["kind"];
    const char* what = kind == "eval" ? "valid_loss" : kind == "sample" ? "text" : kind == "digest" ? "root" : nullptr;
    if (what != nullptr) {
      const bool is_new = records[kind].emplace(record["step"], record[what]).second;
      EXPECT_TRUE(is_new) << line << " stands there twice";
    }
  }
  for (const auto& entry : std::filesystem::directory_iterator(run_folder + "/checkpoints"))
    records["checkpoint"][std::stoi(entry.path().filename().string().substr(5))] = nullptr;
  return records;
}

TEST_F(CliLocalPool, EvaluatesWhenOneMachineWould) {
  const auto sets = [](Words words) {
    for (const char* set : {"train.steps=14", "eval.every=2", "checkpoint.every=4", "checkpoint.keep=3",
                            "checkpoint.digest_every=6", "sample.every=4", "sample.tokens=5"})
      words.insert(words.end(), {"--set", set});
    return words;
  };
  ASSERT_EQ(run(sets(words_of("alone", {"--quiet"}))).code, 0);
  const Ended pool = run(sets(words_of("pool", {"--on", "local:2", "--quiet"})));
  ASSERT_EQ(pool.code, 0) << pool.err;
  const auto alone = records_of(folder_ / "alone"), pooled = records_of(folder_ / "pool");
  EXPECT_EQ(pooled, alone);
  EXPECT_EQ(alone.at("eval").size(), 7u);
  EXPECT_EQ(alone.at("checkpoint").size(), 3u);
  EXPECT_EQ(root_of("pool"), root_of("alone"));
  // Operations too, though neither spends its time alike.
  const auto spent = [&](const std::string& run_folder) {
    std::istringstream in(content_of(folder_ / (run_folder + "/metrics.jsonl")));
    nlohmann::json last;
    for (std::string line; std::getline(in, line);) last = nlohmann::json::parse(line);
    return last["totals"]["runs"];
  };
  EXPECT_EQ(spent("pool")["evaluation"], spent("alone")["evaluation"]);
  EXPECT_EQ(spent("pool")["sample"], spent("alone")["sample"]);
}

TEST_F(CliLocalPool, AnOddPairOfPeriodsIsToldOf) {
  Words words = words_of("pool", {"--on", "local:1"});
  words.insert(words.end(), {"--set", "eval.every=2", "--set", "train.steps=7"});
  const Ended pool = run(words);
  ASSERT_EQ(pool.code, 0) << pool.err;
  EXPECT_THAT(pool.err, AllOf(HasSubstr("2 and 3 have no larger common divisor"), HasSubstr("eval.every")));
}

TEST_F(CliLocalPool, WhatTheCoordinatorSaysGoesOverItsLines) {
  const std::string places = "[[place]]\nname = \"hall\"\nworkers = 2\n[[place]]\nname = \"far\"\n"
                             "[[link]]\nbetween = [\"hall\", \"far\"]\ndelay = \"200ms\"\nrate = \"1 Gbit/s\"\n";
  put(folder_ / "near.toml", places);
  put(folder_ / "far.toml", "coordinator = \"far\"\n" + places);
  const auto seconds_of = [&](const std::string& run_folder) {
    std::map<int, double> seconds;
    std::istringstream in(content_of(folder_ / (run_folder + "/metrics.jsonl")));
    for (std::string line; std::getline(in, line);)
      if (const auto record = nlohmann::json::parse(line); record["kind"] == "step") seconds[record["step"]] = record["seconds"];
    return seconds;
  };
  const Ended near = run(words_of("near", {"--on", "local:2", "--links", "near.toml", "--quiet"}));
  const Ended far = run(words_of("far", {"--on", "local:2", "--links", "far.toml", "--quiet"}));
  ASSERT_EQ(near.code, 0) << near.err;
  ASSERT_EQ(far.code, 0) << far.err;
  EXPECT_EQ(root_of("far"), root_of("near"));
  const auto slow = seconds_of("far");
  ASSERT_EQ(slow.size(), 6u);
  // Commit goes one way, committed the other.
  for (const auto& [step, seconds] : slow) EXPECT_GE(seconds, 0.4) << "step " << step;
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
