// From a job to all that a training session works with.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "suanli/base/clock.h"
#include "suanli/base/error.h"
#include "suanli/data/dataset.h"
#include "suanli/data/sampler.h"
#include "suanli/engine/executor.h"
#include "suanli/meter/rate_cap.h"
#include "suanli/model/gpt.h"
#include "suanli/train/evaluation.h"
#include "suanli/train/generate.h"
#include "suanli/train/job.h"
#include "suanli/train/schedule.h"

namespace suanli::train {

// Of a job whose vocab is settled.
model::GptConfig model_of(const JobConfig& job);
// "auto" is bf16 where the CPU has AMX tiles for it that the kernel lets us use.
Result<engine::Arithmetic> arithmetic_of(const JobConfig& job);

// The dataset's tokenizer is `tokenizer`, and its vocabulary fits into the model's: else mismatch.
Status check_dataset(const data::Dataset& dataset, const model::GptConfig& model,
                     std::string_view tokenizer);

// The job with what "auto", 0 and the like stand for: vocabulary and arithmetic.
Result<JobConfig> settle(JobConfig job, const data::Dataset& dataset);

// Of the learning rate.
Schedule schedule_of(const JobConfig& job);

model::AdamWOptions optimizer_of(const JobConfig& job);

// The graph of a settled job's training step.
Result<graph::Graph> training_graph(const JobConfig& job);

// Members are in order of construction; each uses those before it.
struct Setup {
  JobConfig job;  // settled
  model::GptConfig model;
  engine::Arithmetic arithmetic = engine::Arithmetic::f32;
  int threads = 1;
  data::Dataset dataset;
  data::Windows train_windows;
  std::optional<data::Windows> valid_windows;  // none if the split is too small for one
  data::Sampler sampler;
  graph::Graph graph;
  std::unique_ptr<meter::RateCap> cap;  // null: none
  std::unique_ptr<engine::Device> device;
  std::unique_ptr<engine::State> state;
  std::unique_ptr<engine::Executor> executor;
  std::unique_ptr<Evaluator> evaluator;  // null without valid_windows
  std::unique_ptr<Generator> generator;  // null unless the job wants samples
  Bytes memory;                          // of all of it and of two snapshots (memory.h)

  // State initialized from the job's seed. Errors: of the dataset; mismatch; no_memory, with the
  // numbers. The rate cap is made, but not yet on: see Device::set_pacer.
  static Result<std::unique_ptr<Setup>> create(JobConfig job, data::Dataset dataset, Clock& clock);
};

}  // namespace suanli::train
