// Benches, measured explanations and their traces through the built command.
#include <gmock/gmock.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <chrono>
#include <cmath>
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
  EXPECT_EQ(found["memory_limit_bytes"], 0);
  EXPECT_EQ(found["recomputed_blocks"], 0);
}

TEST_F(CliBench, ALimitRecomputesAndSaysSo) {
  const Words words = {"bench", "train-step-a", "--steps", "1", "--memory", "270Mi"};
  Words as_json = words;
  as_json.push_back("--json");
  const Ended ended = run(as_json);
  ASSERT_EQ(ended.code, 0) << ended.err;
  const auto found = ended.json();
  EXPECT_EQ(found["memory_limit_bytes"], 270 << 20);
  EXPECT_GT(found["recomputed_blocks"], 0);
  EXPECT_LE(found["state_bytes"].get<double>() + found["arena_bytes"].get<double>(), 270 << 20);
  EXPECT_THAT(run(words).out, AllOf(HasSubstr("all of the first"), HasSubstr("within 270 MiB")));
  const Ended refused = run({"bench", "train-step-a", "--memory", "1"});
  EXPECT_EQ(refused.code, 1);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("even with everything recomputed"), HasSubstr("no_memory")));
}

TEST_F(CliBench, CtrlCStopsBetweenStepsAndLeavesNothing) {
  for (const Words& words : {Words{"bench", "train-step-a", "--steps", "100000", "--trace", "t/step.json", "--json"},
                             Words{"bench", "train-step-a", "--steps", "100000", "--trace", "t/step.json"}}) {
    std::filesystem::create_directories(folder_ / "t");
    Running running = start(words);
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    running.send(SIGINT);
    const Ended ended = running.end();
    if (ended.code == 128 + SIGINT) continue;  // it came before the command was ready for it
    EXPECT_EQ(ended.code, 5) << ended.err;
    EXPECT_THAT(ended.err, AllOf(HasSubstr("stopping cleanly"), HasSubstr("stopped on request")));
    if (words.back() == "--json") {
      EXPECT_EQ(ended.json()["code"], "interrupted");
    }
    EXPECT_TRUE(std::filesystem::is_empty(folder_ / "t"));
  }
}

TEST_F(CliBench, MoreThreadsThanCoresAreWarnedOf) {
  const int cores = run({"doctor", "--json"}).json()["cores"];
  const Ended ended = run({"bench", "train-step-a", "--steps", "1", "--json", "--threads", std::to_string(2 * cores)});
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_THAT(ended.err, AllOf(HasSubstr("threads share " + std::to_string(cores) + " core"),
                               HasSubstr("--threads " + std::to_string(cores))));
  const auto found = ended.json();
  EXPECT_EQ(found["threads"], 2 * cores);
  const double per_core = found["nominal_flops_per_s"].get<double>() / found["clock_hz"].get<double>() / cores;
  EXPECT_NEAR(per_core, std::round(per_core), 1e-6) << "operations per cycle";
  EXPECT_LE(per_core, 1024.5);
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
  expect_usage({"bench", "--steps", "3"}, "--steps needs a case");
  expect_usage({"bench", "--memory", "1"}, "--memory needs a case");
  expect_usage({"bench", "--dtype", "f32"}, "--dtype needs a case");
  expect_usage({"bench", "--threads", "1"}, "--threads needs a case");
  std::filesystem::create_directory(folder_ / "steps");
  expect_usage({"bench", "train-step-b", "--trace", "steps"}, "'steps' is a folder");
  expect_usage({"bench", "train-step-b", "--trace", "/dev/null"}, "'/dev/null' is no regular file");
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

// With a limit another program is run than without: the one that is explained.
TEST_F(CliBench, AnExplanationUnderALimitMeasuresWhatItExplains) {
  put_job(5);
  const auto free = run({"explain", "job.toml", "--json"}).json()["memory"];
  const std::int64_t all = free["all"];
  EXPECT_EQ(all, free["total"].get<std::int64_t>() + free["snapshots"].get<std::int64_t>() +
                     free["evaluation"].get<std::int64_t>());
  const std::string limit = std::to_string(all - 1);
  const Ended ended = run({"explain", "job.toml", "--memory", limit, "--json", "--trace", "step.json"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  const auto found = ended.json();
  EXPECT_LE(found["memory"]["all"], all - 1);
  EXPECT_GT(found["memory"]["recomputed_blocks"], 0);
  std::size_t calls = 0;
  for (const auto& phase : found["phases"]) calls += phase["calls"].get<std::size_t>();
  const auto measured = found["measured"]["calls"];
  const auto traced = calls_of_trace(folder_ / "step.json");
  ASSERT_EQ(measured.size(), calls);
  ASSERT_EQ(traced.size(), calls);
  for (std::size_t i = 0; i < calls; ++i) {
    EXPECT_EQ(measured[i]["kernel"], traced[i]["name"]) << i;
    EXPECT_EQ(measured[i]["call"], traced[i]["args"]["call"]) << i;
    EXPECT_EQ(measured[i]["operands"], traced[i]["args"]["operands"]) << i;
  }
}

// Explaining and training agree about what a limit allows, and about the least there can be.
TEST_F(CliBench, ExplainRefusesALimitAsTrainDoes) {
  make_dataset();
  put_job(2);
  const auto plan = run({"explain", "job.toml", "--json"}).json()["memory"];
  const auto trained = run({"train", "job.toml", "--json"}).lines().front();
  EXPECT_EQ(trained["memory_bytes"], plan["all"]);
  EXPECT_EQ(trained["recomputed_blocks"], 0);
  std::filesystem::remove_all(folder_ / "run");
  const Ended explained = run({"explain", "job.toml", "--memory", "1"}), refused = run({"train", "job.toml", "--memory", "1"});
  EXPECT_EQ(explained.code, 1);
  EXPECT_EQ(explained.out, "");
  EXPECT_THAT(explained.err, AllOf(HasSubstr("even with everything recomputed"), HasSubstr("no_memory")));
  EXPECT_EQ(refused.code, 1);
  EXPECT_EQ(explained.err, refused.err);
}

TEST_F(CliBench, ATraceThatCannotBeWrittenDoesNotCostTheReport) {
  put_job(5);
  // No file may grow beyond 8 blocks: the report goes to a pipe, the trace is larger.
  put(folder_ / "limited",
      "{ (ulimit -f 8; exec " SUANLI_COMMAND " explain job.toml --json --trace step.json); echo $? > code; } | cat\n");
  const Ended limited = Running({"/bin/sh", folder_ / "limited"}, folder_.path(), environment_).end();
  EXPECT_EQ(content_of(folder_ / "code"), "1\n");
  const auto lines = limited.lines();
  ASSERT_EQ(lines.size(), 2u) << limited.err;
  EXPECT_FALSE(lines[0]["measured"].is_null());
  EXPECT_EQ(lines[1]["code"], "no_space");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "step.json"));
}

TEST_F(CliBench, MeasuredTablesShowShares) {
  put_job(5);
  EXPECT_THAT(run({"explain", "job.toml", "--measure"}).out,
              AllOf(HasSubstr("of limit"), HasSubstr("kernel calls"), HasSubstr("limits beside it")));
  EXPECT_THAT(run({"explain", "job.toml", "--measure", "--calls"}).out,
              AllOf(HasSubstr("predicted"), HasSubstr("layer_norm_backward")));
  EXPECT_EQ(run({"explain", "job.toml", "--measure", "--graph"}).code, 2);
}

}  // namespace
}  // namespace suanli::cli
