#include "suanli/engine/lower.h"

#include <array>

#include "suanli/graph/op.h"

namespace suanli::engine {
namespace {

using graph::DType;
using graph::kNoNode;
using graph::Node;
using graph::NodeId;
using graph::Phase;

// Which inputs of an op are GEMM operands.
int operand_count(std::string_view op) {
  if (op == "matmul") return 2;
  if (op == "attention" || op == "attention_stats" || op == "attention_grad") return 1;
  return 0;
}

class Lowering {
 public:
  Lowering(const graph::Graph& graph, Arithmetic arithmetic)
      : from_(graph), arithmetic_(arithmetic) {
    casts_.fill(std::vector<NodeId>(graph.size(), kNoNode));
    result_.lowered.assign(graph.size(), kNoNode);
  }

  Result<Lowered> run() && {
    const std::vector<bool> live = from_.live();
    for (NodeId id = 0; id < from_.size(); ++id)
      if (live[id]) SUANLI_RETURN_IF_ERROR(copy(id));
    SUANLI_RETURN_IF_ERROR(result_.graph.set_micro_batches(from_.micro_batches()));
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

  Status copy(NodeId id) {
    Node node = from_.node(id);
    const int operands = arithmetic_ == Arithmetic::bf16 ? operand_count(node.op->name) : 0;
    for (int i = 0; i < static_cast<int>(node.inputs.size()); ++i) {
      if (i < operands) {
        SUANLI_ASSIGN_OR_RETURN(node.inputs[i], cast(node.inputs[i], node));
      } else {
        node.inputs[i] = result_.lowered[node.inputs[i]];
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
  Result<NodeId> cast(NodeId id, const Node& reader) {
    if (from_.node(id).type.dtype != DType::f32) return result_.lowered[id];
    const NodeId of_forward = casts_[static_cast<std::size_t>(Phase::forward)][id];
    if (reader.phase == Phase::backward && of_forward != kNoNode) return of_forward;
    NodeId& made = casts_[static_cast<std::size_t>(reader.phase)][id];
    if (made == kNoNode) {
      Node node;
      node.op = &graph::op("cast");
      node.inputs = {result_.lowered[id]};
      node.attrs = {{"dtype", std::string("bf16")}};
      node.phase = reader.phase;
      node.block = reader.block;
      SUANLI_ASSIGN_OR_RETURN(made, append(std::move(node), kNoNode));
    }
    return made;
  }

  const graph::Graph& from_;
  const Arithmetic arithmetic_;
  std::array<std::vector<NodeId>, 3> casts_;  // by phase; canonical node -> its cast
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
