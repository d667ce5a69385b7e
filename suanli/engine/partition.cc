#include "suanli/engine/partition.h"

#include <algorithm>

namespace suanli::engine {

using graph::NodeId;

Partition::Partition(const graph::Graph& graph)
    : graph_(graph), group_(graph.size()), members_(graph.size()), stamp_(graph.size(), 0) {
  for (NodeId id = 0; id < graph.size(); ++id) {
    group_[id] = id;
    members_[id] = {id};
  }
}

NodeId Partition::merge(NodeId a, NodeId b) {
  if (a == b) return a;
  if (b < a) std::swap(a, b);
  for (NodeId id : members_[b]) group_[id] = a;
  members_[a].insert(members_[a].end(), members_[b].begin(), members_[b].end());
  std::sort(members_[a].begin(), members_[a].end());
  members_[b].clear();
  return a;
}

bool Partition::merge_all(const std::vector<NodeId>& nodes) {
  for (NodeId id : nodes) {
    const NodeId a = group(nodes.front()), b = group(id);
    if (a == b) continue;
    if (!can_merge(a, b)) return false;
    merge(a, b);
  }
  return true;
}

// Is there a path source -> ... -> target with a group between them?
bool Partition::reaches_through_others(NodeId source, NodeId target) {
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

}  // namespace suanli::engine
