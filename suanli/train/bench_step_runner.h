// Training steps of a GPT on random tokens, with every kernel call timed: what benches and explanations measure.
//
//   SUANLI_ASSIGN_OR_RETURN(auto runner, StepRunner::create(shape, {.threads = 2}));
//   for (int i = 0; i < 5; ++i) SUANLI_RETURN_IF_ERROR(runner->step());
//   runner->start().total();            // until the end of the first step
//   runner->last().seconds              // of the last one
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "suanli/base/clock.h"
#include "suanli/base/error.h"
#include "suanli/base/units.h"
#include "suanli/engine/executor.h"
#include "suanli/engine/target.h"
#include "suanli/model/gpt.h"
#include "suanli/model/optimizer.h"

namespace suanli::train {

struct StepShape {
  model::GptConfig model;
  std::int64_t batch = 1;  // sequences per micro-batch
  std::int64_t micro_batches = 1;
  model::AdamWOptions optimizer{};

  Tokens tokens() const { return Tokens(batch * micro_batches * model.context); }
};

struct StepRunnerOptions {
  engine::Arithmetic arithmetic = engine::Arithmetic::f32;
  int threads = 1;
  Bytes memory_limit{};     // of state, inputs and arena (engine/target.h), snapshots not counted; 0: none
  std::uint64_t seed = 1;  // of tokens and initial values
  double lr = 3e-4;
  Seconds launch{};  // already passed since what start() counts from
  Clock* clock = &real_clock();
};

// Where the time until the end of the first step went.
struct StartTimes {
  Seconds launch;  // before StepRunner::create
  Seconds graph, compile, state, executor, first_step;

  Seconds total() const { return launch + graph + compile + state + executor + first_step; }
};

// One step that was run. `call_seconds` is parallel to the program's calls, by phase; runs on several micro-batches are
// added up.
struct StepTimes {
  Seconds begin;    // on real_clock(), like the executor's call times
  Seconds seconds;  // by the runner's clock
  Seconds cpu;      // of all threads of the process
  std::array<std::vector<double>, 3> call_seconds;
};

inline constexpr std::array kStepPhases = {graph::Phase::forward, graph::Phase::backward, graph::Phase::update};

// Is the call a product of two matrices, with whatever it does to the result (the vocabulary's loss too), exact or not? And is
// it that or attention, whose operations are nearly all in such products?
bool is_gemm(const engine::KernelCall& call);
bool is_product(const engine::KernelCall& call);

// One thread.
class StepRunner {
 public:
  // Errors: config (a shape out of range), no_memory, unsupported.
  static Result<std::unique_ptr<StepRunner>> create(const StepShape& shape, const StepRunnerOptions& options);
  // The same of a training graph (model/gpt.h) of this shape and its program, both there already. Arithmetic is the
  // program's; its memory was limited when it was compiled.
  static Result<std::unique_ptr<StepRunner>> create(const StepShape& shape, const graph::Graph& graph, engine::Program program,
                                                    const StepRunnerOptions& options);

  // Forward and backward of each micro-batch, and the update. In exact arithmetic the first step begins with a run of
  // micro-batch 0 that is not kept, and a step whose terms do not fit is repeated within its time. Error not_finite if training
  // diverges.
  Status step();

  const StepShape& shape() const { return shape_; }
  const StepRunnerOptions& options() const { return options_; }
  const engine::Executor& executor() const { return *executor_; }
  const engine::Program& program() const { return executor_->program(); }
  std::int64_t parameters() const { return parameters_; }
  std::int64_t steps() const { return steps_; }
  const StartTimes& start() const { return start_; }  // complete after the first step
  const StepTimes& last() const { return last_; }     // after the first step
  double loss() const { return loss_; }               // of the last step, nats per token

 private:
  StepRunner(const StepShape& shape, const StepRunnerOptions& options) : shape_(shape), options_(options) {}
  Status prepare(const graph::Graph& graph, engine::Program program);
  void take_call_times();

  const StepShape shape_;
  const StepRunnerOptions options_;
  StartTimes start_;
  std::int64_t parameters_ = 0, steps_ = 0;
  std::vector<std::int32_t> tokens_, targets_;  // [batch * context]
  std::unique_ptr<engine::Device> device_;
  std::unique_ptr<engine::State> state_;
  std::unique_ptr<engine::Executor> executor_;
  StepTimes last_;
  std::array<std::vector<double>, 3> call_totals_;  // of all steps so far
  double loss_ = 0;
};

}  // namespace suanli::train
