// One worker's part of a job's steps: runs its stage's program in the order of the route table, sends what others wait for, adds
// up sums with the replicas of its stage, and stops before state changes until the coordinator says commit.
//
//   auto runner = StageRunner::create(stage_job, exchange);
//   for each step: Prepared prepared = runner->prepare(step, attempt);   // everything but the change of state
//                  ... all workers have prepared ...                     runner->commit();
//
// A step whose sums did not fit (exact arithmetic) is prepared again by all workers, as the next attempt.
// Lossless: with exact arithmetic, any placement ends with the bits of one machine (docs/formats/exact-arithmetic.md).
//
// One thread. Whatever an exchange or an input fails with is returned and ends the job; nothing is half committed unless commit()
// itself fails, and that does not fail because of other workers.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "suanli/base/clock.h"
#include "suanli/engine/executor.h"
#include "suanli/graph/stage_graph.h"
#include "suanli/meter/ledger.h"
#include "suanli/meter/rate_cap.h"
#include "suanli/pool/all_reduce.h"
#include "suanli/pool/exchange.h"
#include "suanli/pool/local_training.h"
#include "suanli/pool/replica_sums.h"
#include "suanli/pool/sample_buffers.h"
#include "suanli/route/route_table.h"

namespace suanli::pool {

struct StageJob {
  graph::Graph graph;  // of the whole job's step
  engine::Arithmetic arithmetic = engine::Arithmetic::f32;
  std::uint64_t seed = 0;
  route::RouteTable table;  // checked
  WorkerIndex self = 0;     // holds a stage
  int threads = 1;
  Bytes memory_limit;                   // 0: none
  std::optional<FlopsPerSecond> cap{};  // the most that this worker may compute in a second
  graph::BoundaryCodecs codecs{};       // between stages
  // Where activations cross by AQ-SGD: which samples a micro-batch has, one for each row, and room for their buffers.
  SampleBuffers::Samples samples{};
  train::ActivationStore::Options sample_buffers{};
  // How replicas of a stage add up the gradients of weights; without: as they are. Not with exact arithmetic.
  std::optional<WeightCodec> weights{};
  // Replicas are lanes that exchange no gradients but take local steps; `weights` is not looked at.
  std::optional<train::LocalSteps> local{};
  // The inputs of a micro-batch (those that the stage reads are taken), and the step inputs. Valid until the next call.
  std::function<Result<std::span<const engine::HostTensor>>(std::int64_t step, std::int64_t micro_batch)> inputs;
  std::function<std::vector<engine::HostTensor>(std::int64_t step)> step_inputs;
};

struct Prepared {
  bool must_repeat = false;
  // Outputs of the whole job's graph that are scalars and are there before state changes: "loss", "grad_norm", ...
  std::map<std::string, double> scalars;
};

struct Committed {
  // What an exchange failed with on the way. The tensors that the stage owns (state_layout.h) are those after the step all the
  // same; copies that it holds of others' may not be, so no further step can be made.
  std::optional<Error> broken;
};

class StageRunner {
 public:
  // Compiles the stage and gives its state the values of step 0. `exchange` outlives the runner. Errors: graph, no_memory.
  static Result<std::unique_ptr<StageRunner>> create(StageJob job, Exchange& exchange, Clock& clock);

  // `step` counts the steps done before it. `attempt` begins with 1.
  Result<Prepared> prepare(std::int64_t step, std::int64_t attempt);
  // Updates. All that the stage's own tensors need is here since prepare(): another worker's failure does not keep it from that.
  Result<Committed> commit();

  // A tensor of the stage's, by the name under which it travels (state_layout.h); between steps. Errors: mismatch (not held, or
  // of another size).
  Result<std::vector<std::byte>> read_state(const std::string& name);
  Status write_state(const std::string& name, std::span<const std::byte> bytes);
  Result<Bytes> size_of_state(const std::string& name);

  const engine::Program& program() const { return executor_->program(); }
  const graph::StageGraph& stage() const { return stage_; }
  std::size_t stage_index() const { return stage_index_; }
  std::size_t rank() const { return rank_; }  // among the stage's replicas
  const route::WorkerOrder& order() const { return job_.table.orders[static_cast<std::size_t>(job_.self)]; }
  // Null unless activations cross by AQ-SGD.
  const SampleBuffers* sample_buffers() const { return sample_buffers_ ? &*sample_buffers_ : nullptr; }
  // What the owner of the job is to know, once.
  std::optional<Error> take_notice() { return sample_buffers_ ? sample_buffers_->take_notice() : std::nullopt; }
  // Null unless replicas of the stage pack their sums.
  const ReplicaSums* replica_sums() const { return sums_.get(); }
  // Seconds by cause, FLOPs, since the start.
  const meter::Usage& usage() { return ledger_.usage(); }
  Bytes sent() const { return sample_buffers_ ? sent_ + sample_buffers_->sent() : sent_; }

 private:
  StageRunner(StageJob job, graph::StageGraph stage, Exchange& exchange, Clock& clock);
  // What a work takes beside its inputs: by port what came, and what the codecs at both ends want.
  struct Arrival {
    std::vector<std::vector<std::byte>> buffers;  // by port
  };
  using Tensors = std::vector<engine::HostTensor>;
  using Key = std::pair<graph::Phase, std::int64_t>;

  Label label(Purpose purpose, std::int64_t number, std::int64_t port) const;
  bool takes_from_outside(const route::Work& work) const;
  const std::vector<graph::Port>& ports_into(graph::Phase phase) const;
  const std::vector<graph::Port>& ports_out_of(graph::Phase phase) const;
  WorkerIndex source_of(const route::Work& work) const;
  WorkerIndex target_of(const route::Work& work) const;
  // Whether the port's value crosses in full although a codec stands there.
  Result<bool> crosses_in_full(const graph::Port& port, bool is_sender, const route::Work& work);
  Status post(const route::Work& work);
  Status take(const route::Work& work, Tensors& tensors);
  Status add_codec_inputs(const route::Work& work, Tensors& tensors);
  Status keep_received(const route::Work& work, int slot);
  Status make_sample_buffers();
  Status run_work(const route::Work& work, int slot);
  Status book_waiting(meter::Cause cause);
  Status send_outputs(const route::Work& work, int slot);
  Status run_order();
  Status probe();
  Status prepare_replicas();
  Status add_up_sums();
  Status commit_replicas();
  bool round_writes(int round) const;
  void post_step_values(bool writing);
  Status run_parts(bool writing);
  bool is_needed_for_own(const graph::Port& port) const;
  void note_broken(const Error& why);
  Result<std::vector<engine::HostTensor>> stand_ins(int round, const Error& why);
  Status send_step_values(std::size_t part);
  Result<std::vector<engine::HostTensor>> take_step_values(int round);
  WorkerIndex peer_for(int stage) const;
  Result<const engine::State::Tensor*> find_state(const std::string& name);

  StageJob job_;
  graph::StageGraph stage_;
  std::size_t stage_index_ = 0, rank_ = 0;
  Exchange& exchange_;
  meter::Ledger ledger_;
  std::map<graph::Phase, meter::Work> work_;
  std::unique_ptr<meter::RateCap> cap_;  // paces the device
  Seconds waited_;                       // for it, of all threads together, as far as the ledger knows
  std::unique_ptr<engine::Device> device_;
  std::unique_ptr<engine::State> state_;
  std::unique_ptr<engine::Executor> executor_;
  std::unique_ptr<ReplicaSums> sums_;     // of replicas that pack their sums
  std::unique_ptr<LocalTraining> local_;  // of lanes
  // Of the step being made.
  std::int64_t step_ = 0, attempt_ = 0;
  std::optional<Error> broken_;  // what an exchange failed with behind the commit
  bool is_void_ = false;  // sums of this or another stage did not fit: what is sent stands for nothing
  std::map<Key, Arrival> arrivals_;
  std::optional<SampleBuffers> sample_buffers_;
  std::deque<std::vector<std::byte>> codec_inputs_;  // of the work being run
  std::deque<std::string> codec_names_;
  std::map<graph::NodeId, std::vector<std::byte>> step_values_;
  std::vector<engine::HostTensor> given_;
  Bytes sent_;
};

}  // namespace suanli::pool
