// What a run says it used is what its graph costs, over any number of sessions.
#include <gmock/gmock.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "suanli/base/file.h"
#include "suanli/train/metrics.h"
#include "suanli/train/run_records.h"
#include "suanli/train/setup.h"
#include "suanli/train/snapshots.h"
#include "suanli/train/test_run.h"

namespace suanli::train {
namespace {

using meter::Cause;
using meter::Part;

class Metering : public testing::Test {
 protected:
  void SetUp() override { write_dataset(data_, periodic_text(4000)); }
  JobConfig job(const std::string& run = "run") const { return tiny_job(data_, folder_ / run); }
  static Flops sum(const std::map<std::string, Flops, std::less<>>& by_op) {
    Flops total;
    for (const auto& [op, flops] : by_op) total += flops;
    return total;
  }
  // The operations of the job's graph by op, counted from the graph alone.
  static meter::Work graph_work(const JobConfig& job) {
    JobConfig settled = job;
    settled.model.vocab = 256;
    const auto graph = training_graph(settled);
    EXPECT_TRUE(graph);
    const auto micro_batches = static_cast<double>(job.train.micro_batches);
    meter::Work work;
    for (const graph::Phase phase : {graph::Phase::forward, graph::Phase::backward, graph::Phase::update}) {
      const double runs = phase == graph::Phase::update ? 1 : micro_batches;
      const meter::Work once = meter::work_of(*graph, phase);
      work.total += once.total * runs;
      for (const auto& [op, flops] : once.by_op) work.by_op[op] += flops * runs;
    }
    EXPECT_EQ(work.total, Flops(graph::step_cost(*graph).flops));
    return work;
  }

  TestFolder folder_;
  const std::string data_ = folder_ / "data";
};

TEST_F(Metering, OperationsByOpAreThoseOfTheGraphTimesTheSteps) {
  JobConfig j = job();
  j.eval.every = 100;  // one evaluation, at the end
  Recorder recorder;
  const auto report = run_job(j, recorder);
  ASSERT_TRUE(report) << report.error().to_string();
  const auto records = read_run_records(j.run.dir);
  ASSERT_TRUE(records) << records.error().to_string();
  const WorkByOp found = work_by_op(*records);
  const meter::Work step = graph_work(j);
  const meter::Work& evaluation = recorder.start.work[static_cast<std::size_t>(Part::evaluation)];
  EXPECT_EQ(records->spent.totals.runs_of(Part::evaluation), 2) << "batches";

  EXPECT_EQ(found.unnamed, Flops(0));
  EXPECT_EQ(sum(found.by_op), records->spent.flops_total);
  EXPECT_EQ(records->spent.flops_total, step.total * 8.0 + evaluation.total * 2.0);
  for (const auto& [op, flops] : step.by_op) {
    const auto more = evaluation.by_op.find(op);
    const Flops evaluated = more == evaluation.by_op.end() ? Flops(0) : more->second * 2.0;
    EXPECT_EQ(found.by_op.at(op), flops * 8.0 + evaluated) << op;
  }
  EXPECT_EQ(report->usage.work.by_op, found.by_op);
  EXPECT_EQ(report->usage.work.total, records->spent.flops_total);
}

TEST_F(Metering, BytesAreThoseOfTheKernelCalls) {
  JobConfig j = job();
  j.eval.every = 0;
  j.eval.batches = 1;
  Recorder recorder;
  ASSERT_TRUE(run_job(j, recorder));
  const WorkByPart& work = recorder.start.work;
  const auto moved = [&](Part part) { return work[static_cast<std::size_t>(part)].moved.value(); };
  for (const Part part : {Part::forward, Part::backward, Part::update, Part::evaluation})
    EXPECT_GT(moved(part), 0) << name_of(part);
  EXPECT_EQ(recorder.steps[0].bytes_total.value(),
            2 * moved(Part::forward) + 2 * moved(Part::backward) + moved(Part::update));
  EXPECT_EQ(recorder.steps[7].bytes_total.value(), 8 * recorder.steps[0].bytes_total.value());
  EXPECT_EQ(recorder.evals.back().bytes_total.value(),
            recorder.steps[7].bytes_total.value() + moved(Part::evaluation));
}

TEST_F(Metering, EverySecondOfAStepHasACause) {
  Recorder recorder;
  ASSERT_TRUE(run_job(job(), recorder));
  for (std::size_t i = 1; i < recorder.steps.size(); ++i) {
    const meter::Totals &before = recorder.steps[i - 1].totals, &now = recorder.steps[i].totals;
    Seconds passed;
    for (const Cause cause : meter::kCauses) {
      EXPECT_GE(now.of(cause), before.of(cause)) << name_of(cause);
      if (cause != Cause::evaluate && cause != Cause::checkpoint) passed += now.of(cause) - before.of(cause);
    }
    EXPECT_NEAR(passed.value(), recorder.steps[i].seconds.value(), 1e-4);
    EXPECT_GT(now.of(Cause::metering), before.of(Cause::metering)) << "what metering costs is metered";
    EXPECT_EQ(now.of(Cause::communication), Seconds(0)) << "there is one machine";
    EXPECT_GE(now.cpu, before.cpu);
    EXPECT_GT(now.peak_resident, Bytes(1 << 20));
  }
}

TEST_F(Metering, SessionsAddUp) {
  const JobConfig j = job();
  Recorder first;
  first.stop_after = 5;
  ASSERT_TRUE(run_job(j, first));
  const auto stopped = read_run_records(j.run.dir);
  ASSERT_TRUE(stopped);
  const auto report = run_job(j, true);
  ASSERT_TRUE(report) << report.error().to_string();
  const auto records = read_run_records(j.run.dir);
  ASSERT_TRUE(records);
  ASSERT_EQ(records->sessions.size(), 2u);
  EXPECT_EQ(records->sessions[0].outcome, "interrupted");
  EXPECT_EQ(records->sessions[1].outcome, "finished");
  EXPECT_EQ(sum(work_by_op(*records).by_op), records->spent.flops_total);
  EXPECT_EQ(records->spent.totals.runs_of(Part::update), 8);
  for (const Cause cause : meter::kCauses)
    EXPECT_GE(records->spent.totals.of(cause), stopped->spent.totals.of(cause)) << name_of(cause);
  EXPECT_NEAR(report->usage.total_seconds().value(),
              (stopped->spent.totals.total_seconds() + report->session_seconds).value(), 0.01);
}

// As a kill leaves it: snapshots up to step 3, lines up to step 5.
TEST_F(Metering, WhatAKilledSessionDidIsCountedByOp) {
  JobConfig j = job();
  j.checkpoint = {.every = 3, .keep = 3};
  j.eval.every = 0;
  Recorder first;
  first.stop_after = 5;
  ASSERT_TRUE(run_job(j, first));
  std::filesystem::remove_all(j.run.dir + "/checkpoints/step-00000005");
  const auto killed = read_run_records(j.run.dir);
  ASSERT_TRUE(killed);
  Recorder second;
  const auto report = run_job(j, second, true);
  ASSERT_TRUE(report) << report.error().to_string();
  EXPECT_EQ(second.start.first_step, 3);
  EXPECT_EQ(report->usage.work.by_op.count("lost"), 0u) << "the operations are known by name";
  EXPECT_EQ(report->usage.runs_of(Part::update), 8 + 2) << "steps 4 and 5 were done twice";
  EXPECT_EQ(report->usage.runs_of(Part::forward), 2 * (8 + 2));
  EXPECT_EQ(sum(report->usage.work.by_op), report->usage.work.total);
  const auto records = read_run_records(j.run.dir);
  ASSERT_TRUE(records);
  EXPECT_EQ(work_by_op(*records).by_op, report->usage.work.by_op);
  EXPECT_EQ(work_by_op(*records).unnamed, Flops(0));
  EXPECT_GT(second.steps[0].totals.of(Cause::forward), killed->spent.totals.of(Cause::forward));
  EXPECT_EQ(second.steps[0].bytes_total.value(), 6 * first.steps[0].bytes_total.value());
}

// Run folders of older versions: lines without totals, snapshots without runs.
TEST_F(Metering, RunsOfOlderVersionsGoOn) {
  JobConfig j = job();
  Recorder first;
  first.stop_after = 5;
  ASSERT_TRUE(run_job(j, first));
  std::filesystem::remove_all(j.run.dir + "/checkpoints/step-00000005");
  std::istringstream lines(read_file(j.run.dir + "/metrics.jsonl").value_or(""));
  std::string old;
  for (std::string line; std::getline(lines, line);) {
    nlohmann::json record = nlohmann::json::parse(line);
    for (const char* field : {"totals", "bytes_total", "work", "setup_seconds"}) record.erase(field);
    old += record.dump() + "\n";
  }
  ASSERT_TRUE(write_file_atomic(j.run.dir + "/metrics.jsonl", as_bytes(old)));
  const auto report = run_job(j, true);
  ASSERT_TRUE(report) << report.error().to_string();
  EXPECT_EQ(report->outcome, Outcome::finished);
  EXPECT_GT(report->usage.work.by_op.at("lost"), Flops(0)) << "how much it was is all that is known";
  EXPECT_NEAR(sum(report->usage.work.by_op) / report->usage.work.total, 1, 1e-12);
}

TEST(MeteringMeta, ASnapshotOfAnOlderVersionIsRead) {
  SnapshotMeta meta;
  meta.usage.of(Cause::forward) = Seconds(2);
  meta.usage.of(Cause::metering) = Seconds(1);
  meta.usage.runs_of(Part::sample) = 3;
  meta.usage.work.moved = Bytes(77);
  meta.usage.cpu = Seconds(4);
  meta.usage.joules = Joules(5);
  meta.usage.joules_over = Seconds(6);
  meta.usage.peak_resident = Bytes(8);
  const auto again = parse_meta(print_meta(meta), "meta");
  ASSERT_TRUE(again) << again.error().to_string();
  EXPECT_EQ(again->usage.seconds, meta.usage.seconds);
  EXPECT_EQ(again->usage.runs, meta.usage.runs);
  EXPECT_EQ(again->usage.work.moved, Bytes(77));
  EXPECT_EQ(again->usage.cpu, Seconds(4));
  EXPECT_EQ(again->usage.joules, Joules(5));
  EXPECT_EQ(again->usage.joules_over, Seconds(6));
  EXPECT_EQ(again->usage.peak_resident, Bytes(8));

  nlohmann::json document = nlohmann::json::parse(print_meta(meta));
  nlohmann::json& usage = document["usage"];
  for (const char* field : {"bytes", "runs", "cpu_seconds", "joules", "joules_seconds", "peak_rss_bytes"})
    usage.erase(field);
  usage["seconds"].erase("communication");
  usage["seconds"].erase("metering");
  const auto old = parse_meta(document.dump(), "meta");
  ASSERT_TRUE(old) << old.error().to_string();
  EXPECT_EQ(old->usage.of(Cause::forward), Seconds(2));
  EXPECT_EQ(old->usage.runs_of(Part::sample), 0);
  usage["seconds"].erase("forward");
  EXPECT_FALSE(parse_meta(document.dump(), "meta")) << "what every version wrote is not optional";
  nlohmann::json wrong = nlohmann::json::parse(print_meta(meta));
  wrong["usage"]["runs"]["forward"] = -1;
  EXPECT_FALSE(parse_meta(wrong.dump(), "meta"));
}

}  // namespace
}  // namespace suanli::train
