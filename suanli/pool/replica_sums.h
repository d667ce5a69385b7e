// The gradients of a stage's weights, added up among the replicas of the stage and packed on the way, with error feedback
// (docs/formats/codecs.md, section 5): less to send than all_reduce.h, and what packing loses of one step is added to the next.
//
//   replica r, of each weight     x = g_r + e_r     q_r = Q(x)     e_r' = x - D(q_r)
//   every replica                 g = D(q_0) + D(q_1) + ..         in the order of ranks: the same bits at all
//
// Each replica sends its q to all others, and computes with its own as they do. All other sums (of small weights, of the loss, of
// tokens) are added up as they are. The error e_r is state of its replica, "replica/R/error/NAME", and changes in commit() alone:
// a step that is repeated or given up begins with the error it began with before.
//
// Packing and adding up are graphs compiled by the engine, one pair for all weights of one type. What they and the errors take of
// memory is counted in pool/job_demand.h.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "suanli/engine/executor.h"
#include "suanli/graph/codec.h"
#include "suanli/graph/stage_graph.h"
#include "suanli/meter/ledger.h"
#include "suanli/pool/all_reduce.h"

namespace suanli::pool {

// Weights of fewer elements are not worth a codec: their share of the bytes is small, and scales of tiles are a larger part.
inline constexpr std::int64_t kLeastPacked = 4'096;

// How a job's replicas exchange the gradients of weights.
struct WeightCodec {
  graph::Codec codec;  // needs no key
  std::int64_t least_elements = kLeastPacked;
};

// A sum over micro-batches that travels packed.
struct PackedSum {
  graph::NodeId sum = graph::kNoNode;  // the micro_sum in the job's graph
  std::string name;                    // the weight; of its second sum (a tied embedding has two) "NAME.2"
  graph::TensorType type;
};
// Ascending by node: the sums that are the gradient of a param, or a part of it, and are not small.
std::vector<PackedSum> packed_sums(const graph::Graph& job, const WeightCodec& how);
// The state that a replica keeps of one: "replica/R/error/NAME".
std::string error_name(std::size_t rank, const std::string& weight);

// Operations of one add_up() at one replica, of sums of these types.
Result<meter::Work> packing_work(const std::vector<graph::TensorType>& types, const graph::Codec& codec, std::size_t replicas);

// One thread.
class ReplicaSums {
 public:
  // What outlives the object.
  struct Stage {
    engine::Executor& executor;  // of the stage: not of exact arithmetic
    engine::State& state;
    Exchange& exchange;
    meter::Ledger& ledger;
  };
  // Adds the errors to the state, as zeros where it has none. Errors: graph, no_memory.
  static Result<std::unique_ptr<ReplicaSums>> create(const Stage& on, const graph::Graph& job, const graph::StageGraph& stage,
                                                     const WeightCodec& how, std::vector<WorkerIndex> replicas, std::size_t own);
  ~ReplicaSums();

  // Between the last backward and the first part of the update: the executor's sums become those of all replicas. Bytes sent.
  // `step` has epoch, step and attempt.
  Result<Bytes> add_up(const Label& step);
  // The errors that the last add_up() has left become the state's.
  Status commit();

  // Of one add_up(): the codec's operations.
  const meter::Work& work() const { return work_; }
  // All that it holds: e and e', packed sums, its programs. No more than route/stage_memory.h says of replicas.
  Bytes memory() const;

 private:
  struct Coder;   // of one type
  struct Weight;
  ReplicaSums(const Stage& on, const WeightCodec& how, std::vector<WorkerIndex> replicas, std::size_t own);
  Status add(const PackedSum& sum, engine::ValueId value);
  Status pack(Weight& weight);
  Status unpack(Weight& weight);
  Result<Bytes> add_up_small(const Label& step);

  Stage on_;
  WeightCodec how_;
  std::vector<WorkerIndex> replicas_;
  std::size_t own_;
  std::map<std::string, std::unique_ptr<Coder>> coders_;  // by type
  std::vector<Weight> weights_;
  std::vector<engine::ValueId> small_;  // accumulators that go as they are
  meter::Work work_;
  bool has_next_ = false;  // errors wait for commit()
};

}  // namespace suanli::pool
