// Fusion around kernels that are not regions themselves ("heads"): the elementwise chain behind a matrix product, a norm or
// attention becomes their epilogue (kernel.h), and products read weights as they are instead of a rounded copy.
#pragma once

#include <vector>

#include "suanli/engine/fuse.h"
#include "suanli/engine/partition.h"

namespace suanli::engine {

// The group of a node that is a kernel of its own.
Group single_group(const graph::Graph& graph, graph::NodeId id);

// Gives to each head among `groups` one region that reads its first result element for element, if that closes no cycle:
// the region's nodes (untaken so far, and whole groups of the partition) become part of the head's group.
void attach_regions(const graph::Graph& graph, const std::vector<std::vector<graph::NodeId>>& users,
                    Partition& partition, std::vector<bool>& taken, std::vector<Group>& groups);

// For each node that casts a param or state to bf16 for matrix products alone, that param; else kNoNode. Such a cast needs no
// kernel: products read the param itself and round while packing.
std::vector<graph::NodeId> unrounded_weights(const graph::Graph& graph,
                                             const std::vector<std::vector<graph::NodeId>>& users);

}  // namespace suanli::engine
