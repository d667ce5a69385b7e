// Local steps of a job on a pool (train/local_steps.h): the replicas of a stage exchange no gradients. Rank r of all stages
// together is lane r, which trains on its own micro-batches as if it were alone; after every H steps the lanes exchange what
// their weights have moved, packed, and all take the outer step on it.
//
// Every stage exchanges its own weights among its replicas. A weight that two stages hold is exchanged by both, with the same
// bits: packed it is less than to send its new value.
//
// Nothing waits for another lane behind a commit, so that all who live hold one and the same state after it (decision 0014). A
// commit packs what is due, keeps it in the state and sends it. It is waited for before the next commit: at the end of the step
// that applies it, or, where there is no delay, at the beginning of the next step, which computes with the new weights; what all
// share changes with that step's commit. What is not finite is refused before anything has changed. So the state after a step
// that sends without a delay, or that is the last of the run, is that before its outer step: who collects the state of all lanes
// takes it (outer_settling.h), with the same bits.
//
// State of a stage's worker, by its names (state_layout.h has those under which it travels): NAME and all of the optimizer's are
// the lane's own; outer.global/NAME, outer.momentum/NAME and outer.begun have the same bits in all lanes; outer.error/NAME is
// what packing has lost; outer.sent/NAME is what was sent last. Where w' is due in the next step's beginning, NAME may be w'
// already after that: whoever takes the outer step overwrites it.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "suanli/engine/executor.h"
#include "suanli/graph/stage_graph.h"
#include "suanli/meter/ledger.h"
#include "suanli/pool/exchange.h"
#include "suanli/train/local_steps.h"

namespace suanli::pool {

// Whether the table's replicas are lanes: the same number of them in all stages, each with a micro-batch, and every micro-batch
// with one rank in all stages. Error config says where not, and what to change.
Status check_lanes(const route::RouteTable& table);

// The tensors that a lane's stage keeps beside those of the job's graph: names as they are in its state.
struct OuterTensor {
  std::string name;
  graph::TensorType type;
  bool is_shared = false;  // the same bits in all lanes
  std::vector<std::byte> begins{};  // empty: as zeros; outer.global begins as the parameter
};
// Of all of a lane: outer.begun.
OuterTensor outer_begun();
std::vector<OuterTensor> outer_tensors(const train::OuterParam& param, const train::LocalSteps& settings);

// The error of an outer step after `step` that makes a tensor what is not finite, of an executor's refusal; others as they are.
Error outer_error(const Error& refusal, std::int64_t step);

// One thread.
class LocalTraining {
 public:
  // What outlives the object.
  struct Stage {
    engine::State& state;
    Exchange& exchange;
    meter::Ledger& ledger;
  };
  // Adds its tensors to the state; outer.global begins as the parameters are. Errors: graph, config.
  static Result<std::unique_ptr<LocalTraining>> create(const Stage& on, const graph::Graph& job, const graph::StageGraph& stage,
                                                       const train::LocalSteps& settings, engine::Arithmetic arithmetic,
                                                       std::uint64_t epoch, std::vector<WorkerIndex> replicas, std::size_t own);
  ~LocalTraining();

  // Bytes that are sent to others, and what sending failed with: the state is as it should be all the same, but no further step
  // can be made.
  struct Sent {
    Bytes bytes;
    std::optional<Error> broken{};
  };

  // Before the forward pass of the step after `steps_done`, in each of its attempts. After create() and, if any, the restoring of
  // state, the first call sends again what was on its way. Waits for what the step is to compute with. Errors: those of the
  // exchange; not_finite, with the tensor and the step.
  Result<Sent> before_step(std::int64_t steps_done);
  // When all of step `step` (1, 2, ..) is done but its commit: waits for what that applies. The same errors.
  Status before_commit(std::int64_t step);
  // When the step has changed the state: applies what is due, packs and sends. Waits for nobody.
  Result<Sent> after_step(std::int64_t step);

 private:
  struct Fragment;
  LocalTraining(const Stage& on, const train::LocalSteps& settings, std::uint64_t epoch, std::vector<WorkerIndex> replicas,
                std::size_t own);
  Label label(std::size_t fragment, std::int64_t step) const;
  Status begin(std::int64_t steps_done, Sent& sent);
  bool is_here(int fragment) const;
  Status pack(Fragment& fragment);
  void exchange(std::size_t fragment, std::int64_t step, Sent& sent);
  Status arrive(std::size_t fragment);
  Status apply(Fragment& fragment, train::OuterPart part);
  Result<std::unique_ptr<engine::Executor>> start(const std::shared_ptr<const engine::Program>& program);

  Stage on_;
  train::LocalSteps settings_;
  std::uint64_t epoch_;
  std::vector<WorkerIndex> replicas_;
  std::size_t own_;
  std::vector<Fragment> fragments_;
  std::optional<std::int64_t> begun_{};  // of the state; none: no step was made yet
};

}  // namespace suanli::pool
