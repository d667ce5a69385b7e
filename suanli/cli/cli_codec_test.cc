// Codecs between the stages of a job, through the built command.
#include <gmock/gmock.h>

#include "suanli/cli/command_for_test.h"

namespace suanli::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class CliCodec : public CommandTest {
 protected:
  // So little text that 12 samples a step see all of it in about six steps.
  void SetUp() override {
    std::string text;
    for (int i = 0; i < 55; ++i) text += "the quick brown fox " + std::to_string(i % 7) + " jumps over the lazy dog.\n";
    put(folder_ / "text.txt", text);
    ASSERT_EQ(run({"data", "load", "text.txt", "--out", "data", "--valid", "0.1"}).code, 0);
    put_job(18);
  }
  Words words_of(const std::string& run, const Words& sets) {
    Words words = {"train", "job.toml", "--run", run, "--on", "local:2", "--quiet"};
    for (const char* set : {"pool.split=1,1", "train.micro_batches=3", "eval.every=0", "checkpoint.every=0", "train.dtype=f32"})
      words.insert(words.end(), {"--set", set});
    for (const std::string& set : sets) words.insert(words.end(), {"--set", set});
    return words;
  }
  std::vector<nlohmann::json> steps_of(const std::string& run) {
    std::vector<nlohmann::json> steps;
    std::istringstream in(content_of(folder_ / (run + "/metrics.jsonl")));
    for (std::string line; std::getline(in, line);)
      if (auto record = nlohmann::json::parse(line); record["kind"] == "step") steps.push_back(std::move(record));
    return steps;
  }
};

TEST_F(CliCodec, LessCrossesFromTheSecondEpochOnAndTrainingGoesOn) {
  const Ended plain = run(words_of("plain", {}));
  ASSERT_EQ(plain.code, 0) << plain.err;
  const Ended packed = run(words_of("packed", {"codec.forward=aq4", "codec.backward=direct8"}));
  ASSERT_EQ(packed.code, 0) << packed.err;
  const auto a = steps_of("plain"), b = steps_of("packed");
  ASSERT_EQ(a.size(), 18U);
  ASSERT_EQ(b.size(), 18U);
  const auto sent = [](const nlohmann::json& step) { return step["sent_bytes"].get<std::int64_t>(); };
  // A boundary of 3 x 4 x 32 x 32 f32 each way; the rest are the weights that two stages share.
  const std::int64_t crossing = 3 * 4 * 32 * 32 * 4;
  EXPECT_GT(sent(a[17]), 2 * crossing);
  EXPECT_LT(sent(b[0]), sent(a[0]) - crossing / 2);
  EXPECT_LT(sent(b[17]), sent(a[17]) - crossing / 2 - crossing / 2);
  EXPECT_NEAR(b[17]["loss"], a[17]["loss"], 0.1 * a[17]["loss"].get<double>());
  EXPECT_LT(b[17]["loss"], b[0]["loss"]);
}

TEST_F(CliCodec, TheSameRunEndsWithTheSameBits) {
  const auto root_of = [&](const std::string& name) {
    const Ended ended = run(words_of(name, {"codec.forward=aq3", "codec.backward=direct4", "arith=exact"}));
    EXPECT_EQ(ended.code, 0) << ended.err;
    return run({"digest", name, "--json"}).json()["root"];
  };
  EXPECT_EQ(root_of("one"), root_of("two"));
}

TEST_F(CliCodec, TheirOperationsAreMetered) {
  ASSERT_EQ(run(words_of("packed", {"codec.forward=aq4", "codec.backward=direct8", "train.steps=3"})).code, 0);
  const Ended meter = run({"meter", "packed", "--json"});
  ASSERT_EQ(meter.code, 0) << meter.err;
  EXPECT_THAT(meter.out, AllOf(HasSubstr("quantize_delta"), HasSubstr("dequantize_add"), HasSubstr("quantize_tiles_stochastic")));
}

// 216 samples come three times; of each worker's buffers a few have room.
TEST_F(CliCodec, WhatHasNoRoomIsSaidOnceForEachWorker) {
  const Ended ended = run(words_of("packed", {"codec.forward=aq4", "codec.memory=20000"}));
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(steps_of("packed").size(), 18U);
  int warnings = 0;
  std::istringstream in(content_of(folder_ / "packed/metrics.jsonl"));
  for (std::string line; std::getline(in, line);) {
    const auto record = nlohmann::json::parse(line);
    if (record["kind"] != "warning") continue;
    ++warnings;
    EXPECT_EQ(record["code"], "no_space");
    EXPECT_THAT(record.dump(), AllOf(HasSubstr("cross in full"), HasSubstr("codec.memory"), HasSubstr("worker ")));
  }
  EXPECT_EQ(warnings, 2);
}

TEST_F(CliCodec, AJobThatDoesNotFitIsRefusedWithTheFigures) {
  const Ended ended = run(words_of("small", {"codec.forward=aq4", "codec.backward=direct8", "run.memory_limit=400000"}));
  EXPECT_NE(ended.code, 0);
  EXPECT_THAT(ended.err, AllOf(HasSubstr("state and one micro-batch take"), HasSubstr("beside AQ-SGD's buffers"),
                               HasSubstr("give every worker ")));
}

TEST_F(CliCodec, WrongValuesAreRefusedByName) {
  const Ended bits = run(words_of("r", {"codec.forward=aq5"}));
  EXPECT_NE(bits.code, 0);
  EXPECT_THAT(bits.err, AllOf(HasSubstr("codec.forward"), HasSubstr("aq5"), HasSubstr("aq4")));
  const Ended stages = run(words_of("s", {"pool.split=", "pool.stages=7"}));
  EXPECT_NE(stages.code, 0);
  EXPECT_THAT(stages.err, AllOf(HasSubstr("7 stages are asked for; 2 workers are there"), HasSubstr("pool.stages")));
}

}  // namespace
}  // namespace suanli::cli
