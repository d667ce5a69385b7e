// Replaying runs through the built command.
#include <gmock/gmock.h>

#include "suanli/cli/command_for_test.h"

namespace suanli::cli {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

class CliReplay : public CommandTest {
 protected:
  void train_run(const std::string& run, const Words& more = {}) {
    if (!std::filesystem::exists(folder_ / "data")) make_dataset();
    put_job(12);
    Words words = {"train",
                   "job.toml",
                   "--run",
                   run,
                   "--quiet",
                   "--set",
                   "arith=exact",
                   "--set",
                   "checkpoint.every=4",
                   "--set",
                   "checkpoint.keep=9",
                   "--set",
                   "checkpoint.digest_every=2"};
    words.insert(words.end(), more.begin(), more.end());
    const Ended ended = this->run(words);
    ASSERT_EQ(ended.code, 0) << ended.err;
  }
};

TEST_F(CliReplay, AnHonestRunIsEqual) {
  train_run("run");
  const Ended text = run({"replay", "run", "--from", "4", "--steps", "5"});
  ASSERT_EQ(text.code, 0) << text.err;
  EXPECT_THAT(text.out, AllOf(HasSubstr("5 steps from step 4"), HasSubstr("equal      up to step 9")));
  const json scalar = run({"replay", "run", "--isa", "scalar", "--threads", "2", "--json"}).json();
  EXPECT_EQ(scalar["isa"], "scalar");
  EXPECT_EQ(scalar["arithmetic"], "exact/1");
  EXPECT_EQ(scalar["threads"], 2);
  EXPECT_EQ(scalar["to"], 12);
  EXPECT_EQ(scalar["compared_figures"], 12);
  EXPECT_GE(scalar["compared_roots"], 6);
  EXPECT_EQ(scalar["equal"], true);
  EXPECT_TRUE(scalar["difference"].is_null());
}

TEST_F(CliReplay, TwoRunsAreComparedByTheirRoots) {
  train_run("a");
  train_run("b", {"--set", "run.threads=2"});
  const json same = run({"replay", "a", "--against", "b", "--json"}).json();
  EXPECT_EQ(same["equal"], true);
  EXPECT_EQ(same["recomputed_steps"], 0) << "their last roots are equal";
  // What b says of step 10 is not so.
  std::istringstream lines(content_of(folder_ / "b/metrics.jsonl"));
  std::string text;
  for (std::string line; std::getline(lines, line);) {
    json record = json::parse(line);
    if (record["kind"] == "digest" && record["step"] >= 10) record["root"] = std::string(64, 'a');
    if (record["kind"] == "step" && record["step"] >= 9) record["grad_norm"] = 0.125;
    text += record.dump() + "\n";
  }
  put(folder_ / "b/metrics.jsonl", text);
  std::filesystem::remove_all(folder_ / "b/checkpoints/step-00000012");
  const Ended differs = run({"replay", "a", "--against", "b", "--json"});
  EXPECT_EQ(differs.code, 8) << differs.err;
  const json found = differs.json();
  EXPECT_EQ(found["equal"], false);
  EXPECT_EQ(found["from"], 8);
  EXPECT_EQ(found["difference"]["step"], 9);
  EXPECT_EQ(found["difference"]["sign"], "grad_norm");
  EXPECT_EQ(found["difference"]["last_equal"], 8);
  EXPECT_LE(found["recomputed_steps"], 2);
  EXPECT_EQ(found["accused"], "against");
  const Ended swapped = run({"replay", "b", "--against", "a", "--json"});
  EXPECT_EQ(swapped.code, 8);
  EXPECT_EQ(swapped.json()["accused"], "run");
  EXPECT_EQ(swapped.json()["difference"]["step"], 9);
  EXPECT_THAT(run({"replay", "a", "--against", "b"}).out, AllOf(HasSubstr("differs    in step 9"), HasSubstr("--ops --json")));
}

TEST_F(CliReplay, OpsOfAStepAreComparedWithAnotherMachines) {
  train_run("run");
  const Ended ops = run({"digest", "run", "--step", "6", "--ops", "--json"});
  ASSERT_EQ(ops.code, 0) << ops.err;
  json claims = ops.json();
  EXPECT_GT(claims["ops"].size(), 100U);
  put(folder_ / "ops.json", claims.dump());
  EXPECT_EQ(run({"replay", "run", "--against", "ops.json", "--isa", "avx2"}).code, 0);
  std::size_t at = 0;
  while (claims["ops"][at]["op"] != "gelu") ++at;
  claims["ops"][at]["leaves"][0] = std::string(64, '0');
  claims["root"] = std::string(64, '0');
  put(folder_ / "ops.json", claims.dump());
  const Ended differs = run({"replay", "run", "--against", "ops.json"});
  EXPECT_EQ(differs.code, 8) << differs.err;
  EXPECT_THAT(differs.out, AllOf(HasSubstr("step 6"), HasSubstr("gelu %"), HasSubstr("element    [0, 0] or one of the")));
  const json one =
      run({"digest", "run", "--step", "6", "--op", std::to_string(claims["ops"][at]["node"].get<int>()), "--json"}).json();
  EXPECT_EQ(one["ops"][0]["op"], "gelu");
}

TEST_F(CliReplay, WrongInputsAreNamed) {
  train_run("run");
  EXPECT_THAT(run({"replay", "nowhere"}).err, HasSubstr("nowhere"));
  const Ended beyond = run({"replay", "run", "--from", "8", "--steps", "9"});
  EXPECT_EQ(beyond.code, 2);
  EXPECT_THAT(beyond.err, AllOf(HasSubstr("step 17"), HasSubstr("12")));
  EXPECT_EQ(run({"replay", "run", "--isa", "sse"}).code, 2);
  put(folder_ / "half.json", R"({"run":"run","step":6,"job":")" + std::string(64, 'a') + R"(","root":")" +
                                 std::string(64, 'a') + R"(","ops":[{"micro_batch":0}]})");
  EXPECT_THAT(run({"replay", "run", "--against", "half.json"}).err,
              AllOf(HasSubstr("half.json"), HasSubstr("'node' of ops[0]")));
  put(folder_ / "none.json", "[]");
  EXPECT_THAT(run({"replay", "run", "--against", "none.json"}).err, HasSubstr("foreign"));
  EXPECT_THAT(run({"digest", "run", "--step", "13", "--ops"}).err, HasSubstr("1 to 12"));
  EXPECT_THAT(run({"digest", "run", "--op", "99999"}).err, HasSubstr("99999"));
  train_run("other", {"--set", "train.seed=7"});
  EXPECT_THAT(run({"replay", "run", "--against", "other"}).err, HasSubstr("not a run of the same job"));
}

}  // namespace
}  // namespace suanli::cli
