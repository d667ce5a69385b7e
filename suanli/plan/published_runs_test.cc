#include "suanli/plan/published_runs.h"

#include <gmock/gmock.h>

namespace suanli::plan {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::Field;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kHeader =
    "name,params,layers,hidden,heads,seq,vocab,tokens,gpus,gpu_type,peak_tflops,tp,pp,dp,global_batch,published_quantity,"
    "published_value,unit,source\n";

Result<PublishedRun> one(const std::string& line, const std::string& header = kHeader) {
  SUANLI_ASSIGN_OR_RETURN(const auto runs, parse_published_runs(header + line + "\n", "runs.csv"));
  return runs.at(0);
}

Result<SetupFacts> facts(const std::string& line) {
  SUANLI_ASSIGN_OR_RETURN(const PublishedRun run, one(line));
  return facts_of(run, AcceleratorTable::built_in(), "runs.csv");
}

TEST(PublishedRuns, AnMfuAboveOneIsNone) {
  const std::string before = "A,7e9,32,4096,32,4096,32000,,8,H100,989,,,,64,mfu,";
  EXPECT_TRUE(one(before + "40,%,somewhere").has_value());
  EXPECT_TRUE(one(before + "0.4,1,somewhere").has_value());
  EXPECT_FALSE(one(before + "140,%,somewhere").has_value());
  EXPECT_FALSE(one(before + "40,1,somewhere").has_value());
}

TEST(PublishedRuns, ARowIsReadByItsColumns) {
  const auto run = one("\"GPT, 7B\",6.7e9,32,4096,32,2048,51200,,128,A100-80GB-SXM,312,4,1,32,512,mfu,45.5,%,here");
  ASSERT_TRUE(run) << run.error().to_string();
  EXPECT_EQ(run->name, "GPT, 7B");
  EXPECT_EQ(run->parameters, 6.7e9);
  EXPECT_EQ(run->tokens, 0) << "not stated";
  EXPECT_EQ(run->data, 32);
  EXPECT_EQ(run->quantity, "mfu");
  EXPECT_EQ(run->value, 45.5);
  EXPECT_EQ(run->line, 2u);
  EXPECT_FALSE(run->stack);
}

TEST(PublishedRuns, ColumnsMayComeInAnyOrderAndNumber) {
  const auto run = one("mfu,40,A100,7e9,x,fsdp,none,no,3,yes,fp16",
                       "published_quantity,published_value,gpu_type,params,name,stack,recompute,flash,shard,sequence_parallel,"
                       "precision\n");
  ASSERT_TRUE(run) << run.error().to_string();
  EXPECT_EQ(run->stack, Stack::fsdp);
  EXPECT_EQ(run->recomputation, Recomputation::none);
  EXPECT_EQ(run->flash, false);
  EXPECT_EQ(run->shard, 3);
  EXPECT_EQ(run->sequence_parallel, true);
  EXPECT_EQ(run->dtype, "fp16");
}

TEST(PublishedRuns, WhatIsWrongIsSaidWithLineColumnAndValue) {
  const struct {
    const char* line;
    const char* message;
  } cases[] = {
      {"x,seven,,,,,,,,A100,,,,,,mfu,40,%,s", "params is 'seven', which is no number"},
      {"x,nan,,,,,,,,A100,,,,,,mfu,40,%,s", "params is 'nan', which is no number"},
      {"x,-7e9,,,,,,,,A100,,,,,,mfu,40,%,s", "params is '-7e9', not a positive number"},
      {"x,1e300,,,,,,,,A100,,,,,,mfu,40,%,s", "params is '1e300', not a positive number"},
      {"x,1e999,,,,,,,,A100,,,,,,mfu,40,%,s", "params is '1e999', which is no number"},
      {"x,7e9,0,,,,,,,A100,,,,,,mfu,40,%,s", "layers is '0', not a count"},
      {"x,7e9,1.5,,,,,,,A100,,,,,,mfu,40,%,s", "layers is '1.5', not a whole number"},
      {"x,7e9,,,,,,,1e12,A100,,,,,,mfu,40,%,s", "gpus is '1e12', not a count"},
      {"x,7e9,,,,,,,8 GPUs,A100,,,,,,mfu,40,%,s", "gpus is '8 GPUs', which is no number"},
      {"x,7e9,,,,,,,,A100,,,,,,mfu,,%,s", "published_value is ''"},
      {"x,,,,,,,,,A100,,,,,,mfu,40,%,s", "params is ''"},
      {"x,7e9,,,,,,,,,,,,,,mfu,40,%,s", "gpu_type is ''"},
  };
  for (const auto& each : cases) {
    const auto run = one(each.line);
    ASSERT_FALSE(run) << each.line;
    EXPECT_THAT(run.error().message, HasSubstr(each.message)) << each.line;
    EXPECT_EQ(run.error().place, "runs.csv:2") << each.line;
    EXPECT_FALSE(run.error().next_step.empty()) << each.line;
  }
  const auto word = one("x,7e9,A100,mfu,40,fdsp", "name,params,gpu_type,published_quantity,published_value,stack\n");
  ASSERT_FALSE(word);
  EXPECT_THAT(word.error().message, AllOf(HasSubstr("fdsp"), HasSubstr("did you mean 'fsdp'")));
  const auto column = parse_published_runs("name,param\nx,1\n", "runs.csv");
  ASSERT_FALSE(column);
  EXPECT_THAT(column.error().message, AllOf(HasSubstr("no column 'params'"), HasSubstr("did you mean 'param'")));
  EXPECT_FALSE(parse_published_runs(kHeader, "runs.csv")) << "no rows";
}

TEST(PublishedRuns, PublicationsAreKnownByNumberOrRepository) {
  EXPECT_EQ(publication_of("Narayanan et al. 2021 arXiv:2104.04473 Table 1"), "arXiv:2104.04473");
  EXPECT_EQ(publication_of("arXiv:2407.21783v3"), publication_of("Llama 3 paper arXiv:2407.21783 Table 4"));
  EXPECT_EQ(publication_of("github.com/mosaicml/llm-foundry x"), publication_of("llm-foundry repository, scripts"));
  EXPECT_EQ(publication_of("MaxText repository, TPU"), publication_of("github.com/AI-Hypercomputer/maxtext"));
  EXPECT_EQ(publication_of("Some model card (2023)"), "Some model card");
  EXPECT_NE(publication_of("some model card"), publication_of("another one"));
}

TEST(PublishedRuns, ARowsOwnWordsTellWhatItsColumnsDoNot) {
  auto found = facts("ZeRO-3 175B,1.75e11,96,12288,96,2048,,,384,A100-80GB-SXM,312,1,1,384,1536,mfu,40,%,arXiv:2104.04473");
  ASSERT_TRUE(found) << found.error().to_string();
  EXPECT_EQ(found->stack, Stack::zero3);
  EXPECT_NEAR(found->year, 2021.25, 0.01);
  found = facts("GPT FP8 full recompute interleaved 1F1B,1.75e11,,,,,,,8,H100,,,,,,mfu,40,%,no year");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->dtype, "fp8");
  EXPECT_EQ(found->recomputation, Recomputation::full);
  EXPECT_EQ(found->interleave, 2);
  EXPECT_FALSE(found->stack);
  found = facts("\"V3 (671B total / 37B active, MoE)\",6.71e11,,,,,,,8,H100,,,,,,mfu,40,%,2024");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->model.active_parameters, 37e9);
}

TEST(PublishedRuns, DevicesAreFoundByNameFamilyOrPeak) {
  auto found = facts("x,7e9,,,,,,,8,H100-96GB 500W,,,,,,mfu,40,%,s");
  ASSERT_TRUE(found) << found.error().to_string();
  EXPECT_EQ(found->device.name, "H100-SXM-80GB");
  const auto whole = AcceleratorTable::built_in().find("H100");
  ASSERT_TRUE(whole);
  EXPECT_LT(found->device.measured_matmul->value, whole->measured_matmul->value) << "its power is limited";
  found = facts("x,7e9,,,,,,,8,Own Chip 9,250,,,,,mfu,40,%,s");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->device.name, "Own Chip 9");
  found = facts("x,7e9,,,,,,,8,H1O0,,,,,,mfu,40,%,s");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, ErrorCode::usage);
  EXPECT_THAT(found.error().place, HasSubstr("runs.csv:2"));
  EXPECT_THAT(found.error().message, AllOf(HasSubstr("H1O0"), HasSubstr("H100")));
}

TEST(PublishedRuns, AStatedPeakIsWhatMfuIsAFractionOf) {
  const auto usual = facts("x,7e9,,,,,,,8,H100,,,,,,mfu,40,%,s"), sparse = facts("x,7e9,,,,,,,8,H100,1979,,,,,mfu,40,%,s");
  ASSERT_TRUE(usual && sparse);
  EXPECT_EQ(reference_peak(sparse->device)->value(), 1979e12);
  EXPECT_EQ(usual->device.measured_matmul->value, sparse->device.measured_matmul->value) << "it computes no faster for that";
}

TEST(PublishedRuns, TheBuiltInFileIsWhole) {
  const auto& runs = built_in_runs();
  EXPECT_GT(runs.size(), 190u);
  EXPECT_THAT(runs, Each(Field(&PublishedRun::source, Not(""))));
  EXPECT_THAT(runs, Each(Field(&PublishedRun::group, Not(""))));
  EXPECT_THAT(runs, Each(Field(&PublishedRun::year, Gt(2019))));
  const AcceleratorTable table = AcceleratorTable::built_in();
  for (const PublishedRun& run : runs) {
    const auto found = facts_of(run, table, "published-runs.csv");
    EXPECT_TRUE(found) << found.error().to_string();
  }
}

TEST(PublishedRuns, ARunThatIsKnownIsCompleted) {
  const auto bare = one("Korthikanti 1T full recompute,1.0e12,128,25600,160,2048,51200,,512,A100-80GB-SXM,312,8,64,1,512,"
                        "iteration_time,94.42,s,arXiv:2205.05198");
  ASSERT_TRUE(bare);
  EXPECT_EQ(completed(*bare).stack, Stack::megatron);
  EXPECT_EQ(completed(*bare).value, 94.42);
  PublishedRun other = *bare;
  other.source = "elsewhere";
  EXPECT_FALSE(completed(other).stack);
}

}  // namespace
}  // namespace suanli::plan
