// A job as one static dataflow graph in SSA form: a list of nodes, each with an op, inputs that come before it,
// attributes and a type. These nodes are canonical: the engine fuses and rewrites its own copy, and what is digested,
// priced, cut and disputed are the nodes here.
//
// A training step runs the graph in three phases:
//   forward    once per micro-batch
//   backward   once per micro-batch, reads forward values
//   update     once per step, reads state, step inputs, and of the first two phases only micro_sum nodes, whose value
//              here is the sum over the step's micro-batches
// State tensors (`param`, `state`) keep their value between steps; `updates` says which update node is the new value of
// which state tensor. All updates take effect together at the end of the step.
//
// Every node belongs to a block: 0 the embedding, 1..L the layers, L+1 the head; kWholeJob for the few scalars that all
// stages share. A pipeline is cut between blocks (cut.h).
//
// Thread rule: a const Graph may be read from any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/graph/attrs.h"
#include "suanli/graph/types.h"

namespace suanli::graph {

struct OpDef;

using NodeId = std::int32_t;
inline constexpr NodeId kNoNode = -1;
inline constexpr int kWholeJob = -1;

enum class Phase : std::uint8_t { forward, backward, update };
std::string_view name_of(Phase phase);

struct Node {
  const OpDef* op = nullptr;
  std::vector<NodeId> inputs;
  Attrs attrs;
  TensorType type;
  Phase phase = Phase::forward;
  int block = 0;
  std::string name;  // required and unique for sources (input, step_input, param, state); else empty
};

struct Output {
  std::string name;
  NodeId node;
};

struct Update {
  NodeId state;  // a param or state node
  NodeId value;  // the update-phase node whose value it takes; same type
};

class Graph {
 public:
  // Appends a node after checking its op's rules (number and types of inputs, attributes, phase, unique name) and
  // inferring its type. `node.type` is ignored except for sources, which state their own.
  Result<NodeId> add(Node node);
  Status add_output(std::string name, NodeId node);
  Status add_update(NodeId state, NodeId value);
  // Micro-batches per step, at least 1.
  Status set_micro_batches(std::int64_t count);

  const std::vector<Node>& nodes() const { return nodes_; }
  const Node& node(NodeId id) const;
  NodeId size() const { return static_cast<NodeId>(nodes_.size()); }
  const std::vector<Output>& outputs() const { return outputs_; }
  const std::vector<Update>& updates() const { return updates_; }
  std::int64_t micro_batches() const { return micro_batches_; }

  // The source of this name, or kNoNode.
  NodeId find(std::string_view name) const;
  // The node of the output of this name, or kNoNode.
  NodeId find_output(std::string_view name) const;
  // Ids of the nodes of the op of this name, ascending.
  std::vector<NodeId> nodes_of(std::string_view op_name) const;
  // For each node the nodes that read it, ascending, each once.
  std::vector<std::vector<NodeId>> users() const;
  // For each node whether an output or an update needs it.
  std::vector<bool> live() const;

 private:
  std::vector<Node> nodes_;
  std::vector<Output> outputs_;
  std::vector<Update> updates_;
  std::int64_t micro_batches_ = 1;
};

// What one step costs as written (before fusion): the sum over live nodes, forward and backward times micro-batches.
struct Cost {
  double flops = 0;
  double bytes = 0;
};
Cost node_cost(const Graph& graph, NodeId id);
Cost step_cost(const Graph& graph);

// Elements of all param nodes.
std::int64_t parameter_count(const Graph& graph);

}  // namespace suanli::graph
