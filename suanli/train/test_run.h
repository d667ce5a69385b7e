// For tests: a tiny dataset, a tiny job, and a look at the weights a run ended with.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "suanli/base/test_folder.h"
#include "suanli/checkpoint/local_tier.h"
#include "suanli/data/dataset_writer.h"
#include "suanli/train/trainer.h"

namespace suanli::train {

// A text that repeats: a model of any size learns it.
inline std::string periodic_text(std::size_t length,
                                 std::string_view period = "the quick brown fox. ") {
  std::string text;
  while (text.size() < length) text += period;
  text.resize(length);
  return text;
}

inline void write_dataset(const std::string& folder, const std::string& text,
                          double valid_fraction = 0.25) {
  auto writer = data::DatasetWriter::create(folder, {.overwrite = true});
  ASSERT_TRUE(writer) << writer.error().to_string();
  ASSERT_TRUE((*writer)->append(as_bytes(text)));
  ASSERT_TRUE((*writer)->end_document());
  const auto info = (*writer)->finish(valid_fraction, {});
  ASSERT_TRUE(info) << info.error().to_string();
}

// 2 layers of width 32 at context 32; 8 steps of 2 x 2 sequences. Everything but the seed's first
// steps is cheap.
inline JobConfig tiny_job(const std::string& data, const std::string& run) {
  JobConfig job;
  job.model = {.layers = 2, .heads = 2, .width = 32, .context = 32, .vocab = 0};
  job.data.path = data;
  job.train.steps = 8;
  job.train.batch = 2;
  job.train.micro_batches = 2;
  job.train.lr = 3e-3;
  job.train.warmup_steps = 2;
  job.train.dtype = "f32";
  job.eval = {.every = 4, .batches = 2};
  job.checkpoint = {.every = 3, .keep = 2};
  job.run.dir = run;
  job.run.threads = 1;
  return job;
}

// Keeps what it is told, and can stop the run after a step.
class Recorder final : public Observer {
 public:
  void on_start(const StartInfo& info) override { start = info; }
  void on_step(const StepRecord& record) override {
    steps.push_back(record);
    if (record.step == stop_after) stop = true;
  }
  void on_eval(const EvalRecord& record) override { evals.push_back(record); }
  void on_checkpoint(const CheckpointRecord& record) override {
    checkpoints.push_back(record.step);
  }
  void on_sample(std::int64_t step, std::string_view text) override { samples[step] = text; }
  void on_warning(const Error& warning) override { warnings.push_back(warning); }

  std::atomic<bool> stop = false;
  std::int64_t stop_after = -1;
  StartInfo start;
  std::vector<StepRecord> steps;
  std::vector<EvalRecord> evals;
  std::vector<std::int64_t> checkpoints;
  std::map<std::int64_t, std::string> samples;
  std::vector<Error> warnings;
};

inline Result<TrainReport> run_job(const JobConfig& job, Recorder& recorder, bool resume = false) {
  return train(job, {.resume = resume,
                     .stop = &recorder.stop,
                     .observer = &recorder,
                     .peak = FlopsPerSecond(1e12)});
}

inline Result<TrainReport> run_job(const JobConfig& job, bool resume = false) {
  Recorder recorder;
  return run_job(job, recorder, resume);
}

// The newest snapshot: its step, and the root digest of all weights and optimizer state.
struct FinalState {
  std::int64_t step = -1;
  std::string root;
  bool operator==(const FinalState&) const = default;
};
inline FinalState final_state(const std::string& run) {
  const auto tier = checkpoint::LocalTier::open(run, checkpoint::LocalTier::Access::reader);
  if (!tier) return {};
  const auto infos = (*tier)->list();
  if (!infos || infos->empty() || infos->back().damage) return {};
  return {infos->back().step, infos->back().root.hex()};
}

}  // namespace suanli::train
