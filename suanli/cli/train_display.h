// A training run as it goes on, for a person on stderr or for a program on stdout.
#pragma once

#include <string>

#include "suanli/cli/output.h"
#include "suanli/cli/progress.h"
#include "suanli/train/observer.h"
#include "suanli/train/trainer.h"

namespace suanli::cli {

// A line that moves with the steps; evaluations, samples and warnings above it.
class TrainDisplay final : public train::Observer {
 public:
  // Quiet: warnings only.
  TrainDisplay(const Terminal& terminal, bool quiet);
  void on_start(const train::StartInfo& info) override;
  void on_step(const train::StepRecord& record) override;
  void on_eval(const train::EvalRecord& record) override;
  void on_growth(const train::GrowthRecord& record) override;
  void on_sample(std::int64_t step, std::string_view text) override;
  void on_warning(const Error& warning) override;
  void finish() { progress_.finish(); }

 private:
  const Terminal terminal_;
  const bool quiet_;
  Progress progress_;
  train::StartInfo info_;
  bool has_grown_ = false;  // and the next session's start is to be told
};

// "step 120/600  loss 1.843  21,300 tok/s  MFU 31 %  1.20 TFLOP  ETA 1 min 32 s"
std::string step_text(const train::StepRecord& record, const train::StartInfo& info);

// Each event as a line of JSON. Warnings go to stderr too.
class TrainEvents final : public train::Observer {
 public:
  void on_start(const train::StartInfo& info) override;
  void on_step(const train::StepRecord& record) override;
  void on_eval(const train::EvalRecord& record) override;
  void on_checkpoint(const train::CheckpointRecord& record) override;
  void on_growth(const train::GrowthRecord& record) override;
  void on_sample(std::int64_t step, std::string_view text) override;
  void on_warning(const Error& warning) override;
};

// The last event. `svg` may be empty.
void emit_end(const train::TrainReport& report, int exit_code, const std::string& svg);

}  // namespace suanli::cli
