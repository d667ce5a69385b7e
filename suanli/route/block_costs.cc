#include <algorithm>
#include <set>

#include "suanli/graph/cut.h"
#include "suanli/graph/op.h"
#include "suanli/route/balance.h"

namespace suanli::route {
namespace {

using graph::Graph;
using graph::Node;
using graph::NodeId;
using graph::Phase;

constexpr std::int64_t kGradientBytes = 4;  // sums over micro-batches are f32

// What is kept when `id` is: a view has the bytes of what it views.
NodeId base_of(const Graph& graph, NodeId id) {
  while (graph.node(id).op->op_class == graph::OpClass::view) id = graph.node(id).inputs.front();
  return id;
}

class Accountant {
 public:
  explicit Accountant(const Graph& graph) : graph_(graph), live_(graph.live()) {
    int last = 0;
    for (const Node& node : graph.nodes()) last = std::max(last, node.block);
    costs_.resize(static_cast<std::size_t>(last) + 1);
    held_.resize(costs_.size());
    kept_.resize(costs_.size());
  }

  std::vector<BlockCost> run() {
    for (NodeId id = 0; id < graph_.size(); ++id)
      if (live_[static_cast<std::size_t>(id)]) visit(id, graph_.node(id));
    for (const graph::CutPoint& point : graph::cut_points(graph_)) {
      costs_[static_cast<std::size_t>(point.after_block)].forward_out = point.forward_bytes;
      costs_[static_cast<std::size_t>(point.after_block)].backward_in = point.backward_bytes;
    }
    return std::move(costs_);
  }

 private:
  void visit(NodeId id, const Node& node) {
    if (node.block == graph::kWholeJob) return;
    const auto block = static_cast<std::size_t>(node.block);
    if (node.op->name == "param" || node.op->name == "state") hold(id, block);
    if (graph::is_source(node)) return;
    const Flops flops(graph::node_cost(graph_, id).flops);
    if (node.phase == Phase::forward) costs_[block].forward += flops;
    if (node.phase == Phase::backward) costs_[block].backward += flops;
    for (NodeId input : node.inputs) read(input, node.phase, block);
  }

  void read(NodeId input, Phase by, std::size_t block) {
    const NodeId id = base_of(graph_, input);
    const Node& node = graph_.node(id);
    if (node.op->name == "param" || node.op->name == "state") {
      hold(id, block);
    } else if (by == Phase::backward && node.phase == Phase::forward && kept_[block].insert(id).second) {
      costs_[block].stash += node.type.bytes();
    }
  }

  void hold(NodeId id, std::size_t block) {
    if (!held_[block].insert(id).second) return;
    const Node& node = graph_.node(id);
    costs_[block].state += node.type.bytes();
    if (node.op->name == "param") costs_[block].state += Bytes(kGradientBytes * node.type.elements());
  }

  const Graph& graph_;
  const std::vector<bool> live_;
  std::vector<BlockCost> costs_;
  std::vector<std::set<NodeId>> held_, kept_;  // [block]
};

}  // namespace

std::vector<BlockCost> block_costs(const Graph& graph) { return Accountant(graph).run(); }

std::vector<bool> legal_cuts(const Graph& graph) {
  std::vector<bool> legal;
  for (const graph::CutPoint& point : graph::cut_points(graph)) legal.push_back(point.legal);
  return legal;
}

}  // namespace suanli::route
