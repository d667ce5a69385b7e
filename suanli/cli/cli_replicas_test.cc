// Replicas of a stage that exchange packed gradients, and lanes of local steps, through the built command.
#include <gmock/gmock.h>

#include "suanli/cli/command_for_test.h"

namespace suanli::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class CliReplicas : public CommandTest {
 protected:
  void SetUp() override {
    make_dataset();
    put_job(12);
    put(folder_ / "lines.toml",
        "[[place]]\nname = \"here\"\n[[place]]\nname = \"there\"\n[[link]]\ndelay = \"1ms\"\nrate = \"100 Mbit/s\"\n");
  }
  Words words_of(const std::string& run, const Words& more) {
    Words words = {"train", "job.toml", "--run", run, "--on", "local:2", "--links", "lines.toml", "--set", "arith=f32",
                   "--set", "train.batch=32", "--set", "train.micro_batches=8", "--set", "checkpoint.every=4",
                   "--set", "pool.stages=1", "--set", "pool.replicas=2"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  // The step lines of the run's metrics.
  std::vector<nlohmann::json> steps_of(const std::string& run) {
    std::vector<nlohmann::json> steps;
    for (const nlohmann::json& line : Ended{0, content_of(folder_ / (run + "/metrics.jsonl")), ""}.lines())
      if (line.contains("loss") && line.contains("grad_norm")) steps.push_back(line);
    return steps;
  }
  void expect_trained(const std::string& run, std::size_t last) {
    const auto steps = steps_of(run);
    ASSERT_EQ(steps.size(), last);
    EXPECT_LT(steps.back()["loss"].get<double>(), steps.front()["loss"].get<double>() - 0.5);
    const Ended eval = this->run({"eval", run, "--json"});
    EXPECT_EQ(eval.code, 0) << eval.err;
    EXPECT_LT(eval.json()["loss"].get<double>(), steps.front()["loss"].get<double>() - 0.5);
  }
};

TEST_F(CliReplicas, PackedGradientsTrainAndGoOn) {
  const Words words = words_of("packed", {"--set", "codec.weights=ef4", "--set", "train.steps=8"});
  const Ended first = run(words);
  ASSERT_EQ(first.code, 0) << first.err;
  EXPECT_THAT(first.err, AllOf(HasSubstr("1 stage: worker-"), HasSubstr(" + worker-")));
  EXPECT_THAT(content_of(folder_ / "packed/checkpoints/step-00000008/manifest.json"),
              AllOf(HasSubstr("replica/0/error/wte.weight"), HasSubstr("replica/1/error/wte.weight")));
  const Ended second =
      run({"train", "packed", "--resume", "--on", "local:2", "--links", "lines.toml", "--set", "train.steps=12"});
  ASSERT_EQ(second.code, 0) << second.err;
  EXPECT_THAT(second.err, testing::Not(HasSubstr("lacks")));
  expect_trained("packed", 12);
  // Error feedback and sums are metered.
  const Ended meter = run({"meter", "packed", "--json"});
  ASSERT_EQ(meter.code, 0) << meter.err;
  EXPECT_THAT(meter.out, AllOf(HasSubstr("\"quantize_tiles\""), HasSubstr("\"dequantize_tiles\"")));
  // One machine says where the run can go on.
  const auto says_where = AllOf(HasSubstr("replica/0/error/"), HasSubstr("--on POOL"), HasSubstr("--on local:N"));
  const Ended alone = run({"train", "packed", "--resume", "--set", "train.steps=14"});
  EXPECT_NE(alone.code, 0);
  EXPECT_THAT(alone.err, says_where);
  const Ended replay = run({"replay", "packed", "--from", "8", "--steps", "1"});
  EXPECT_NE(replay.code, 0);
  EXPECT_THAT(replay.err, says_where);
}

// The newest snapshot is damaged: the run goes on from the one before, which knows nothing of replicas, and says so.
TEST_F(CliReplicas, ADamagedSnapshotLeavesTheOneBefore) {
  Words words = words_of("run", {"--set", "train.steps=4"});
  words.back() = "train.steps=4";
  words.insert(words.end(), {"--set", "pool.replicas=1"});
  ASSERT_EQ(run(words).code, 0);
  ASSERT_EQ(run({"train", "run", "--resume", "--on", "local:2", "--links", "lines.toml", "--set", "train.steps=8", "--set",
                 "pool.replicas=2", "--set", "codec.weights=ef4"})
                .code,
            0);
  std::string data;
  for (const auto& entry : std::filesystem::directory_iterator(std::string(folder_ / "run/checkpoints/step-00000008")))
    if (entry.path().extension() != ".json") data = entry.path();
  ASSERT_FALSE(data.empty());
  std::string bytes = content_of(data);
  bytes[bytes.size() / 4] = static_cast<char>(bytes[bytes.size() / 4] ^ 1);
  put(data, bytes);
  const Ended again = run({"train", "run", "--resume", "--on", "local:2", "--links", "lines.toml", "--set", "train.steps=12"});
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_THAT(again.err, AllOf(HasSubstr("SHA-256"), HasSubstr("step 5")));
  EXPECT_THAT(content_of(folder_ / "run/metrics.jsonl"), AllOf(HasSubstr("\"kind\":\"warning\""), HasSubstr("SHA-256")));
  expect_trained("run", 12);
}

TEST_F(CliReplicas, LanesOfLocalStepsTrainAndGoOn) {
  const Words local = {"--set", "local.inner_steps=4", "--set", "codec.weights=ef4", "--set", "local.delay=3",
                       "--set", "local.keep_local=0.5", "--set", "local.outer_lr=1", "--set", "local.outer_momentum=0"};
  Words words = words_of("lanes", local);
  words.insert(words.end(), {"--set", "train.steps=9"});
  const Ended first = run(words);
  ASSERT_EQ(first.code, 0) << first.err;
  EXPECT_THAT(first.err, AllOf(HasSubstr("1 stage: worker-"), HasSubstr(" + worker-"), HasSubstr("step 9")));
  // Step 9 lies between sending and applying.
  const Ended second = run({"train", "lanes", "--resume", "--on", "local:2", "--links", "lines.toml", "--set", "train.steps=14"});
  ASSERT_EQ(second.code, 0) << second.err;
  EXPECT_THAT(second.err, testing::Not(HasSubstr("lacks")));
  expect_trained("lanes", 14);
  const Ended meter = run({"meter", "lanes", "--json"});
  ASSERT_EQ(meter.code, 0) << meter.err;
  EXPECT_THAT(meter.out, AllOf(HasSubstr("\"quantize_tiles\""), HasSubstr("\"dequantize_tiles\"")));
  const Ended alone = run({"train", "lanes", "--resume", "--set", "train.steps=16"});
  EXPECT_NE(alone.code, 0);
  EXPECT_THAT(alone.err, AllOf(HasSubstr("outer."), HasSubstr("--on POOL")));
}

// The outer step after the last step is the only one there is, and the weights that all share are those of it.
TEST_F(CliReplicas, ARunThatEndsWithinARoundLeavesWhatItsLanesHaveLearned) {
  Words words = words_of("short", {"--set", "local.inner_steps=100", "--set", "codec.weights=ef4", "--set", "train.steps=8"});
  const Ended first = run(words);
  ASSERT_EQ(first.code, 0) << first.err;
  expect_trained("short", 8);
  const Ended second = run({"train", "short", "--resume", "--on", "local:2", "--links", "lines.toml", "--set", "train.steps=12"});
  ASSERT_EQ(second.code, 0) << second.err;
  EXPECT_THAT(second.err, testing::Not(HasSubstr("lacks")));
  expect_trained("short", 12);
}

TEST_F(CliReplicas, PackedSumsOfExactArithmeticAreRefused) {
  const Ended ended = run(words_of("exact", {"--set", "arith=exact", "--set", "codec.weights=ef4"}));
  EXPECT_NE(ended.code, 0);
  EXPECT_THAT(ended.err, AllOf(HasSubstr("codec.weights"), HasSubstr("exact")));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "exact/run.json"));
}

}  // namespace
}  // namespace suanli::cli
