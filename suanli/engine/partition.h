// A partition of a graph's nodes into groups that run as one kernel each, grown by merging.
#pragma once

#include <cstdint>
#include <vector>

#include "suanli/graph/graph.h"

namespace suanli::engine {

// Group ids are node ids of their first members.
class Partition {
 public:
  explicit Partition(const graph::Graph& graph);

  graph::NodeId group(graph::NodeId id) const { return group_[id]; }
  const std::vector<graph::NodeId>& members(graph::NodeId group) const { return members_[group]; }

  // Merging two groups is safe if neither reaches the other through a third.
  bool can_merge(graph::NodeId a, graph::NodeId b) {
    return !reaches_through_others(a, b) && !reaches_through_others(b, a);
  }
  // The merged group's id.
  graph::NodeId merge(graph::NodeId a, graph::NodeId b);
  // Merges the groups of all these nodes if that is safe. What it merged before it refuses is harmless.
  bool merge_all(const std::vector<graph::NodeId>& nodes);

 private:
  bool reaches_through_others(graph::NodeId source, graph::NodeId target);

  const graph::Graph& graph_;
  std::vector<graph::NodeId> group_;
  std::vector<std::vector<graph::NodeId>> members_;
  std::vector<std::uint32_t> stamp_;
  std::uint32_t now_ = 0;
};

}  // namespace suanli::engine
