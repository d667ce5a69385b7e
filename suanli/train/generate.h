// Using a trained model: generating text and measuring its loss on a dataset.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/data/dataset.h"
#include "suanli/engine/executor.h"
#include "suanli/model/gpt.h"
#include "suanli/model/sampling.h"
#include "suanli/train/evaluation.h"

namespace suanli::train {

// Receives each token as it is made; false ends the generation.
using TokenSink = std::function<bool(std::int32_t token)>;

// Shares a State with other executors and takes turns with them. One thread.
class Generator {
 public:
  static Result<std::unique_ptr<Generator>> create(const model::GptConfig& model,
                                                   engine::Arithmetic arithmetic,
                                                   engine::State& state);
  // Continues `prompt` by up to `count` tokens. The model sees the last `context` tokens; a longer
  // text slides through that window. An empty prompt stands for the start of a document. Ends early
  // if the sink says so or on stop.
  Status run(std::vector<std::int32_t> prompt, std::int64_t count,
             const model::SamplingOptions& options, const TokenSink& sink, StopFlag stop = nullptr);

  // Of one token.
  const meter::Work& token_work() const { return work_; }
  const engine::Program& program() const { return executor_->program(); }

 private:
  explicit Generator(const model::GptConfig& model) : model_(model) {}
  model::GptConfig model_;
  meter::Work work_;
  std::unique_ptr<engine::Executor> executor_;
  std::vector<std::int32_t> window_;  // [context]
  std::vector<float> logits_;         // [context, vocab]
};

struct RunOptions {
  int threads = 0;  // 0: as the run's job says
  StopFlag stop = nullptr;
};

// A trained run: the model of a run folder with the weights of its newest usable snapshot.
class TrainedModel {
 public:
  // Changes nothing in the folder, which may be in training. Errors: those of describe_run and
  // restore_latest.
  static Result<std::unique_ptr<TrainedModel>> load(const std::string& run_folder,
                                                    const RunOptions& options = {});
  ~TrainedModel();

  std::int64_t step() const;  // of the snapshot
  const model::GptConfig& model() const;
  // Of newer snapshots that could not be used.
  const std::vector<Error>& damages() const;

  // Continues the bytes of `prompt` by up to `count` bytes. Only for models of bytes (else
  // unsupported); a count below 0 is an error (usage).
  Status generate(std::string_view prompt, std::int64_t count,
                  const model::SamplingOptions& options,
                  const std::function<bool(char byte)>& sink);

  struct Score {
    Evaluation evaluation;
    double bits_per_byte = 0;  // 0 where tokens are not bytes
  };
  // The loss on a split of a dataset: all windows, or `batches` batches spread over them. Errors:
  // mismatch if the dataset's vocabulary or tokenizer is not the model's, interrupted.
  Result<Score> evaluate(const std::string& dataset, data::Split split, std::int64_t batches = 0);

 private:
  TrainedModel();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace suanli::train
