// bench/peers/train_step.py: what it makes of runs, and of things that are no programs.
#include <gmock/gmock.h>

#include "suanli/cli/command_for_test.h"

namespace suanli::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// With stand-ins for both programs.
class PeersScript : public CommandTest {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists("/usr/bin/python3")) GTEST_SKIP() << "no Python";
    put_program("suanli",
                "if [ $1 = doctor ]; then echo '{\"cores\":2}'; exit; fi\n"
                "if [ $# = 2 ]; then echo '{\"cases\":[{\"case\":\"train-step-a\",\"layers\":1,\"heads\":1,\"width\":8,"
                "\"context\":8,\"vocab\":9,\"batch\":1}]}'; exit; fi\n"
                "echo x >> runs; n=$(wc -l < runs)\n"
                "cores=2; [ $n = 2 ] && cores=0.9\n"
                "echo '{\"tokens_per_s\":'$((n * 100))',\"cpu_per_wall\":'$cores',\"peak_rss_bytes\":1073741824,"
                "\"start_to_first_step_ms\":500,\"efficiency\":0.5}'");
  }
  void put_program(const std::string& name, const std::string& script) {
    put(folder_ / name, "#!/bin/sh\n" + script + "\n");
    std::filesystem::permissions(folder_.path() + "/" + name, std::filesystem::perms::owner_all);
  }
  Ended run_script(Words words) {
    words.insert(words.begin(), {"/usr/bin/python3", std::string(SUANLI_SOURCE_DIR) + "/bench/peers/train_step.py", "--suanli",
                                 folder_ / "suanli", "--python", folder_ / "python", "--threads", "2"});
    return Running(words, folder_.path(), environment_).end();
  }
};

TEST_F(PeersScript, WithoutTorchTheNextStepIsNamed) {
  put_program("python", "exit 1");
  const Ended ended = run_script({});
  EXPECT_EQ(ended.code, 1);
  EXPECT_THAT(ended.err, AllOf(HasSubstr("has no torch"), HasSubstr("apt install python3-torch")));
  EXPECT_EQ(ended.out, "");
}

TEST_F(PeersScript, WhatIsNoProgramIsToldInWords) {
  const auto expect_told = [&](const Words& words, const std::string& part) {
    const Ended ended = run_script(words);
    EXPECT_EQ(ended.code, 1) << ended.err;
    EXPECT_THAT(ended.err, AllOf(HasSubstr(part), HasSubstr("  next: "), ::testing::Not(HasSubstr("Traceback"))));
  };
  put_program("python", "exit 0");
  expect_told({"--suanli", folder_.path()}, "not a program");
  expect_told({"--python", folder_.path()}, "not a program");
  expect_told({"--suanli", "/bin/true"}, "printed no JSON");
  put_program("suanli", "echo '{}'");
  expect_told({}, "has no 'cases'");
}

TEST_F(PeersScript, CtrlCEndsItQuietly) {
  put_program("python", "echo > started; exec sleep 60");
  Running running({"/bin/sh", "-c",
                   "exec /usr/bin/python3 " + std::string(SUANLI_SOURCE_DIR) + "/bench/peers/train_step.py --suanli " +
                       (folder_ / "suanli") + " --python " + (folder_ / "python")},
                  folder_.path(), environment_);
  running.wait_for([&](const std::string&) { return std::filesystem::exists(folder_ / "started"); });
  running.send(SIGINT);
  const Ended ended = running.end();
  EXPECT_EQ(ended.code, 130) << ended.err;
  EXPECT_THAT(ended.err, ::testing::Not(HasSubstr("Traceback")));
}

TEST_F(PeersScript, RatiosAreOfMediansAndDisturbedRunsAreMadeAgain) {
  put_program("python",
              "[ $1 = -c ] && exit\n"
              "echo x >> torch_runs\n"
              "echo '{\"version\":\"1.13\",\"tokens_per_s\":100,\"cpu_per_wall\":1.9,\"peak_rss_bytes\":2147483648,"
              "\"start_to_first_step_ms\":1000}'");
  const Ended ended = run_script({"--rounds", "3", "--json"});
  if (ended.code != 0 && ended.err.find("libopenblas0-openmp") != std::string::npos)
    GTEST_SKIP() << "the script asks for OpenBLAS first";
  ASSERT_EQ(ended.code, 0) << ended.err;
  const auto row = ended.json()["rows"][0];
  EXPECT_EQ(row["discarded"]["suanli"], 1);
  EXPECT_EQ(row["runs"]["torch"], 3);
  EXPECT_EQ(row["tokens_per_s_of_runs"]["suanli"], (std::vector{100, 300, 400})) << "the second had half the cores";
  EXPECT_EQ(content_of(folder_ / "torch_runs"), "x\nx\nx\nx\nx\n") << "four rounds, and one run for memory";
  EXPECT_EQ(row["tokens_per_s"]["ratio"], 3.0);
  EXPECT_EQ(row["peak_rss_bytes"]["ratio"], 0.5);
  EXPECT_THAT(run_script({"train-step-x"}).err, HasSubstr("there is no bench 'train-step-x'"));
  EXPECT_THAT(run_script({"--dtype", "bf16", "train-step-x"}).err, HasSubstr("there is no bench 'train-step-x'"));
  EXPECT_THAT(run_script({"--rounds", "2", "--dtype", "f32,bf16"}).out,
              AllOf(HasSubstr("runs (disturbed)"), HasSubstr("2 (0)")));
  const Ended busy = run_script({"--rounds", "2", "--least-cpu", "0.99"});  // PyTorch never has its cores
  EXPECT_EQ(busy.code, 1);
  EXPECT_THAT(busy.err, HasSubstr("of 4 rounds 0 were undisturbed, fewer than 2"));
}

}  // namespace
}  // namespace suanli::cli
