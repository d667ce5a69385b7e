// The canonical digest of a graph: two graphs have the same digest exactly when they name the same
// computation of the same cost. It does not depend on the order in which independent nodes were
// added, nor on nodes that no output or update needs. Encoding: docs/formats/graph-digest.md.
#pragma once

#include <vector>

#include "suanli/base/sha256.h"
#include "suanli/graph/graph.h"

namespace suanli::graph {

// Covers outputs and their names, updates, micro-batches, and every live node.
Digest digest(const Graph& graph);

// For each node (dead ones too) the digest of the computation that ends in it: its op, attributes,
// type, phase, block and name, and the digests of its inputs in order.
std::vector<Digest> node_digests(const Graph& graph);

}  // namespace suanli::graph
