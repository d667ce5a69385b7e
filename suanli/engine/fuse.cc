#include "suanli/engine/fuse.h"

#include <algorithm>
#include <map>
#include <queue>

#include "suanli/engine/fuse_heads.h"
#include "suanli/engine/fuse_patterns.h"
#include "suanli/engine/fuse_rows.h"
#include "suanli/engine/partition.h"
#include "suanli/graph/op.h"

namespace suanli::engine {

using graph::Graph;
using graph::kNoNode;
using graph::Node;
using graph::NodeId;
using graph::OpClass;
using graph::Phase;
using graph::Shape;

std::optional<Access> access_of(const Shape& operand, const Shape& shape) {
  if (operand == shape) return Access::full;
  if (graph::element_count(operand) == 1) return Access::scalar;
  if (operand.size() > shape.size()) return std::nullopt;
  const Shape aligned = [&] {
    Shape padded(shape.size() - operand.size(), 1);
    padded.insert(padded.end(), operand.begin(), operand.end());
    return padded;
  }();
  if (std::equal(aligned.begin(), aligned.end() - 1, shape.begin()) && aligned.back() == 1)
    return Access::row;
  std::size_t first = 0;
  while (first < aligned.size() && aligned[first] == 1) ++first;
  if (std::equal(aligned.begin() + first, aligned.end(), shape.begin() + first))
    return Access::periodic;
  return std::nullopt;
}

namespace {

bool needs_kernel(const Node& node) {
  return node.op->op_class != OpClass::source && node.op->op_class != OpClass::view &&
         node.op->name != "micro_sum";
}

bool same_region_space(const Graph& graph, const Node& a, NodeId b) {
  const Node& other = graph.node(b);
  return can_be_in_region(graph, b) && other.phase == a.phase && other.type.shape == a.type.shape;
}

void grow_regions(const Graph& graph, Partition& partition, const std::vector<bool>& taken) {
  for (NodeId id = 0; id < graph.size(); ++id) {
    if (taken[id] || !can_be_in_region(graph, id)) continue;
    for (NodeId input : graph.node(id).inputs) {
      if (taken[input] || !same_region_space(graph, graph.node(id), input)) continue;
      const NodeId a = partition.group(input), b = partition.group(id);
      if (a == b) continue;
      if (partition.members(a).size() + partition.members(b).size() > kMaxRegionNodes) continue;
      if (partition.can_merge(a, b)) partition.merge(a, b);
    }
  }
}

// Order of the groups of one phase: dependencies first, then by round, then state writers last, then by first node.
std::vector<Group> order(const Graph& graph, const std::vector<int>& rounds, std::vector<Group> groups) {
  std::map<NodeId, std::size_t> group_of;
  for (std::size_t i = 0; i < groups.size(); ++i)
    for (NodeId id : groups[i].nodes) group_of[id] = i;
  std::vector<std::vector<std::size_t>> users(groups.size());
  std::vector<int> waiting(groups.size(), 0);
  for (std::size_t i = 0; i < groups.size(); ++i) {
    std::vector<std::size_t> needed;
    for (NodeId id : groups[i].nodes)
      for (NodeId input : graph.node(id).inputs) {
        // Through views and sums, which have no kernel of their own.
        NodeId from = input;
        while (!group_of.contains(from) && !graph.node(from).inputs.empty() &&
               !needs_kernel(graph.node(from)))
          from = graph.node(from).inputs[0];
        const auto found = group_of.find(from);
        if (found != group_of.end() && found->second != i) needed.push_back(found->second);
      }
    std::sort(needed.begin(), needed.end());
    needed.erase(std::unique(needed.begin(), needed.end()), needed.end());
    for (std::size_t from : needed) users[from].push_back(i);
    waiting[i] = static_cast<int>(needed.size());
  }
  for (Group& group : groups)
    for (NodeId id : group.nodes) group.round = std::max(group.round, rounds[id]);
  using Key = std::tuple<int, bool, NodeId, std::size_t>;
  std::priority_queue<Key, std::vector<Key>, std::greater<>> ready;
  const auto push = [&](std::size_t i) {
    ready.emplace(groups[i].round, groups[i].updates_state, groups[i].nodes.front(), i);
  };
  for (std::size_t i = 0; i < groups.size(); ++i)
    if (waiting[i] == 0) push(i);
  std::vector<Group> ordered;
  while (!ready.empty()) {
    const std::size_t i = std::get<3>(ready.top());
    ready.pop();
    for (std::size_t user : users[i]) {
      groups[user].round = std::max(groups[user].round, groups[i].round);
      if (--waiting[user] == 0) push(user);
    }
    ordered.push_back(std::move(groups[i]));
  }
  SUANLI_CHECK(ordered.size() == groups.size());
  return ordered;
}

// The groups of all nodes, in no order yet.
class Grouping {
 public:
  Grouping(const Lowered& lowered, bool regions)
      : lowered_(lowered),
        regions_(regions),
        graph_(lowered.graph),
        users_(graph_.users()),
        partition_(graph_),
        taken_(graph_.size(), false) {}

  std::vector<Group> run() && {
    // A pattern holds only if no node is claimed twice and its kernel would not wait for itself. Groups of patterns take
    // part in the partition: a region must not close a cycle with them.
    for (Group& group : find_patterns(lowered_)) add(std::move(group));
    const std::vector<NodeId> weights = unrounded_weights(graph_, users_);
    for (NodeId id = 0; id < graph_.size(); ++id)
      if (weights[id] != kNoNode) taken_[id] = true;
    if (regions_) {
      for (Group& group : find_row_regions(graph_, users_, partition_, taken_)) add(std::move(group));
      grow_regions(graph_, partition_, taken_);
    }
    for (NodeId id = 0; id < graph_.size(); ++id)
      if (!taken_[id] && needs_kernel(graph_.node(id)) && !can_be_in_region(graph_, id)) add(single_group(graph_, id));
    if (regions_) attach_regions(graph_, users_, partition_, taken_, groups_);
    for (NodeId id = 0; id < graph_.size(); ++id)
      if (!taken_[id] && needs_kernel(graph_.node(id)) && partition_.group(id) == id)
        groups_.push_back(make_region(graph_, users_, partition_.members(id)));
    for (Group& group : groups_)
      for (NodeId& input : group.inputs)
        if (weights[input] != kNoNode) input = weights[input];
    return std::move(groups_);
  }

 private:
  void add(Group group) {
    const bool free = std::none_of(group.nodes.begin(), group.nodes.end(), [&](NodeId id) { return taken_[id]; });
    if (!free || !partition_.merge_all(group.nodes)) return;
    for (NodeId id : group.nodes) taken_[id] = true;
    groups_.push_back(std::move(group));
  }

  const Lowered& lowered_;
  const bool regions_;
  const Graph& graph_;
  std::vector<std::vector<NodeId>> users_;
  Partition partition_;
  std::vector<bool> taken_;
  std::vector<Group> groups_;
};

}  // namespace

std::vector<int> rounds_of(const Graph& graph) {
  std::vector<int> rounds(static_cast<std::size_t>(graph.size()), 0);
  for (NodeId id = 0; id < graph.size(); ++id) {
    if (graph.node(id).op->name == "step_input") rounds[id] = static_cast<int>(graph.node(id).attrs.integer("round", 0));
    for (NodeId input : graph.node(id).inputs) rounds[id] = std::max(rounds[id], rounds[input]);
  }
  return rounds;
}

Fused fuse(const Lowered& lowered, bool regions) {
  std::vector<std::vector<Group>> by_phase(3);
  for (Group& group : Grouping(lowered, regions).run())
    by_phase[static_cast<int>(lowered.graph.node(group.nodes.front()).phase)].push_back(std::move(group));
  const std::vector<int> rounds = rounds_of(lowered.graph);
  return {order(lowered.graph, rounds, std::move(by_phase[0])), order(lowered.graph, rounds, std::move(by_phase[1])),
          order(lowered.graph, rounds, std::move(by_phase[2]))};
}

}  // namespace suanli::engine
