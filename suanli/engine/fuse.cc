#include "suanli/engine/fuse.h"

#include <algorithm>
#include <map>
#include <queue>

#include "suanli/engine/fuse_patterns.h"
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

constexpr std::size_t kMaxRegionNodes = 24;  // keeps a region's live tiles within L1 and L2

bool needs_kernel(const Node& node) {
  return node.op->op_class != OpClass::source && node.op->op_class != OpClass::view &&
         node.op->name != "micro_sum";
}

// A partition of the nodes into groups, grown by merging. Group ids are node ids of their first members.
class Partition {
 public:
  explicit Partition(const Graph& graph) : graph_(graph), group_(graph.size()), stamp_(graph.size(), 0) {
    members_.resize(graph.size());
    for (NodeId id = 0; id < graph.size(); ++id) {
      group_[id] = id;
      members_[id] = {id};
    }
  }

  NodeId group(NodeId id) const { return group_[id]; }
  const std::vector<NodeId>& members(NodeId group) const { return members_[group]; }

  // Merging two groups is safe if neither reaches the other through a third.
  bool can_merge(NodeId a, NodeId b) {
    return !reaches_through_others(a, b) && !reaches_through_others(b, a);
  }

  NodeId merge(NodeId a, NodeId b) {
    if (a == b) return a;
    if (b < a) std::swap(a, b);
    for (NodeId id : members_[b]) group_[id] = a;
    members_[a].insert(members_[a].end(), members_[b].begin(), members_[b].end());
    std::sort(members_[a].begin(), members_[a].end());
    members_[b].clear();
    return a;
  }

  // Merges the groups of all these nodes if that is safe. What it merged before it refuses is harmless.
  bool merge_all(const std::vector<NodeId>& nodes) {
    for (NodeId id : nodes) {
      const NodeId a = group(nodes.front()), b = group(id);
      if (a == b) continue;
      if (!can_merge(a, b)) return false;
      merge(a, b);
    }
    return true;
  }

 private:
  // Is there a path source -> ... -> target with a group between them?
  bool reaches_through_others(NodeId source, NodeId target) {
    ++now_;
    std::vector<NodeId> open;
    const auto push_inputs = [&](NodeId group, bool direct) {
      for (NodeId id : members_[group])
        for (NodeId input : graph_.node(id).inputs) {
          const NodeId next = group_[input];
          if (next == target || (direct && next == source) || stamp_[next] == now_) continue;
          stamp_[next] = now_;
          open.push_back(next);
        }
    };
    push_inputs(target, true);
    while (!open.empty()) {
      const NodeId group = open.back();
      open.pop_back();
      if (group == source) return true;
      push_inputs(group, false);
    }
    return false;
  }

  const Graph& graph_;
  std::vector<NodeId> group_;
  std::vector<std::vector<NodeId>> members_;
  std::vector<std::uint32_t> stamp_;
  std::uint32_t now_ = 0;
};

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

// Order of the groups of one phase: dependencies first, then state writers last, then by first node.
std::vector<Group> order(const Graph& graph, std::vector<Group> groups) {
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
  using Key = std::tuple<bool, NodeId, std::size_t>;
  std::priority_queue<Key, std::vector<Key>, std::greater<>> ready;
  const auto push = [&](std::size_t i) {
    ready.emplace(groups[i].updates_state, groups[i].nodes.front(), i);
  };
  for (std::size_t i = 0; i < groups.size(); ++i)
    if (waiting[i] == 0) push(i);
  std::vector<Group> ordered;
  while (!ready.empty()) {
    const std::size_t i = std::get<2>(ready.top());
    ready.pop();
    for (std::size_t user : users[i])
      if (--waiting[user] == 0) push(user);
    ordered.push_back(std::move(groups[i]));
  }
  SUANLI_CHECK(ordered.size() == groups.size());
  return ordered;
}

Group single(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  return {std::string(node.op->name), {id}, node.inputs, {id}, node.attrs, std::nullopt, false};
}

}  // namespace

Fused fuse(const Lowered& lowered) {
  const Graph& graph = lowered.graph;
  std::vector<std::vector<Group>> by_phase(3);
  std::vector<bool> taken(graph.size(), false);
  const auto take = [&](Group group) {
    for (NodeId id : group.nodes) taken[id] = true;
    by_phase[static_cast<int>(graph.node(group.nodes.front()).phase)].push_back(std::move(group));
  };
  // A pattern holds only if no node is claimed twice and its kernel would not wait for itself. Groups of patterns take
  // part in the partition: a region must not close a cycle with them.
  Partition partition(graph);
  for (Group& group : find_patterns(graph)) {
    const bool free = std::none_of(group.nodes.begin(), group.nodes.end(),
                                   [&](NodeId id) { return taken[id]; });
    if (free && partition.merge_all(group.nodes)) take(std::move(group));
  }
  grow_regions(graph, partition, taken);

  const std::vector<std::vector<NodeId>> users = graph.users();
  for (NodeId id = 0; id < graph.size(); ++id) {
    if (taken[id] || !needs_kernel(graph.node(id))) continue;
    if (can_be_in_region(graph, id)) {
      if (partition.group(id) == id) take(make_region(graph, users, partition.members(id)));
    } else {
      take(single(graph, id));
    }
  }
  return {order(graph, std::move(by_phase[0])), order(graph, std::move(by_phase[1])),
          order(graph, std::move(by_phase[2]))};
}

}  // namespace suanli::engine
