// `suanli plan validate` through the built command.
#include <gmock/gmock.h>

#include "suanli/cli/command_for_test.h"

namespace suanli::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr const char* kHeader =
    "name,params,layers,hidden,heads,seq,vocab,tokens,gpus,gpu_type,peak_tflops,tp,pp,dp,global_batch,published_quantity,"
    "published_value,unit,source\n";

class CliValidate : public CommandTest {
 protected:
  void put_runs(const std::string& lines) { put(folder_ / "runs.csv", kHeader + lines); }
};

TEST_F(CliValidate, TheBuiltInRunsArePredictedAndDrawn) {
  const Ended ended = run({"plan", "validate", "--json", "--plot", "picture.svg"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  const auto found = ended.json();
  EXPECT_EQ(found["file"], "published-runs.csv");
  EXPECT_GT(found["rows"].size(), 150u);
  EXPECT_LE(found["step"]["median_error"], 0.10);
  EXPECT_LE(found["step"]["p90_error"], 0.25);
  EXPECT_LE(found["mfu_from_throughput"]["median_error"], 0.005);
  EXPECT_GE(found["run_coverage"]["share"], 0.7);
  EXPECT_LE(found["run_coverage"]["share"], 0.9);
  EXPECT_EQ(found["svg"], "picture.svg");
  EXPECT_THAT(content_of(folder_ / "picture.svg"),
              AllOf(StartsWith("<svg"), HasSubstr("MFU and HFU"), HasSubstr("</svg>")));
  for (const auto& row : found["left_out"]) EXPECT_NE(row["reason"], "");
}

TEST_F(CliValidate, AFileOfOnesOwnIsPredictedWithWhatWasAssumed) {
  put_runs("\"mine, 7B\",6.7e9,32,4096,32,2048,50432,1e12,64,A100-80GB-SXM,312,1,1,64,512,tokens_per_s_per_gpu,3700,tokens/s,"
           "my log 2024\n"
           "\"mine, 7B\",6.7e9,32,4096,32,2048,50432,1e12,64,Own Chip,250,1,1,64,512,mfu,50,%,my log 2024\n"
           "\"mine, 7B\",6.7e9,32,4096,32,2048,50432,1e12,64,A100-80GB-SXM,312,1,1,64,512,cost,9,USD,my log 2024\n");
  const Ended ended = run({"plan", "validate", "--data", "runs.csv", "--json"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  const auto found = ended.json();
  ASSERT_EQ(found["rows"].size(), 2u);
  EXPECT_EQ(found["rows"][0]["line"], 2);
  EXPECT_EQ(found["rows"][0]["source_left_out"], false);
  EXPECT_FALSE(found["rows"][0]["assumed"].empty());
  EXPECT_LT(found["rows"][0]["predicted"]["low"], found["rows"][0]["predicted"]["high"]);
  ASSERT_EQ(found["left_out"].size(), 1u);
  EXPECT_TRUE(found["run_coverage"]["share"].is_null());
  const Ended text = run({"plan", "validate", "--data", "runs.csv", "--why"});
  ASSERT_EQ(text.code, 0) << text.err;
  EXPECT_THAT(text.out, AllOf(HasSubstr("mine, 7B"), HasSubstr("circular"), HasSubstr("assumed, for want of a column"),
                              HasSubstr("product_efficiency"), HasSubstr("not fitted over")));
  EXPECT_THAT(run({"plan", "validate", "--data", "runs.csv"}).out, Not(HasSubstr("product_efficiency")));
}

TEST_F(CliValidate, WhatIsWrongInAFileIsSaidOnce) {
  put_runs("a,6.7e9,,,,,,,,H101,,,,,,mfu,50,%,s\n");
  Ended ended = run({"plan", "validate", "--data", "runs.csv"});
  EXPECT_EQ(ended.code, 2);
  EXPECT_EQ(ended.out, "");
  EXPECT_THAT(ended.err, AllOf(HasSubstr("runs.csv:2"), HasSubstr("H101"), HasSubstr("H100"), HasSubstr("next:")));
  put_runs("a,6.7e9,,,,,,,,H100,,,,,,mfu,-50,%,s\n");
  ended = run({"plan", "validate", "--data", "runs.csv"});
  EXPECT_EQ(ended.code, 3);
  EXPECT_THAT(ended.err, AllOf(HasSubstr("runs.csv:2"), HasSubstr("published_value is '-50'")));
  put(folder_ / "runs.csv", "name\n\"x");
  ended = run({"plan", "validate", "--data", "runs.csv", "--json"});
  EXPECT_EQ(ended.code, 3);
  EXPECT_EQ(ended.json()["event"], "error");
  ended = run({"plan", "validate", "--data", "none.csv"});
  EXPECT_EQ(ended.code, 1);
  EXPECT_THAT(ended.err, HasSubstr("none.csv"));
}

}  // namespace
}  // namespace suanli::cli
