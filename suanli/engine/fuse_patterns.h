// The shapes that fusion looks for (fuse.h).
#pragma once

#include <vector>

#include "suanli/engine/fuse.h"

namespace suanli::engine {

// Pairs and triples of nodes that one kernel computes. No node is in two of them.
std::vector<Group> find_patterns(const Lowered& lowered);

inline constexpr std::size_t kMaxRegionNodes = 24;  // keeps a region's live tiles within L1 and L2

// Is the node elementwise, of a kind and with operands that region bytecode can express?
bool can_be_in_region(const graph::Graph& graph, graph::NodeId id);

// The region that computes `nodes` (ascending, all of one shape and phase). Its input 0 is `first`, if given: a value of
// that shape that the same kernel makes; the region also stores it, if nodes elsewhere read it.
Group make_region(const graph::Graph& graph, const std::vector<std::vector<graph::NodeId>>& users,
                  const std::vector<graph::NodeId>& nodes, graph::NodeId first = graph::kNoNode);

}  // namespace suanli::engine
