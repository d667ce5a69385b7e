// The whole flow through the built command: from a text to a trained model, stopped and resumed.
#include <gmock/gmock.h>

#include "suanli/cli/command_for_test.h"

namespace suanli::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class Cli : public CommandTest {};

// What the newest checkpoint holds.
std::string root_of(const nlohmann::json& list) { return list["checkpoints"].back()["root"]; }

TEST_F(Cli, FromTextToGeneratedText) {
  make_dataset();
  put_job(20);
  const Ended info = run({"data", "info", "data", "--json"});
  EXPECT_EQ(info.json()["tokenizer"], "bytes");
  EXPECT_GT(info.json()["valid"]["tokens"], 1000);
  EXPECT_EQ(run({"data", "verify", "data", "--json"}).json()["digest"], info.json()["digest"]);

  const Ended trained = run({"train", "job.toml"});
  ASSERT_EQ(trained.code, 0) << trained.err;
  EXPECT_THAT(trained.out,
              AllOf(HasSubstr("finished step 20 of 20"), HasSubstr("validation loss"),
                    HasSubstr("bits/byte"), HasSubstr("What it writes"), HasSubstr("backward"),
                    HasSubstr("Try next"), HasSubstr("⠤⠤ training")));
  EXPECT_THAT(trained.err, AllOf(HasSubstr("step 1/20"), HasSubstr("tok/s"), HasSubstr("ETA")));
  EXPECT_THAT(trained.out, Not(HasSubstr("\x1b["))) << "no colours in a file";
  EXPECT_THAT(content_of(folder_ / "run/loss.svg"), HasSubstr("</svg>"));

  const auto eval = run({"eval", "run", "--json"}).json();
  EXPECT_EQ(eval["step"], 20);
  EXPECT_NEAR(eval["perplexity"], std::exp(eval["loss"].get<double>()), 1e-9);
  EXPECT_LT(eval["loss"], 5.4) << "better than no training";
  EXPECT_EQ(run({"eval", "run", "--data", "data", "--split", "valid", "--json"}).json()["loss"],
            eval["loss"]);

  const Words generate = {"generate", "run", "--prompt", "the ", "--tokens", "12", "--seed", "3"};
  const Ended text = run(generate);
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_THAT(text.out, ::testing::StartsWith("the "));
  EXPECT_EQ(text.out.size(), 4 + 12 + 1u);
  EXPECT_EQ(run(generate).out, text.out) << "the same seed gives the same text";

  const auto explained = run({"explain", "run", "--json"}).json();
  EXPECT_GT(explained["step_flops"], 1e6);
  EXPECT_EQ(explained["phases"].size(), 3u);
  EXPECT_GT(explained["memory"]["total"], explained["memory"]["state"]);
  EXPECT_EQ(explained["cuts"].size(), 3u) << "embedding | 1 | 2 | head";
  EXPECT_EQ(run({"plot", "run", "--json"}).json()["steps"], 20);
  EXPECT_EQ(
      run({"ckpt", "list", "run", "--verify", "--json"}).json()["checkpoints"].back()["state"],
      "verified");
}

TEST_F(Cli, DigestTellsTheStateAndEachTensor) {
  make_dataset();
  put_job(20);
  ASSERT_EQ(run({"train", "job.toml", "--run", "a", "--quiet"}).code, 0);
  ASSERT_EQ(run({"train", "job.toml", "--run", "b", "--quiet"}).code, 0);
  ASSERT_EQ(run({"train", "job.toml", "--run", "c", "--quiet", "--set", "train.seed=9"}).code, 0);
  const auto a = run({"digest", "a", "--json"}).json(), b = run({"digest", "b", "--json"}).json();
  EXPECT_EQ(a["root"], b["root"]);
  EXPECT_NE(a["root"], run({"digest", "c", "--json"}).json()["root"]);
  EXPECT_EQ(a["root"], run({"ckpt", "list", "a", "--json"}).json()["checkpoints"].back()["root"]);
  EXPECT_EQ(a["tensors"].size(), b["tensors"].size());
  const auto one = run({"digest", "a", "--tensor", "wte.weight", "--json"}).json();
  ASSERT_EQ(one["tensors"].size(), 1u);
  EXPECT_EQ(one["root"], a["root"]);
  EXPECT_THAT(run({"digest", "a", "--tensors"}).out, HasSubstr(one["tensors"][0]["sha256"].get<std::string>()));
  const Ended no_step = run({"digest", "a", "--step", "7"}), no_tensor = run({"digest", "a", "--tensor", "wte"});
  EXPECT_THAT(no_step.err, AllOf(HasSubstr("--step"), HasSubstr("it keeps those of steps")));
  EXPECT_THAT(no_tensor.err, AllOf(HasSubstr("'wte'"), HasSubstr("--tensors")));
  EXPECT_NE(run({"digest", "nowhere"}).code, 0);
}

TEST_F(Cli, StoppedAndResumedEndsWithTheSameWeights) {
  make_dataset();
  // Long enough that the signal comes before the end, however late it is.
  put_job(500);
  const Ended whole = run({"train", "job.toml", "--run", "whole", "--json"});
  ASSERT_EQ(whole.code, 0) << whole.err;

  Running running = start({"train", "job.toml", "--run", "parts", "--json"});
  running.wait_for(
      [](const std::string& out) { return out.find("\"step\":5,") != std::string::npos; });
  running.send(SIGINT);
  const Ended stopped = running.end();
  ASSERT_EQ(stopped.code, 5) << stopped.err;
  const auto end = stopped.lines().back();
  EXPECT_EQ(end["event"], "end");
  EXPECT_EQ(end["outcome"], "interrupted");
  EXPECT_EQ(end["exit_code"], 5);
  ASSERT_LT(end["step"], 500);
  ASSERT_GE(end["step"], 5);

  const Ended again = run({"train", "parts", "--resume", "--json"});
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(again.lines().front()["step"], end["step"]);
  EXPECT_EQ(again.lines().back()["step"], 500);
  EXPECT_EQ(root_of(run({"ckpt", "list", "parts", "--json"}).json()),
            root_of(run({"ckpt", "list", "whole", "--json"}).json()));
}

TEST_F(Cli, ABudgetEndsTheRunWithItsOwnExitCode) {
  make_dataset();
  put_job(60);
  const Ended spent = run({"train", "job.toml", "--budget", "200M", "--json"});
  ASSERT_EQ(spent.code, 7) << spent.err;
  EXPECT_EQ(spent.lines().back()["outcome"], "budget spent");
  EXPECT_LE(spent.lines().back()["flops"], 2e8);
  const Ended report = run({"train", "run", "--resume", "--quiet"});
  EXPECT_EQ(report.code, 7);
  EXPECT_THAT(report.out, HasSubstr("--resume --budget 4e+08"));
}

TEST_F(Cli, EveryTrainingEventIsALineOfJson) {
  make_dataset();
  put_job(20);
  const Ended trained = run({"train", "job.toml", "--set", "sample.every=10", "--json"});
  ASSERT_EQ(trained.code, 0) << trained.err;
  std::map<std::string, int> counts;
  for (const auto& line : trained.lines()) ++counts[line["event"]];
  EXPECT_EQ(counts["start"], 1);
  EXPECT_EQ(counts["step"], 20);
  EXPECT_EQ(counts["eval"], 2);
  EXPECT_EQ(counts["sample"], 2);
  EXPECT_GE(counts["checkpoint"], 1);
  EXPECT_EQ(counts["end"], 1);
}

TEST_F(Cli, WithoutUtf8ThereIsOnlyAscii) {
  environment_["LC_ALL"] = "C";
  make_dataset();
  put_job(3);
  const Ended trained = run({"train", "job.toml"});
  ASSERT_EQ(trained.code, 0) << trained.err;
  const std::size_t sample = trained.out.find("What it writes");
  EXPECT_TRUE(std::ranges::all_of(trained.out.substr(0, sample), [](unsigned char c) {
    return c < 127;
  })) << trained.out;
}

TEST_F(Cli, DoctorNamesTheCodeThatWasChosen) {
  const auto found = run({"doctor", "--json"}).json();
  EXPECT_GE(found["cores"], 1);
  ASSERT_EQ(found["gemm"].size(), 2u);
  for (const auto& gemm : found["gemm"])
    EXPECT_THAT(gemm["implementation"].get<std::string>(), testing::AnyOf(HasSubstr("tiles"), HasSubstr("blocks")));
  EXPECT_FALSE(found["simd"].get<std::string>().empty());
  EXPECT_THAT(run({"doctor"}).out,
              AllOf(HasSubstr("oneDNN"), HasSubstr("Highway"), HasSubstr("AMX tiles")));
}

TEST_F(Cli, CorporaAreListedWithWhatToInstall) {
  const auto list = run({"data", "list", "--json"}).json();
  ASSERT_GE(list["corpora"].size(), 3u);
  for (const auto& corpus : list["corpora"])
    EXPECT_THAT(corpus["install"].get<std::string>(), HasSubstr("install")) << corpus;
}

TEST_F(Cli, CompletionKnowsVerbsAndFlags) {
  put(folder_ / "suanli.bash", run({"completion", "bash"}).out);
  const auto completed = [&](const std::string& line) {
    const std::string script = "source suanli.bash; COMP_WORDS=(" + line +
                               " ''); COMP_CWORD=$((${#COMP_WORDS[@]} - 1));" +
                               "[[ ${COMP_WORDS[COMP_CWORD-1]} == -* ]] && { unset "
                               "'COMP_WORDS[COMP_CWORD]'; ((COMP_CWORD--)); };" +
                               "_suanli; echo \"${COMPREPLY[@]}\"";
    return Running({"/bin/bash", "-c", script}, folder_.path(), environment_).end().out;
  };
  EXPECT_THAT(completed("suanli"), AllOf(HasSubstr("train"), HasSubstr("doctor")));
  EXPECT_EQ(completed("suanli data"), "list fetch load info verify\n");
  EXPECT_EQ(completed("suanli data load --ov"), "--overwrite\n");
  EXPECT_EQ(completed("suanli train job.toml --res"), "--resume\n");
}

}  // namespace
}  // namespace suanli::cli
