// Which tensors of a job's state lie with which stage, under which names they travel, and how they make the state of one machine.
//
// A tensor travels under its own name, from the stage that updates it. The exponents of exact arithmetic are one tensor on one
// machine and one for each stage here: "exact/exponents/STAGE", with an element for each sum over micro-batches of the stage's.
//
// What replica R of a stage has and no other replica travels as "replica/R/NAME", and is kept beside the state of one machine:
//   codec.weights        replica/R/error/NAME
//   local.inner_steps    NAME is what all lanes share (outer.global), outer.momentum/NAME its momentum, outer.begun the step with
//                        which rounds began; replica/R/NAME are the lane's own weights, and so with its optimizer's state,
//                        exponents, outer.error and outer.sent. The optimizer's state and the exponents of lane 0 travel under
//                        their own names.
// So the weights of a snapshot are those that all have, whatever trained them.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/engine/executor.h"
#include "suanli/graph/cut.h"
#include "suanli/pool/replica_sums.h"
#include "suanli/route/route_table.h"
#include "suanli/train/job.h"
#include "suanli/train/local_steps.h"

namespace suanli::pool {

// Sums over micro-batches that count, ascending: the elements of engine::kExponents on one machine, in order.
std::vector<graph::NodeId> live_sums(const graph::Graph& graph);

// The name under which a stage's exponents travel.
std::string exponents_name(std::size_t stage);
// "replica/R/NAME".
std::string replica_name(std::size_t rank, std::string_view name);
// Whether a tensor of this name is one that the state of one machine has for the sake of replicas.
bool is_of_replicas(std::string_view name);
// Whether it is one replica's alone: its name begins with "replica/".
bool is_of_one_replica(std::string_view name);
// The tensor in the state of a worker of lane `rank` that travels under this name; `stage` is its graph.
std::string lane_tensor(const std::string& name, std::size_t rank, const graph::Graph& stage);

// What replicas of a job have each for itself.
struct ReplicaState {
  std::vector<std::size_t> replicas;  // of each stage
  std::optional<WeightCodec> weights;
  std::optional<train::LocalSteps> local;  // then not `weights`
};
ReplicaState replica_state(const train::JobConfig& job, const route::Placement& placement);

class StateLayout {
 public:
  // Errors are those of graph::stages.
  static Result<StateLayout> create(const graph::Graph& graph, const graph::Cut& cut, bool is_exact,
                                    const ReplicaState& replicas = {});

  // What a replica of a stage answers for, and what it holds; names as they travel.
  const std::vector<std::string>& owned(std::size_t stage, std::size_t rank = 0) const { return owned_.at(stage).at(rank); }
  const std::vector<std::string>& held(std::size_t stage, std::size_t rank = 0) const { return held_.at(stage).at(rank); }

  // With local steps: the lanes of which these tensors are all that they own, in every stage; ascending.
  std::vector<std::size_t> whole_lanes(const std::set<std::string>& names) const;
  // The name of a tensor of lane `from` if that were lane `to`; what is not this lane's alone keeps its own. Lane 0's optimizer
  // and exponents have names that do not say so: nothing is taken from there.
  std::string lane_name(const std::string& name, std::size_t from, std::size_t to) const;
  // What the state of one machine has of lane `first` and those after it.
  std::vector<std::string> names_of_lanes_from(std::size_t first) const;
  bool has_lanes() const { return has_lanes_; }

  // Bytes that a tensor of this name has. Error mismatch: there is none.
  Result<Bytes> size_of(std::string_view name, engine::State& whole) const;
  // Into and out of the state of one machine. Errors: mismatch (a name or a size that is not of this job).
  Status write(std::string_view name, std::span<const std::byte> bytes, engine::State& whole) const;
  Result<std::vector<std::byte>> read(std::string_view name, engine::State& whole) const;

  // Gives the state of one machine the tensors of this placement's replicas, and takes those of others away. What it has not
  // got begins as the tensor of that name without a replica, or else as zeros; their names.
  Result<std::vector<std::string>> fit(engine::State& whole) const;

 private:
  struct Extra {
    graph::TensorType type;
    std::string begins_as;          // the tensor of this name, if there is one, or else
    std::vector<std::byte> begins;  // these bytes; empty: zeros
  };
  void add_errors(const graph::Graph& graph, const std::vector<graph::StageNodes>& stages, const ReplicaState& replicas);
  void add_lanes(const graph::Graph& graph, const ReplicaState& replicas, std::size_t sums);
  // The places of a stage's exponents in the whole table; null if the name is no such tensor's.
  const std::vector<std::size_t>* exponents_of(std::string_view name) const;
  bool has_lanes_ = false;
  std::vector<std::vector<std::vector<std::string>>> owned_, held_;  // [stage][rank]
  std::vector<std::vector<std::size_t>> sums_;                       // of each stage: places in the whole table
  std::map<std::string, Extra, std::less<>> extras_;                 // by name in the state of one machine
};

}  // namespace suanli::pool
