// The loss of a model on a fixed set of windows.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "suanli/data/dataset.h"
#include "suanli/engine/executor.h"
#include "suanli/meter/ledger.h"
#include "suanli/model/gpt.h"
#include "suanli/train/batch.h"

namespace suanli::train {

// Set from a signal handler or another thread; null: never stops.
using StopFlag = const std::atomic<bool>*;
inline bool is_stopped(StopFlag stop) {
  return stop != nullptr && stop->load(std::memory_order_relaxed);
}

struct Evaluation {
  double loss = 0;  // mean over tokens, nats
  Tokens tokens;
  double perplexity() const;
  double bits_per_token() const;
};

// Shares a State with other executors and takes turns with them. One thread.
class Evaluator {
 public:
  // Batches of `rows` windows. Adds the model's parameters to the state if they are not there.
  static Result<std::unique_ptr<Evaluator>> create(const model::GptConfig& model, std::int64_t rows,
                                                   engine::Arithmetic arithmetic,
                                                   engine::State& state);

  // Over `batches` batches of windows spread evenly over all of them, the same each time; 0, or
  // more than there are: all windows, each once. Nothing if stopped. A loss that is not finite is
  // an error (not_finite). `after_batch` is called after the work of each batch.
  Result<std::optional<Evaluation>> run(const data::Windows& windows, std::int64_t batches,
                                        StopFlag stop = nullptr, const std::function<void()>& after_batch = {});

  // Of one batch, and how many batches run() makes.
  const meter::Work& batch_work() const { return work_; }
  std::int64_t batch_count(const data::Windows& windows, std::int64_t batches) const;
  const engine::Program& program() const { return executor_->program(); }

 private:
  Evaluator(const model::GptConfig& model, std::int64_t rows) : batch_(rows, model.context) {}
  Batch batch_;
  meter::Work work_;
  std::unique_ptr<engine::Executor> executor_;
};

}  // namespace suanli::train
