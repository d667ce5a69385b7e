// Fusion: which lowered nodes run as one kernel. A group is either one node, several that a single kernel computes better
// (attention with its statistics, the three gradients of a layer norm, a weight's gradient with its bias's, the loss over a
// vocabulary, AdamW), a region of elementwise nodes and row reductions, or a kernel with the region behind it as its epilogue.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "suanli/engine/lower.h"
#include "suanli/engine/region.h"
#include "suanli/graph/graph.h"

namespace suanli::engine {

struct Group {
  std::string kernel;                      // KernelSpec::name
  std::vector<graph::NodeId> nodes;        // ascending
  std::vector<graph::NodeId> inputs;       // operands of the kernel, in its order
  std::vector<graph::NodeId> outputs;      // nodes whose values the kernel writes, in its order
  graph::Attrs attrs;
  std::optional<Region> region;
  bool updates_state = false;              // writes its first inputs in place (adamw)
  int round = 0;                           // of an update in rounds (graph/stage_graph.h): no smaller than any it reads
};

// Groups of all nodes that need a kernel (not sources, views or micro_sum), each phase in an order in which they can run: round
// by round, and in a round those that write state last.
struct Fused {
  std::vector<Group> forward, backward, update;
};

// Without `regions`, a region is one node and no kernel has an epilogue.
Fused fuse(const Lowered& lowered, bool regions = true);

// For each node the greatest `round` of the step inputs that it depends on; 0 if none has one.
std::vector<int> rounds_of(const graph::Graph& graph);

// How an operand of shape `operand` is read by an elementwise op of shape `shape`, if a region can do that.
std::optional<Access> access_of(const graph::Shape& operand, const graph::Shape& shape);

}  // namespace suanli::engine
