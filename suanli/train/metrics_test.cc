#include "suanli/train/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "suanli/base/file.h"
#include "suanli/base/test_folder.h"

namespace suanli::train {
namespace {

using nlohmann::json;

std::string step_line(std::int64_t step) {
  StepRecord record;
  record.step = step;
  record.loss = 0.5;
  return metrics_line(record);
}

TEST(Metrics, LinesAreJsonOfOneLine) {
  StepRecord record;
  record.step = 12;
  record.loss = 2.5;
  record.grad_norm = std::numeric_limits<double>::infinity();
  record.lr = 1e-3;
  record.tokens = Tokens(512);
  record.tokens_per_second = 100;
  record.flops_total = Flops(1e12);
  record.seconds = Seconds(0.25);
  const json step = json::parse(metrics_line(record));
  EXPECT_EQ(step["kind"], "step");
  EXPECT_EQ(step["step"], 12);
  EXPECT_EQ(step["loss"], 2.5);
  EXPECT_TRUE(step["grad_norm"].is_null()) << "JSON has no infinity";
  EXPECT_TRUE(step["mfu"].is_null()) << "unknown";
  EXPECT_EQ(step["flops_total"], 1e12);

  const json sample = json::parse(sample_line(3, "a\nb\xff\x01"));
  EXPECT_EQ(sample["text"], "a\nb\xEF\xBF\xBD\x01") << "bytes that are not UTF-8 are replaced";
  EXPECT_EQ(sample_line(3, "a\nb").find('\n'), std::string::npos);

  const json warning =
      json::parse(warning_line(4, {ErrorCode::no_space, "full", "disk", "make room"}));
  EXPECT_EQ(warning["code"], "no_space");
  EXPECT_EQ(json::parse(end_line(5, "finished", {}))["outcome"], "finished");
  EXPECT_EQ(json::parse(metrics_line(CheckpointRecord{7}))["step"], 7);
}

TEST(Metrics, KeepsWhatARunThatGoesOnHasReallyDone) {
  const std::string two = step_line(1) + "\n" + step_line(2) + "\n";
  EXPECT_EQ(read_lines(two + step_line(3) + "\n", 2).kept, two);
  EXPECT_EQ(read_lines(two + step_line(2), 2).kept, two)
      << "a line without its end was never finished";
  EXPECT_EQ(read_lines(two + "{\"kind\": \"st\n", 2).kept, two) << "damaged";
  EXPECT_EQ(read_lines("\n[]\n\"x\"\n{}\n{\"step\": \"1\"}\n{\"step\": 1.5}\n" + two, 2).kept, two);
  EXPECT_EQ(read_lines(two, 0).kept, "");
  EXPECT_EQ(read_lines("", 9).kept, "");
}

TEST(Metrics, FileGrowsAndIsCutBackOnReopening) {
  const TestFolder folder;
  const std::string path = folder / "metrics.jsonl";
  {
    auto file = MetricsFile::open(path, 0);
    ASSERT_TRUE(file) << file.error().to_string();
    for (int step = 1; step <= 5; ++step) ASSERT_TRUE(file->append(step_line(step)));
    ASSERT_EQ(read_file(path).value_or(""), step_line(1) + "\n" + step_line(2) + "\n" +
                                                step_line(3) + "\n" + step_line(4) + "\n" +
                                                step_line(5) + "\n");
  }
  {
    auto file = MetricsFile::open(path, 3);
    ASSERT_TRUE(file);
    ASSERT_TRUE(file->append(step_line(4)));
  }
  EXPECT_THAT(read_file(path).value_or(""),
              testing::StartsWith(step_line(1) + "\n" + step_line(2) + "\n" + step_line(3) + "\n"));
  EXPECT_THAT(read_file(path).value_or(""), testing::EndsWith("\n" + step_line(4) + "\n"));
}

TEST(Metrics, KnowsWhatWasSpentAlsoInLinesThatAreRemoved) {
  const TestFolder folder;
  const std::string path = folder / "metrics.jsonl";
  StepRecord record{};
  for (int step = 1; step <= 4; ++step) {
    auto file = MetricsFile::open(path, step);
    ASSERT_TRUE(file);
    record.step = step;
    record.flops_total = Flops(1e12 * step);
    ASSERT_TRUE(file->append(metrics_line(record)));
  }
  EXPECT_EQ(MetricsFile::open(path, 2)->spent_before().flops_total, Flops(4e12));
  EXPECT_EQ(MetricsFile::open(path, 2)->spent_before().flops_total, Flops(4e12))
      << "also if that session is killed before its first step";
  EXPECT_EQ(MetricsFile::open(path, 1)->spent_before().flops_total, Flops(4e12));
  EXPECT_EQ(MetricsFile::open(path, 1)->spent_before().flops_total, Flops(4e12));
  EXPECT_EQ(read_file(path).value_or(""), read_lines(read_file(path).value_or(""), 1).kept) << "once is enough";
  const EarlierLines old = read_lines("{\"flops_total\": \"x\"}\n[1]\n{\"flops_total\": 3}", 0);
  EXPECT_EQ(old.spent.flops_total, Flops(3));
  EXPECT_FALSE(old.spent.has_totals) << "as older versions wrote it";
}

TEST(Metrics, AFullDiskIsAnError) {
  auto file = MetricsFile::open("/dev/full", 0);
  if (!file) GTEST_SKIP() << "no /dev/full here";
  const Status status = file->append(step_line(1));
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::no_space);
  EXPECT_THAT(status.error().place, testing::HasSubstr("/dev/full"));
}

}  // namespace
}  // namespace suanli::train
