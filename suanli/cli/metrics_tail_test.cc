#include "suanli/cli/metrics_tail.h"

#include <gtest/gtest.h>

#include <fstream>

#include "suanli/base/test_folder.h"
#include "suanli/train/metrics.h"

namespace suanli::cli {
namespace {

void append(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::app | std::ios::binary) << text; }

TEST(MetricsTail, TakesWholeLinesOnceAndLeavesOutDamagedOnes) {
  const TestFolder folder;
  const std::string path = folder / "metrics.jsonl", old = "{\"kind\":\"end\",\"step\":1}\n";
  MetricsTail tail(path, static_cast<std::int64_t>(old.size()));
  EXPECT_TRUE(tail.take().empty()) << "there is no file yet";
  append(path, old + "{\"kind\":\"start\",\"step\":1}\n{\"kind\":\"st");
  const auto first = tail.take();
  ASSERT_EQ(first.size(), 1u);
  EXPECT_EQ(first[0].at("kind"), "start");
  EXPECT_TRUE(tail.take().empty()) << "the line is not whole yet";
  append(path, "ep\",\"step\":2}\nnot json\n{\"kind\":\"end\",\"step\":2}\n");
  const auto second = tail.take();
  ASSERT_EQ(second.size(), 2u);
  EXPECT_EQ(second[0].at("step"), 2);
  EXPECT_EQ(second[1].at("kind"), "end");
  EXPECT_TRUE(tail.take().empty());
}

TEST(MetricsReplay, TellsWhatARecorderWrote) {
  struct Kept : train::Observer {
    void on_start(const train::StartInfo& info) override { start = info; }
    void on_step(const train::StepRecord& record) override { step = record; }
    void on_eval(const train::EvalRecord& record) override { eval = record; }
    void on_checkpoint(const train::CheckpointRecord& record) override { saved = record.step; }
    void on_sample(std::int64_t, std::string_view text) override { sample = text; }
    void on_warning(const Error& error) override { warning = error.to_string(); }
    std::string sample, warning;
    train::StartInfo start;
    train::StepRecord step;
    train::EvalRecord eval;
    std::int64_t saved = 0;
  } kept;
  train::StartInfo start;
  start.steps = 10;
  start.threads = 3;
  start.arithmetic = engine::Arithmetic::exact;
  train::StepRecord step;
  step.step = 4;
  step.loss = 2.5;
  step.seconds = Seconds(0.5);
  step.tokens = Tokens(128);
  train::EvalRecord eval;
  eval.step = 4;
  eval.loss = 2.25;
  train::StartInfo known;
  known.run_folder = "run";
  known.valid_tokens = Tokens(7);
  MetricsReplay replay(kept, known);
  for (const std::string& line : {train::metrics_line(start), train::metrics_line(step), train::metrics_line(eval),
                                  train::metrics_line(train::CheckpointRecord{4}), train::sample_line(4, "a b"),
                                  train::warning_line(4, {ErrorCode::no_space, "the disk is full", "/run", "make room"}),
                                  std::string("{\"kind\":\"news\",\"step\":9}")})
    replay.tell(nlohmann::json::parse(line));
  EXPECT_EQ(kept.start.run_folder, "run");
  EXPECT_EQ(kept.start.valid_tokens, Tokens(7));
  EXPECT_EQ(kept.start.threads, 3);
  EXPECT_EQ(kept.start.arithmetic, engine::Arithmetic::exact);
  EXPECT_EQ(kept.step.step, 4);
  EXPECT_EQ(kept.step.loss, 2.5);
  EXPECT_EQ(kept.step.eta, Seconds(0.5 * 6));
  EXPECT_EQ(kept.eval.loss, 2.25);
  EXPECT_EQ(kept.saved, 4);
  EXPECT_EQ(kept.sample, "a b");
  EXPECT_EQ(kept.warning, "/run: the disk is full; make room [no_space]");
  EXPECT_EQ(metrics_text(nlohmann::json::parse(train::metrics_line(step))).substr(0, 19), "step 4  loss 2.5000");
}

}  // namespace
}  // namespace suanli::cli
