// Local steps of a job on a pool (train/local_steps.h): the replicas of a stage exchange no gradients. Rank r of all stages
// together is lane r, which trains on its own micro-batches as if it were alone; after every H steps the lanes exchange what
// their weights have moved, packed, and all take the outer step on it.
//
// Every stage exchanges its own weights among its replicas. A weight that two stages hold is exchanged by both, with the same
// bits: packed it is less than to send its new value. With a delay the packed bytes travel while the next inner steps run; they
// are waited for when they are applied.
//
// State of a stage's worker, by its names (state_layout.h has those under which it travels): NAME and all of the optimizer's are
// the lane's own; outer.global/NAME and outer.momentum/NAME have the same bits in all lanes; outer.error/NAME is what packing has
// lost; outer.sent/NAME is what is on its way, where there is a delay, so that a snapshot can go on from it.
#pragma once

#include <memory>
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
std::vector<OuterTensor> outer_tensors(const train::OuterParam& param, const train::LocalSteps& settings);

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

  // Before the first step after create() and, if any, the restoring of state: what was on its way when so many steps were done is
  // sent again. Later calls do nothing. Bytes sent.
  Result<Bytes> go_on(std::int64_t steps_done);
  // When step `step` (1, 2, ..) has changed the state: sends and applies what is due. Bytes sent.
  Result<Bytes> after_step(std::int64_t step);

 private:
  struct Fragment;
  LocalTraining(const Stage& on, const train::LocalSteps& settings, std::uint64_t epoch, std::vector<WorkerIndex> replicas,
                std::size_t own);
  Label label(std::size_t fragment, std::int64_t step) const;
  Status pack(Fragment& fragment);
  Result<Bytes> exchange(std::size_t fragment, std::int64_t step);
  Status apply(std::size_t fragment, std::int64_t sent_step);
  Result<std::unique_ptr<engine::Executor>> start(const std::shared_ptr<const engine::Program>& program);

  Stage on_;
  train::LocalSteps settings_;
  std::uint64_t epoch_;
  std::vector<WorkerIndex> replicas_;
  std::size_t own_;
  std::vector<Fragment> fragments_;
  bool goes_on_ = false;
};

}  // namespace suanli::pool
