#include "suanli/graph/autodiff.h"

#include <map>

#include "suanli/graph/builder.h"
#include "suanli/graph/op.h"

namespace suanli::graph {
namespace {

// Contributions to the gradient of one node, by the block they come from. Only sources keep blocks apart.
using Contributions = std::map<int, NodeId>;

class Differentiator {
 public:
  Differentiator(Graph& graph, NodeId loss) : graph_(graph), loss_(loss), b_(graph) {
    b_.set_phase(Phase::backward);
  }

  // Fills adjoints for every node that some node of `targets` reaches and that the loss depends on.
  Status run(const std::vector<NodeId>& targets) {
    mark_needed(targets);
    adjoints_.resize(static_cast<std::size_t>(loss_) + 1);
    if (!needed_[loss_]) return {};
    b_.set_block(graph_.node(loss_).block);
    adjoints_[loss_][0] = b_.fill({}, 1.0);
    for (NodeId id = loss_; id >= 0 && b_.status(); --id) visit(id);
    return b_.status();
  }

  const Contributions& adjoint(NodeId id) const { return adjoints_[id]; }
  Builder& builder() { return b_; }

  // The sum of all contributions, in the backward phase.
  NodeId total(NodeId id) {
    NodeId sum = kNoNode;
    for (const auto& [block, part] : adjoints_[id]) {
      b_.set_block(block);
      sum = sum == kNoNode ? part : b_.add(sum, part);
    }
    return sum;
  }

 private:
  void mark_needed(const std::vector<NodeId>& targets) {
    needed_.assign(static_cast<std::size_t>(loss_) + 1, false);
    for (NodeId target : targets)
      if (target <= loss_) needed_[target] = true;
    for (NodeId id = 0; id <= loss_; ++id)
      for (NodeId input : graph_.node(id).inputs)
        if (needed_[input] && graph_.node(id).op->gradient) needed_[id] = true;
  }

  void visit(NodeId id) {
    const Node node = graph_.node(id);  // a copy: adding nodes moves the originals
    if (!needed_[id] || adjoints_[id].empty() || node.op->gradient == nullptr) return;
    b_.set_block(node.block);
    const NodeId dy = total(id);
    std::vector<TensorType> types;
    std::vector<bool> wanted;
    for (NodeId input : node.inputs) {
      types.push_back(graph_.node(input).type);
      wanted.push_back(needed_[input]);
    }
    b_.set_block(node.block);
    const std::vector<NodeId> parts = node.op->gradient(
        {b_, id, node.inputs, types, node.type, node.attrs, dy, wanted});
    for (std::size_t i = 0; i < parts.size(); ++i)
      if (parts[i] != kNoNode && wanted[i]) contribute(node.inputs[i], node.block, parts[i]);
  }

  void contribute(NodeId to, int from_block, NodeId part) {
    const int key = is_source(graph_.node(to)) ? from_block : graph_.node(to).block;
    const auto [place, fresh] = adjoints_[to].try_emplace(key, part);
    if (!fresh) place->second = b_.add(place->second, part);
  }

  Graph& graph_;
  NodeId loss_;
  Builder b_;
  std::vector<bool> needed_;
  std::vector<Contributions> adjoints_;
};

Status check_loss(const Graph& graph, NodeId loss) {
  if (loss < 0 || loss >= graph.size())
    return fail(ErrorCode::graph, "%" + std::to_string(loss) + " is not a node", "loss");
  const Node& node = graph.node(loss);
  if (node.type != f32({}) || node.phase != Phase::forward)
    return fail(ErrorCode::graph,
                "the loss must be a f32 scalar of the forward phase, not " + node.type.to_string(),
                "loss");
  return {};
}

}  // namespace

Result<std::vector<NodeId>> gradients(Graph& graph, NodeId loss, const std::vector<NodeId>& nodes) {
  SUANLI_RETURN_IF_ERROR(check_loss(graph, loss));
  Differentiator differentiator(graph, loss);
  SUANLI_RETURN_IF_ERROR(differentiator.run(nodes));
  std::vector<NodeId> result;
  for (NodeId id : nodes)
    result.push_back(id <= loss ? differentiator.total(id) : kNoNode);
  SUANLI_RETURN_IF_ERROR(differentiator.builder().status());
  return result;
}

Result<std::vector<ParameterGradient>> differentiate(Graph& graph, NodeId loss) {
  SUANLI_RETURN_IF_ERROR(check_loss(graph, loss));
  std::vector<NodeId> params;
  for (NodeId id : graph.nodes_of("param"))
    if (id <= loss) params.push_back(id);
  Differentiator differentiator(graph, loss);
  SUANLI_RETURN_IF_ERROR(differentiator.run(params));
  Builder& b = differentiator.builder();

  std::vector<ParameterGradient> result;
  for (NodeId param : params) {
    const Contributions& parts = differentiator.adjoint(param);
    if (parts.empty()) continue;
    std::vector<NodeId> sums;
    b.set_phase(Phase::backward);
    for (const auto& [block, part] : parts) {
      b.set_block(block);
      sums.push_back(b.micro_sum(part));
    }
    b.set_phase(Phase::update);
    b.set_block(graph.node(param).block);
    NodeId total = sums.front();
    for (std::size_t i = 1; i < sums.size(); ++i) total = b.add(total, sums[i]);
    result.push_back({param, total});
  }
  SUANLI_RETURN_IF_ERROR(b.status());
  return result;
}

}  // namespace suanli::graph
