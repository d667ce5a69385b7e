// Fusion of row reductions: chains of elementwise ops, sums or maxima over the last dimension, and ops that broadcast those
// back over the row (a norm or softmax written out in a graph) become one region with row ops (region.h), which goes over
// whole rows in the L1 cache.
#pragma once

#include <vector>

#include "suanli/engine/fuse.h"
#include "suanli/engine/partition.h"

namespace suanli::engine {

// The groups around each reduce_to or reduce_max over rows of 2 to kLongestRow elements that have more to do than it. Only
// nodes that are not `taken` and not merged yet take part. The groups' nodes are merged in `partition`, so that no group
// waits for itself.
std::vector<Group> find_row_regions(const graph::Graph& graph, const std::vector<std::vector<graph::NodeId>>& users,
                                    Partition& partition, const std::vector<bool>& taken);

}  // namespace suanli::engine
