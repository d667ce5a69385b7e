#include "suanli/engine/recompute.h"

#include <algorithm>
#include <set>

#include "suanli/engine/fuse_vocabulary.h"
#include "suanli/graph/op.h"

namespace suanli::engine {
namespace {

using graph::Graph;
using graph::kNoNode;
using graph::Node;
using graph::NodeId;
using graph::Phase;

bool is_cheap(const Node& node) {
  return node.op->op_class == graph::OpClass::elementwise || node.op->name == "layer_norm";
}

// Blocks, ascending, some of whose forward values backward reads.
std::vector<int> blocks_of(const Graph& graph) {
  std::set<int> blocks;
  for (NodeId id = 0; id < graph.size(); ++id) {
    if (graph.node(id).phase != Phase::backward) continue;
    for (NodeId input : graph.node(id).inputs) {
      const Node& node = graph.node(input);
      if (node.phase == Phase::forward && !graph::is_source(node) && node.block >= 0) blocks.insert(node.block);
    }
  }
  if (!blocks.empty()) blocks.erase(std::prev(blocks.end()));  // read again at once
  return {blocks.begin(), blocks.end()};
}

class Recomputing {
 public:
  Recomputing(const Lowered& from, const Recomputation& what) : from_(from), graph_(from.graph) {
    result_.arithmetic = from.arithmetic;
    const std::vector<int> blocks = blocks_of(graph_);
    const std::size_t count = std::min(blocks.size(), static_cast<std::size_t>(std::max(0, what.blocks)));
    const std::set<int> chosen(blocks.begin(), blocks.begin() + static_cast<std::ptrdiff_t>(count));
    again_.assign(graph_.size(), false);
    for (NodeId id = 0; id < graph_.size(); ++id) {
      const Node& node = graph_.node(id);
      if (node.phase != Phase::forward || graph::is_source(node) || node.op->name == "micro_sum") continue;
      again_[id] = (what.cheap && is_cheap(node)) || chosen.contains(node.block);
    }
    keep_what_leaves(chosen);
    keep_losses();
    if (what.cheap) keep_what_costs_more();
  }

  Result<Lowered> run() && {
    copy_.assign(graph_.size(), kNoNode);
    clone_.assign(graph_.size(), kNoNode);
    find_needed();
    for (NodeId id = 0; id < graph_.size(); ++id) {
      if (!needed_[id]) continue;
      const Node& node = graph_.node(id);
      Node copied = node;
      for (NodeId& input : copied.inputs) {
        if (node.phase == Phase::backward && again_[input]) {
          SUANLI_ASSIGN_OR_RETURN(input, clone(input));
        } else {
          input = copy_[input];
        }
      }
      SUANLI_ASSIGN_OR_RETURN(copy_[id], append(std::move(copied), from_.canonical[id]));
    }
    SUANLI_RETURN_IF_ERROR(result_.graph.set_micro_batches(graph_.micro_batches()));
    for (const graph::Output& output : graph_.outputs())
      SUANLI_RETURN_IF_ERROR(result_.graph.add_output(output.name, copy_[output.node]));
    for (const graph::Update& update : graph_.updates())
      SUANLI_RETURN_IF_ERROR(result_.graph.add_update(copy_[update.state], copy_[update.value]));
    for (NodeId id : from_.lowered) {
      if (id == kNoNode) {
        result_.lowered.push_back(kNoNode);
      } else {
        result_.lowered.push_back(needed_[id] ? copy_[id] : clone_[id]);
      }
    }
    return std::move(result_);
  }

 private:
  // What a chosen block hands to others stays: otherwise those would make it again from their own side.
  void keep_what_leaves(const std::set<int>& chosen) {
    for (NodeId id = 0; id < graph_.size(); ++id)
      for (NodeId input : graph_.node(id).inputs) {
        const Node& node = graph_.node(input);
        if (chosen.contains(node.block) && graph_.node(id).phase == Phase::forward && graph_.node(id).block != node.block)
          again_[input] = false;
      }
    for (const graph::Output& output : graph_.outputs()) again_[output.node] = false;
  }

  // The loss over a vocabulary is one kernel in forward and one in backward, which reads the same operands.
  void keep_losses() {
    std::vector<Group> groups;
    find_vocabulary_loss(graph_, from_.arithmetic, groups);
    for (const Group& group : groups) {
      for (NodeId id : group.nodes) again_[id] = false;
      for (NodeId id : group.inputs)
        for (NodeId root = root_of(graph_, id);; root = root_of(graph_, graph_.node(root).inputs[0])) {
          again_[id] = again_[root] = false;
          if (graph_.node(root).op->name != "cast") break;
        }
    }
  }

  // A cheap value is made again only from values that are there in backward anyway.
  void keep_what_costs_more() {
    std::vector<bool> there(graph_.size(), false);  // read by backward, or a source
    for (NodeId id = 0; id < graph_.size(); ++id) {
      if (graph::is_source(graph_.node(id))) there[id] = true;
      if (graph_.node(id).phase == Phase::backward)
        for (NodeId input : graph_.node(id).inputs) there[input] = true;
    }
    for (NodeId id = 0; id < graph_.size(); ++id) {
      if (!again_[id] || !is_cheap(graph_.node(id))) continue;
      for (NodeId input : graph_.node(id).inputs) {
        const NodeId root = root_of(graph_, input);
        if (!again_[input] && !there[input] && !there[root]) again_[id] = false;
      }
    }
  }

  // A value that only backward reads is made there alone: in forward nothing would read it.
  void find_needed() {
    needed_.assign(graph_.size(), false);
    std::vector<bool> cloned(graph_.size(), false);
    for (const graph::Output& output : graph_.outputs()) needed_[output.node] = true;
    for (const graph::Update& update : graph_.updates()) needed_[update.state] = needed_[update.value] = true;
    for (NodeId id = graph_.size() - 1; id >= 0; --id) {
      const Node& node = graph_.node(id);
      for (NodeId input : node.inputs) {
        if (cloned[id] || (needed_[id] && node.phase == Phase::backward)) (again_[input] ? cloned : needed_)[input] = true;
        if (needed_[id] && node.phase != Phase::backward) needed_[input] = true;
      }
    }
  }

  Result<NodeId> clone(NodeId id) {
    if (clone_[id] != kNoNode) return clone_[id];
    Node node = graph_.node(id);
    for (NodeId& input : node.inputs) {
      if (again_[input]) {
        SUANLI_ASSIGN_OR_RETURN(input, clone(input));
      } else {
        input = copy_[input];
      }
    }
    node.phase = Phase::backward;
    node.name.clear();
    SUANLI_ASSIGN_OR_RETURN(clone_[id], append(std::move(node), needed_[id] ? kNoNode : from_.canonical[id]));
    return clone_[id];
  }

  Result<NodeId> append(Node node, NodeId canonical) {
    SUANLI_ASSIGN_OR_RETURN(const NodeId id, result_.graph.add(std::move(node)));
    result_.canonical.push_back(canonical);
    return id;
  }

  const Lowered& from_;
  const Graph& graph_;
  std::vector<bool> again_;
  std::vector<bool> needed_;   // where it stands
  std::vector<NodeId> copy_;   // node -> its copy
  std::vector<NodeId> clone_;  // node -> its copy in backward, if it is made again
  Lowered result_;
};

}  // namespace

int recomputable_blocks(const Graph& graph) { return static_cast<int>(blocks_of(graph).size()); }

Result<Lowered> recompute(const Lowered& lowered, const Recomputation& what) { return Recomputing(lowered, what).run(); }

}  // namespace suanli::engine
