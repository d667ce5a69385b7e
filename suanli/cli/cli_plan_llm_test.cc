// suanli plan llm, solve, cluster, sweep and founding through the built command.
#include <gmock/gmock.h>

#include "suanli/cli/command_for_test.h"

namespace suanli::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class CliPlanLlm : public CommandTest {
 protected:
  void expect_refused(const Words& words, int code, const std::string& place, const std::string& message) {
    const Ended ended = run(words);
    EXPECT_EQ(ended.code, code) << ended.err;
    EXPECT_THAT(ended.err, AllOf(HasSubstr(place), HasSubstr(message), HasSubstr("next: ")));
    EXPECT_EQ(ended.out, "");
  }
};

double expected(const nlohmann::json& plan, const char* key) { return plan["figures"][key]["expected"]; }

const Words kLlama = {"plan", "llm", "--params", "405e9", "--tokens", "15.6T tokens", "--device", "H100", "--count", "16384"};

Words with(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

TEST_F(CliPlanLlm, LlmAnswersWithIntervals) {
  const Ended ended = run(with(kLlama, {"--mfu", "40 %", "--price-per-hour", "$2/h", "--json"}));
  ASSERT_EQ(ended.code, 0) << ended.err;
  const auto plan = ended.json();
  EXPECT_EQ(plan["device"], "H100-SXM-80GB");
  EXPECT_EQ(plan["layout"]["tensor"].get<int>() * plan["layout"]["pipeline"].get<int>() * plan["layout"]["data"].get<int>(),
            16384);
  EXPECT_DOUBLE_EQ(expected(plan, "mfu"), 0.4);
  EXPECT_DOUBLE_EQ(expected(plan, "money_usd"), 2 * expected(plan, "device_hours"));
  const auto time = plan["figures"]["time_s"];
  EXPECT_LT(time["low"], time["expected"]);
  EXPECT_GT(time["high"], time["expected"]);
  EXPECT_EQ(time["unit"], "s");
  EXPECT_FALSE(time["influences"].empty());
  EXPECT_GT(plan["assumptions"].size(), 10u);
  EXPECT_TRUE(plan["warnings"].empty());
}

TEST_F(CliPlanLlm, WhyNamesSources) {
  const Ended plain = run(kLlama), why = run(with(kLlama, {"--why"}));
  ASSERT_EQ(why.code, 0) << why.err;
  EXPECT_THAT(plain.out, AllOf(HasSubstr("goodput"), HasSubstr("expected"), ::testing::Not(HasSubstr("Assumptions"))));
  EXPECT_THAT(why.out, AllOf(HasSubstr("Assumptions"), HasSubstr("NVIDIA H100 page"), HasSubstr("uncertain because of"),
                             HasSubstr("Notes")));
}

TEST_F(CliPlanLlm, TheSparsePeakIsATrapThatIsExplained) {
  const Ended ended = run(with(kLlama, {"--peak", "1979 TFLOP/s", "--mfu", "0.4", "--json"}));
  ASSERT_EQ(ended.code, 0);
  EXPECT_THAT(ended.err, AllOf(HasSubstr("warning: --peak"), HasSubstr("twice the dense 989 TFLOP/s"), HasSubstr("fp8")));
  EXPECT_EQ(ended.json()["warnings"].size(), 1u);
  const Ended as_fp8 = run(with(kLlama, {"--peak", "1979 TFLOP/s", "--mfu", "0.4", "--dtype", "fp8", "--json"}));
  EXPECT_EQ(as_fp8.err, "");
}

TEST_F(CliPlanLlm, WhatDoesNotFitIsOneErrorWithThreeWays) {
  const Ended ended = run({"plan", "llm", "--params", "405B", "--tokens", "15T", "--device", "H100", "--count", "8", "--json"});
  EXPECT_EQ(ended.code, 1);
  EXPECT_THAT(ended.err, AllOf(HasSubstr("GiB more than the"), HasSubstr("(1)"), HasSubstr("(3)"), HasSubstr("no_memory")));
  EXPECT_EQ(ended.json()["code"], "no_memory");
}

TEST_F(CliPlanLlm, ImpossibleQuantitiesAreRefused) {
  const auto llm = [](const Words& more) { return with({"plan", "llm", "--device", "H100"}, more); };
  expect_refused(llm({"--params", "-5", "--tokens", "1e9", "--count", "8"}), 2, "--params", "'-5' is negative");
  expect_refused(llm({"--params", "1e9", "--tokens", "1e9", "--count", "0"}), 2, "--count", "'0' is zero");
  expect_refused(llm({"--params", "1e9", "--tokens", "1e9", "--count", "2.5"}), 2, "--count", "not a whole number");
  expect_refused(llm({"--params", "1e9", "--tokens", "1e9"}), 2, "--count", "is missing");
  expect_refused(llm({"--tokens", "1e9", "--count", "8"}), 2, "--params", "tokens but no parameters");
  expect_refused(llm({"--params", "1e9", "--count", "8"}), 2, "--tokens", "no tokens");
  expect_refused(llm({"--params", "1e9", "--tokens", "nan", "--count", "8"}), 2, "--tokens", "not a finite number");
  expect_refused(llm({"--params", "15T tokens", "--tokens", "1e9", "--count", "8"}), 2, "--params", "is a number of tokens");
  expect_refused(llm({"--params", "1e9", "--tokens", "1e9", "--count", "8", "--mfu", "1.4"}), 2, "--mfu", "more than 1");
  expect_refused(llm({"--params", "1e9", "--tokens", "1e9", "--count", "8", "--tp", "4", "--pp", "4", "--dp", "1"}), 2, "--tp",
                 "not 8");
  expect_refused(llm({"--params", "1e9", "--tokens", "1e9", "--count", "8", "--electricity", "us-industril"}), 2, "--electricity",
                 "us-industrial");
  expect_refused(llm({"--params", "1e9", "--tokens", "1e9", "--count", "8", "--stack", "megatrom"}), 2, "--stack", "megatron");
  expect_refused(llm({"--params", "1e9", "--tokens", "1e9", "--count", "8", "--pue", "0.9"}), 2, "--pue", "below 1");
  expect_refused({"plan", "llm", "--device", "H10O", "--params", "1e9", "--tokens", "1e9", "--count", "8"}, 2, "--device",
                 "did you mean 'H100'");
}

TEST_F(CliPlanLlm, AFileAddsDevices) {
  put(folder_ / "mine.toml",
      "[[device]]\nname = \"X-1\"\nsource = \"its maker\"\nbf16_dense_tflops = 100\nmemory_gib = 80\npower_w = 200\n");
  const Words words = {"plan",    "llm", "--params",       "1B",        "--tokens", "1B", "--device", "x1",
                       "--count", "8",   "--devices-file", "mine.toml", "--json"};
  const Ended ended = run(words);
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_DOUBLE_EQ(expected(ended.json(), "peak_flops_per_s"), 8e14);
  EXPECT_THAT(ended.err, HasSubstr("no price of X-1"));
  put(folder_ / "mine.toml", "[[device]]\nname = \"X-1\"\nsource = \"its maker\"\nbf16_dense_tflops = -100\n");
  expect_refused(
      {"plan", "llm", "--params", "1B", "--tokens", "1B", "--device", "x1", "--count", "8", "--devices-file", "mine.toml"}, 3,
      "mine.toml:4", "'bf16_dense_tflops'");
}

TEST_F(CliPlanLlm, SolveFindsTheUnknown) {
  const Words founding = {"plan",    "solve",  "params", "--device",       "H100",        "--count",
                          "100000",  "--days", "100",    "--tokens",       "15e12",       "--peak",
                          "1979e12", "--mfu",  "1",      "--no-attention", "--no-faults", "--json"};
  const Ended ended = run(founding);
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_NEAR(expected(ended.json(), "parameters"), 19e12, 0.002e12);
  EXPECT_EQ(ended.json()["unknown"], "parameters");
  const auto split = run({"plan", "solve", "split", "--flops", "1e24", "--json"}).json();
  EXPECT_NEAR(expected(split, "tokens"), 20 * expected(split, "parameters"), 1);
  expect_refused({"plan", "solve", "params", "--device", "H100", "--tokens", "1T"}, 2, "to find the parameters", "(--count)");
  expect_refused({"plan", "solve", "tokns", "--device", "H100"}, 2, "suanli plan solve", "did you mean 'tokens'");
}

TEST_F(CliPlanLlm, ClusterCountsByTheFoundingConventions) {
  const Words words = {"plan",
                       "cluster",
                       "--device",
                       "H100",
                       "--count",
                       "100k",
                       "--price",
                       "30000",
                       "--network-price",
                       "1",
                       "--surroundings-power",
                       "2",
                       "--pue",
                       "none",
                       "--days",
                       "100",
                       "--electricity",
                       "founding",
                       "--household",
                       "800 kWh/month",
                       "--json"};
  const Ended ended = run(words);
  ASSERT_EQ(ended.code, 0) << ended.err;
  const auto plan = ended.json();
  EXPECT_DOUBLE_EQ(expected(plan, "capital_usd"), 6e9);
  EXPECT_DOUBLE_EQ(expected(plan, "power_w"), 140e6);
  EXPECT_NEAR(expected(plan, "energy_j"), 336e9 * 3600, 1e3);
  EXPECT_NEAR(expected(plan, "electricity_usd"), 27.9e6, 0.02e6);
  EXPECT_NEAR(expected(plan, "households"), 126'000, 1e-3);
}

TEST_F(CliPlanLlm, SweepDrawsTheFrontier) {
  const Words words = {"plan",      "sweep",   "--params", "70B",    "--tokens", "2T",    "--device",
                       "A100,H100", "--count", "8..2048",  "--plot", "out.svg",  "--json"};
  const Ended ended = run(words);
  ASSERT_EQ(ended.code, 0) << ended.err;
  const auto found = ended.json();
  EXPECT_GE(found["points"].size(), 8u);
  EXPECT_FALSE(found["left_out"].empty()) << "70B do not fit on 8 A100";
  int frontier = 0;
  for (const auto& point : found["points"]) frontier += point["on_frontier"].get<bool>();
  EXPECT_GE(frontier, 1);
  EXPECT_THAT(content_of(folder_ / "out.svg"), AllOf(HasSubstr("H100-SXM-80GB"), HasSubstr("frontier"), HasSubstr("</svg>")));
  expect_refused({"plan", "sweep", "--params", "7B", "--tokens", "1T", "--device", "H100", "--count", "64..8"}, 2, "--count",
                 "64 is above 8");
  expect_refused({"plan", "sweep", "--params", "7B", "--tokens", "1T", "--device", "H100,H10O", "--count", "64"}, 2, "--device",
                 "did you mean");
}

TEST_F(CliPlanLlm, FoundingTellsWhereTheDocumentsErr) {
  const auto found = run({"plan", "founding", "--json"}).json();
  EXPECT_GE(found["figures"].size(), 40u);
  EXPECT_EQ(found["missing_time"].size(), 5u);
  EXPECT_THAT(run({"plan", "founding"}).out, AllOf(HasSubstr("3.645e+25 FLOP"), HasSubstr("errs"), HasSubstr("missing time")));
  EXPECT_THAT(run({"plan", "founding", "--why"}).out,
              AllOf(HasSubstr("1.19e6 s"), HasSubstr("3.9 times"), HasSubstr("336 GWh, not 33.6"), HasSubstr("a FLOP is no rate"),
                    HasSubstr("1.5e9 parameters"), HasSubstr("3e9 per second"), HasSubstr("2.15e16")));
}

}  // namespace
}  // namespace suanli::cli
