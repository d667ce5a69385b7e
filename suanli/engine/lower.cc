#include "suanli/engine/lower.h"

#include "suanli/graph/op.h"

namespace suanli::engine {
namespace {

using graph::DType;
using graph::kNoNode;
using graph::Node;
using graph::NodeId;

// Which inputs of an op are GEMM operands.
int operand_count(std::string_view op) {
  if (op == "matmul") return 2;
  if (op == "attention" || op == "attention_stats" || op == "attention_grad") return 1;
  return 0;
}

class Lowering {
 public:
  Lowering(const graph::Graph& graph, Arithmetic arithmetic)
      : from_(graph), arithmetic_(arithmetic), casts_(graph.size(), kNoNode) {
    result_.lowered.assign(graph.size(), kNoNode);
  }

  Result<Lowered> run() && {
    const std::vector<bool> live = from_.live();
    for (NodeId id = 0; id < from_.size(); ++id)
      if (live[id]) SUANLI_RETURN_IF_ERROR(copy(id));
    SUANLI_RETURN_IF_ERROR(result_.graph.set_micro_batches(from_.micro_batches()));
    for (const graph::Output& output : from_.outputs())
      SUANLI_RETURN_IF_ERROR(result_.graph.add_output(output.name, result_.lowered[output.node]));
    for (const graph::Update& update : from_.updates())
      SUANLI_RETURN_IF_ERROR(result_.graph.add_update(result_.lowered[update.state],
                                                      result_.lowered[update.value]));
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

  // The bf16 copy of canonical node `id`, made at its first reader.
  Result<NodeId> cast(NodeId id, const Node& reader) {
    if (from_.node(id).type.dtype != DType::f32) return result_.lowered[id];
    if (casts_[id] == kNoNode) {
      Node node;
      node.op = &graph::op("cast");
      node.inputs = {result_.lowered[id]};
      node.attrs = {{"dtype", std::string("bf16")}};
      node.phase = reader.phase;
      node.block = reader.block;
      SUANLI_ASSIGN_OR_RETURN(casts_[id], append(std::move(node), kNoNode));
    }
    return casts_[id];
  }

  const graph::Graph& from_;
  const Arithmetic arithmetic_;
  std::vector<NodeId> casts_;
  Lowered result_;
};

}  // namespace

Result<Lowered> lower(const graph::Graph& graph, Arithmetic arithmetic) {
  return Lowering(graph, arithmetic).run();
}

}  // namespace suanli::engine
