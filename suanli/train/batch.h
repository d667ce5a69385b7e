// The inputs of micro-batches, in host memory that is used again and again.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/data/dataset.h"
#include "suanli/data/sampler.h"
#include "suanli/engine/executor.h"

namespace suanli::train {

// Rows of `context` tokens: inputs "tokens" and "targets" of the graphs of model/gpt.h.
class Batch {
 public:
  Batch(std::int64_t rows, std::int64_t context);
  Batch(const Batch&) = delete;  // inputs() points into it
  Batch& operator=(const Batch&) = delete;

  std::int64_t rows() const { return rows_; }
  std::int64_t context() const { return context_; }
  // Row `row` becomes window `id` of windows at the same context.
  [[nodiscard]] Status fill(std::int64_t row, const data::Windows& windows, data::WindowId id);
  // All rows become those of a step's micro-batch: steps and micro-batches count from 0.
  [[nodiscard]] Status fill(const data::Windows& windows, const data::Sampler& sampler, std::int64_t step,
                            std::int64_t micro_batch);
  // Row `row` to be written by who reads its window from elsewhere: [context] each.
  struct Row {
    std::span<std::int32_t> inputs, targets;
  };
  Row row(std::int64_t row) { return {row_of(tokens_, row), row_of(targets_, row)}; }
  // Row `row` counts for nothing: its targets are -1.
  void leave_out(std::int64_t row);

  // Valid while the batch lives.
  std::span<const engine::HostTensor> inputs() const { return inputs_; }

 private:
  std::span<std::int32_t> row_of(std::vector<std::int32_t>& values, std::int64_t row) const;
  std::int64_t rows_, context_;
  std::vector<std::int32_t> tokens_, targets_;  // [rows, context]
  std::array<engine::HostTensor, 2> inputs_;
};

}  // namespace suanli::train
