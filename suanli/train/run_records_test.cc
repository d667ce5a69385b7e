#include "suanli/train/run_records.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "suanli/base/test_folder.h"

namespace suanli::train {
namespace {

using testing::HasSubstr;

// As older versions wrote them, before runs were metered by part.
constexpr const char* kOld =
    R"({"kind":"start","step":0,"steps":8,"parameters":35232,"step_flops":100.0,"step_tokens":128,"dtype":"f32","threads":1)"
    R"(,"memory_bytes":1523072,"mfu_base":"measured GEMM rate","peak_flops_per_s":81000000000.0}
{"kind":"step","step":1,"loss":5.5,"grad_norm":2.31,"lr":0.0015,"tokens":128,"mfu":0.158,"flops_total":100.0,"seconds":0.5}
{"kind":"step","step":2,"loss":5.4,"grad_norm":2.31,"lr":0.0015,"tokens":128,"mfu":null,"flops_total":200.0,"seconds":0.25}
{"kind":"eval","step":2,"valid_loss":5.3,"perplexity":200.0,"bits_per_byte":null,"tokens":64}
{"kind":"end","step":2,"outcome":"interrupted"}
)";

std::string new_lines() {
  StartInfo start;
  start.first_step = 2;
  start.steps = 8;
  start.threads = 2;
  start.work[static_cast<std::size_t>(meter::Part::forward)] = {
      Flops(30), {{"matmul", Flops(20)}, {"gelu", Flops(10)}}, Bytes(64)};
  start.work[static_cast<std::size_t>(meter::Part::backward)] = {Flops(40), {{"matmul", Flops(40)}}, Bytes(64)};
  StepRecord step;
  step.step = 3;
  step.flops_total = Flops(370);
  step.bytes_total = Bytes(256);
  step.totals.runs_of(meter::Part::forward) = 1;
  step.totals.runs_of(meter::Part::backward) = 2;
  step.totals.of(meter::Cause::waiting) = Seconds(1.25);
  step.totals.joules = Joules(7);
  step.totals.joules_over = Seconds(2);
  step.totals.peak_resident = Bytes(4096);
  return metrics_line(start) + "\n" + metrics_line(step) + "\n";
}

TEST(RunRecords, ReadsWhatOlderVersionsWrote) {
  const auto records = parse_run_records(kOld, "metrics");
  ASSERT_TRUE(records) << records.error().to_string();
  ASSERT_EQ(records->sessions.size(), 1u);
  EXPECT_EQ(records->sessions[0].outcome, "interrupted");
  EXPECT_EQ(records->sessions[0].step_flops, Flops(100));
  EXPECT_EQ(records->last_step(), 2);
  EXPECT_EQ(records->steps[1].seconds, Seconds(0.25));
  EXPECT_EQ(records->evals[0].loss, 5.3);
  EXPECT_EQ(records->spent.flops_total, Flops(200));
  EXPECT_FALSE(records->spent.has_totals);
  EXPECT_EQ(records->work(), nullptr);
  EXPECT_EQ(work_by_op(*records).unnamed, Flops(200));
  EXPECT_TRUE(work_by_op(*records).by_op.empty());
}

TEST(RunRecords, NamesTheOperationsOfNewSessionsAndLeavesTheRest) {
  const auto records = parse_run_records(std::string(kOld) + new_lines(), "metrics");
  ASSERT_TRUE(records) << records.error().to_string();
  ASSERT_EQ(records->sessions.size(), 2u);
  EXPECT_EQ(records->sessions[1].outcome, "") << "killed, or at work";
  EXPECT_EQ(records->spent.totals.of(meter::Cause::waiting), Seconds(1.25));
  EXPECT_EQ(records->spent.totals.joules, Joules(7));
  EXPECT_EQ(records->spent.bytes_total, Bytes(256));
  EXPECT_EQ(records->spent.totals.peak_resident, Bytes(4096));
  const WorkByOp work = work_by_op(*records);
  EXPECT_EQ(work.by_op.at("matmul"), Flops(20 + 2 * 40));
  EXPECT_EQ(work.by_op.at("gelu"), Flops(10));
  EXPECT_EQ(work.unnamed, Flops(370 - 110));
}

TEST(RunRecords, TakesWhatItCanOfATornFile) {
  const std::string whole = std::string(kOld) + new_lines();
  for (std::size_t size = 1; size < whole.size(); ++size) {
    const auto records = parse_run_records(whole.substr(0, size), "metrics");
    if (records) {
      EXPECT_LE(records->damaged, 1) << size;
    } else {
      EXPECT_EQ(records.error().code, ErrorCode::foreign) << size;
    }
  }
  const auto torn = parse_run_records(std::string(kOld) + "{\"kind\":\"st\n\xff\xfe\n" + new_lines(), "metrics");
  ASSERT_TRUE(torn);
  EXPECT_EQ(torn->damaged, 2);
  EXPECT_EQ(torn->last_step(), 3);
}

TEST(RunRecords, ALineThatGoesBackReplacesTheStale) {
  const auto records = parse_run_records(
      "{\"kind\":\"step\",\"step\":1,\"loss\":3}\n{\"kind\":\"step\",\"step\":2,\"loss\":2}\n"
      "{\"kind\":\"step\",\"step\":3,\"loss\":1}\n{\"kind\":\"step\",\"step\":2,\"loss\":9}\n",
      "metrics");
  ASSERT_TRUE(records);
  ASSERT_EQ(records->steps.size(), 2u);
  EXPECT_EQ(records->steps[1].loss, 9);
}

TEST(RunRecords, WrongValuesAreNotThere) {
  const auto records = parse_run_records(
      "{\"kind\":\"start\",\"step\":0,\"step_flops\":-5,\"threads\":1e300,\"work\":{\"forward\":{\"flops_by_op\":"
      "{\"matmul\":-1,\"gelu\":\"x\",\"add\":1e99}}}}\n"
      "{\"kind\":\"step\",\"step\":1,\"loss\":\"low\",\"seconds\":-1,\"tokens\":1.5e30,\"flops_total\":1e31}\n"
      "{\"kind\":\"eval\",\"step\":1,\"valid_loss\":null}\n{\"kind\":\"step\",\"step\":-4}\n",
      "metrics");
  ASSERT_TRUE(records) << records.error().to_string();
  EXPECT_EQ(records->sessions[0].step_flops, Flops(0));
  EXPECT_EQ(records->sessions[0].threads, 0);
  EXPECT_TRUE((*records->sessions[0].work)[0].by_op.empty());
  EXPECT_FALSE(records->steps[0].loss);
  EXPECT_EQ(records->steps[0].seconds, Seconds(0));
  EXPECT_EQ(records->steps[0].tokens, Tokens(0));
  EXPECT_EQ(records->spent.flops_total, Flops(0));
  EXPECT_TRUE(records->evals.empty());
  EXPECT_EQ(records->damaged, 1) << "a step below 0";
}

TEST(RunRecords, SaysWhatIsNoMetric) {
  EXPECT_EQ(parse_run_records("", "m").error().code, ErrorCode::empty);
  EXPECT_EQ(parse_run_records("hello\n{}\n[1]\n", "m").error().code, ErrorCode::foreign);
  const TestFolder folder;
  const auto missing = read_run_records(folder.path());
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::not_found);
  EXPECT_THAT(missing.error().place, HasSubstr("metrics.jsonl"));
}

}  // namespace
}  // namespace suanli::train
