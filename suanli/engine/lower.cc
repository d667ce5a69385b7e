#include "suanli/engine/lower.h"

#include <algorithm>
#include <array>

#include "suanli/graph/op.h"

namespace suanli::engine {
namespace {

using graph::DType;
using graph::kNoNode;
using graph::Node;
using graph::NodeId;
using graph::Phase;

// Is input `i` of an op read as bf16 (lower.h)?
bool rounds(std::string_view op, std::size_t i) {
  if (op == "matmul") return true;
  if (op == "attention" || op == "attention_stats") return i == 0;
  if (op == "attention_grad") return i != 2;
  if (op == "layer_norm_dx") return i == 2;
  if (op == "layer_norm_dgamma") return i == 1;
  if (op == "gelu" || op == "gelu_grad") return i == 0;
  return false;
}

class Lowering {
 public:
  Lowering(const graph::Graph& graph, Arithmetic arithmetic)
      : from_(graph), arithmetic_(arithmetic) {
    casts_.fill(std::vector<NodeId>(graph.size(), kNoNode));
    result_.lowered.assign(graph.size(), kNoNode);
    result_.arithmetic = arithmetic;
    if (arithmetic == Arithmetic::bf16) look_ahead();
  }

  Result<Lowered> run() && {
    const std::vector<bool> live = from_.live();
    for (NodeId id = 0; id < from_.size(); ++id)
      if (live[id]) SUANLI_RETURN_IF_ERROR(copy(id));
    const std::int64_t least = arithmetic_ == Arithmetic::exact ? 2 : 1;
    SUANLI_RETURN_IF_ERROR(result_.graph.set_micro_batches(std::max(least, from_.micro_batches())));
    for (const graph::Output& output : from_.outputs())
      SUANLI_RETURN_IF_ERROR(result_.graph.add_output(output.name, result_.lowered[output.node]));
    for (const graph::Update& update : from_.updates()) {
      SUANLI_ASSIGN_OR_RETURN(const NodeId value, apart_from_state(result_.lowered[update.value]));
      SUANLI_RETURN_IF_ERROR(result_.graph.add_update(result_.lowered[update.state], value));
    }
    return std::move(result_);
  }

 private:
  Result<NodeId> append(Node node, NodeId canonical) {
    SUANLI_ASSIGN_OR_RETURN(const NodeId id, result_.graph.add(std::move(node)));
    result_.canonical.push_back(canonical);
    return id;
  }

  // Which values will be cast whatever else reads them.
  void look_ahead() {
    cast_anyway_.assign(from_.size(), false);
    const std::vector<bool> live = from_.live();
    for (NodeId id = 0; id < from_.size(); ++id) {
      if (!live[id]) continue;
      const Node& node = from_.node(id);
      for (std::size_t i = 0; i < node.inputs.size(); ++i)
        if (rounds(node.op->name, i) && node.phase == Phase::backward) cast_anyway_[node.inputs[i]] = true;
    }
  }

  bool reads_rounded(const Node& node, std::size_t i) const {
    if (arithmetic_ != Arithmetic::bf16) return false;
    const NodeId input = node.inputs[i];
    if (node.op->name == "reduce_to")
      return node.phase == Phase::backward && cast_anyway_[input] && from_.node(input).phase == Phase::backward;
    return rounds(node.op->name, i);
  }

  Status copy(NodeId id) {
    Node node = from_.node(id);
    const Node original = node;
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      if (reads_rounded(original, i)) {
        SUANLI_ASSIGN_OR_RETURN(node.inputs[i], cast(original.inputs[i], node.phase, node.block));
      } else {
        node.inputs[i] = result_.lowered[original.inputs[i]];
      }
    }
    SUANLI_ASSIGN_OR_RETURN(result_.lowered[id], append(std::move(node), id));
    return {};
  }

  // All updates take effect together: a new value that is a view of another state tensor is copied before that changes.
  Result<NodeId> apart_from_state(NodeId value) {
    if (!graph::is_source(result_.graph.node(root_of(result_.graph, value)))) return value;
    Node node;
    node.op = &graph::op("scale");
    node.inputs = {value};
    node.attrs = {{"factor", 1.0}};
    node.phase = Phase::update;
    node.block = result_.graph.node(value).block;
    return append(std::move(node), kNoNode);
  }

  // The bf16 copy of canonical node `id`, made at its first reader in the phase; backward may read that of forward.
  Result<NodeId> cast(NodeId id, Phase phase, int block) {
    if (from_.node(id).type.dtype != DType::f32) return result_.lowered[id];
    const NodeId of_forward = casts_[static_cast<std::size_t>(Phase::forward)][id];
    if (phase == Phase::backward && of_forward != kNoNode) return of_forward;
    NodeId& made = casts_[static_cast<std::size_t>(phase)][id];
    if (made == kNoNode) {
      Node node;
      node.op = &graph::op("cast");
      node.inputs = {result_.lowered[id]};
      node.attrs = {{"dtype", std::string("bf16")}};
      node.phase = phase;
      node.block = block;
      SUANLI_ASSIGN_OR_RETURN(made, append(std::move(node), kNoNode));
    }
    return made;
  }

  const graph::Graph& from_;
  const Arithmetic arithmetic_;
  std::array<std::vector<NodeId>, 3> casts_;  // by phase; canonical node -> its cast
  std::vector<bool> cast_anyway_;  // canonical node: something in backward reads it rounded
  Lowered result_;
};

}  // namespace

NodeId root_of(const graph::Graph& graph, NodeId id) {
  for (;;) {
    const Node& node = graph.node(id);
    const bool alias = node.op->op_class == graph::OpClass::view ||
                       (node.op->name == "micro_sum" && graph.micro_batches() == 1);
    if (!alias) return id;
    id = node.inputs[0];
  }
}

Result<Lowered> lower(const graph::Graph& graph, Arithmetic arithmetic) {
  return Lowering(graph, arithmetic).run();
}

}  // namespace suanli::engine
