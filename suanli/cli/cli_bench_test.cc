// Benches, measured explanations and their traces through the built command.
#include <gmock/gmock.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstddef>
#include <thread>

#include "suanli/cli/command_for_test.h"

namespace suanli::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class CliBench : public CommandTest {
 protected:
  // The kernel calls of a trace: complete, in order, one after the other.
  std::vector<nlohmann::json> calls_of_trace(const std::string& path) {
    const auto trace = nlohmann::json::parse(content_of(path), nullptr, false);
    std::vector<nlohmann::json> calls;
    if (trace.is_discarded()) {
      ADD_FAILURE() << "not JSON";
      return calls;
    }
    for (const auto& event : trace["traceEvents"])
      if (event["ph"] == "X") calls.push_back(event);
    double end = 0;
    for (const auto& call : calls) {
      constexpr double kRounding = 1e-3;  // microseconds; the clock's ticks are as coarse
      EXPECT_EQ(call["tid"], calls.front()["tid"]);
      EXPECT_GE(call["ts"].get<double>(), end - kRounding) << call;
      EXPECT_GE(call["dur"], 0);
      end = call["ts"].get<double>() + call["dur"].get<double>();
      for (const char* field : {"call", "block", "bytes", "flops", "implementation", "operands"})
        EXPECT_TRUE(call["args"].contains(field)) << field;
    }
    return calls;
  }
};

TEST_F(CliBench, WithoutACaseTheCasesAreListed) {
  const auto cases = run({"bench", "--json"}).json()["cases"];
  ASSERT_EQ(cases.size(), 2u);
  EXPECT_EQ(cases[1]["case"], "train-step-b");
  EXPECT_EQ(cases[1]["width"], 768);
  EXPECT_THAT(run({"bench"}).out, AllOf(HasSubstr("train-step-a"), HasSubstr("12 x 768")));
}

TEST_F(CliBench, AStepIsMeasuredAndTraced) {
  const Ended ended = run({"bench", "train-step-a", "--steps", "2", "--trace", "step.json", "--json"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  const auto found = ended.json();
  EXPECT_EQ(found["steps"], 2);
  EXPECT_EQ(found["params"], 10'770'816);
  const double seconds = found["step_ms_median"].get<double>() / 1e3;
  EXPECT_NEAR(found["tokens_per_s"].get<double>() * seconds, 4096, 1e-6);
  EXPECT_NEAR(found["efficiency"].get<double>() * found["calibration_flops_per_s"].get<double>() * seconds,
              found["flops_per_step"].get<double>(), 1);
  EXPECT_GT(found["gemm_share_of_calibration"], 0);
  EXPECT_LE(found["arena_least_bytes"], found["arena_bytes"]);
  EXPECT_GT(found["peak_rss_bytes"], found["arena_bytes"]);
  double start = 0;
  for (const auto& part : found["start_ms"]) start += part.get<double>();
  EXPECT_NEAR(found["start_to_first_step_ms"].get<double>(), start, 1e-6);
  std::size_t calls = 0;
  double milliseconds = 0;
  for (const auto& kind : found["kinds"]) {
    calls += kind["calls"].get<std::size_t>();
    milliseconds += kind["ms"].get<double>();
  }
  EXPECT_LT(milliseconds, 1.5 * found["step_ms_median"].get<double>());
  EXPECT_EQ(calls_of_trace(folder_ / "step.json").size(), calls);
}

TEST_F(CliBench, WrongWordsAreRefusedBeforeAnythingRuns) {
  const auto expect_usage = [&](const Words& words, const std::string& part) {
    const Ended ended = run(words);
    EXPECT_EQ(ended.code, 2) << ended.err;
    EXPECT_THAT(ended.err, HasSubstr(part));
    EXPECT_EQ(ended.out, "");
  };
  expect_usage({"bench", "train-step-c"}, "'train-step-c', did you mean 'train-step-");
  expect_usage({"bench", "train-step-a", "--dtype", "f16"}, "f16");
  expect_usage({"bench", "train-step-a", "--steps", "-1"}, "--steps");
  expect_usage({"bench", "--steps", "3"}, "need a case");
  const Ended trace = run({"bench", "train-step-b", "--trace", "no/such/step.json"});
  EXPECT_EQ(trace.code, 1);
  EXPECT_THAT(trace.err, HasSubstr("no/such/step.json"));
}

#if defined(__x86_64__)
// From here on this thread and its children are refused the tile registers, as by a kernel that does not grant them.
bool refuse_tiles() {
  constexpr unsigned kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_arch_prctl, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[0])),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kRequestPermission, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{sizeof code / sizeof *code, code};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

TEST_F(CliBench, WithoutTilesBf16IsHeldAgainstF32AndSaysSo) {
  bool refused = false;
  Ended ended;
  std::thread([&] {
    refused = refuse_tiles();
    if (refused) ended = run({"bench", "train-step-a", "--dtype", "bf16", "--steps", "1", "--json"});
  }).join();
  if (!refused) GTEST_SKIP() << "this kernel filters no system calls";
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_THAT(ended.err, AllOf(HasSubstr("no AMX tiles"), HasSubstr("next: use --dtype f32")));
  EXPECT_THAT(ended.json()["calibration_loop"].get<std::string>(), HasSubstr("f32 FMA"));
  EXPECT_EQ(ended.json()["dtype"], "bf16");
}
#endif

TEST_F(CliBench, AnExplanationIsMeasuredCallByCall) {
  put_job(5);
  const auto plain = run({"explain", "job.toml", "--json"}).json();
  EXPECT_TRUE(plain["measured"].is_null());
  const Ended ended = run({"explain", "job.toml", "--set", "train.micro_batches=2", "--json", "--trace", "step.json"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  const auto found = ended.json();
  const auto measured = found["measured"];
  std::size_t calls = 0;
  double flops = 0, bytes = 0;
  for (const auto& phase : found["phases"]) {
    calls += phase["calls"].get<std::size_t>();
    bytes += phase["bytes_after"].get<double>();
  }
  ASSERT_EQ(measured["calls"].size(), calls);
  for (const auto& call : measured["calls"]) {
    EXPECT_GE(call["measured_ms"], 0);
    const double rate = call["kernel"] == "matmul" ? measured["product_flops_per_s"].get<double>() : 1e30;
    EXPECT_GE(call["predicted_ms"].get<double>() * 1.0000001,
              1e3 * std::max(call["bytes"].get<double>() / measured["bytes_per_s"].get<double>(),
                             call["flops"].get<double>() / rate));
    flops += call["flops"].get<double>();
    bytes -= call["bytes"].get<double>();
  }
  EXPECT_NEAR(bytes, 0, 1);
  EXPECT_GT(flops, 0.9 * found["step_flops"].get<double>());
  EXPECT_LT(flops, 1.5 * found["step_flops"].get<double>()) << "some values are computed twice";
  EXPECT_EQ(calls_of_trace(folder_ / "step.json").size(), calls);
}

TEST_F(CliBench, MeasuredTablesShowShares) {
  put_job(5);
  EXPECT_THAT(run({"explain", "job.toml", "--measure"}).out,
              AllOf(HasSubstr("of limit"), HasSubstr("kernel calls"), HasSubstr("limits beside it")));
  EXPECT_THAT(run({"explain", "job.toml", "--measure", "--calls"}).out,
              AllOf(HasSubstr("predicted"), HasSubstr("layer_norm_backward")));
  EXPECT_EQ(run({"explain", "job.toml", "--measure", "--graph"}).code, 2);
}

// The script beside PyTorch, with stand-ins for both programs.
class PeersScript : public CliBench {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists("/usr/bin/python3")) GTEST_SKIP() << "no Python";
    put_program("suanli",
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

TEST_F(PeersScript, RatiosAreOfMediansAndDisturbedRunsAreMadeAgain) {
  put_program("python",
              "[ $1 = -c ] && exit\n"
              "echo '{\"version\":\"1.13\",\"tokens_per_s\":100,\"cpu_per_wall\":1.9,\"peak_rss_bytes\":2147483648,"
              "\"start_to_first_step_ms\":1000}'");
  const Ended ended = run_script({"--rounds", "3", "--json"});
  if (ended.code != 0 && ended.err.find("libopenblas0-openmp") != std::string::npos)
    GTEST_SKIP() << "the script asks for OpenBLAS first";
  ASSERT_EQ(ended.code, 0) << ended.err;
  const auto row = ended.json()["rows"][0];
  EXPECT_EQ(row["discarded"]["suanli"], 1);
  EXPECT_EQ(row["tokens_per_s_of_runs"]["suanli"], (std::vector{100, 300, 400})) << "the second had half the cores";
  EXPECT_EQ(row["tokens_per_s"]["ratio"], 3.0);
  EXPECT_EQ(row["peak_rss_bytes"]["ratio"], 0.5);
  EXPECT_THAT(run_script({"train-step-x"}).err, HasSubstr("there is no bench 'train-step-x'"));
}

}  // namespace
}  // namespace suanli::cli
