// Lowering: a copy of the live part of a graph in which the target's arithmetic is explicit. For bf16 these operands pass
// through a cast node, one per value however many readers it has (the update phase, which may not read values of the others,
// has its own):
//   - the float operands of every GEMM and of attention, and of its gradient the result and its gradient;
//   - what a norm's gradient reads of its result's gradient;
//   - what gelu and its gradient read, which is kept from one to the other, so that it takes two bytes;
//   - a sum over rows in backward, if the value is cast for another reader.
// Sums, the residual stream, norms, weights and optimizer state stay f32.
//
// Exact arithmetic has no casts. Its graph is one of at least two micro-batches, so that a micro_sum is never its term's
// buffer: one micro-batch is summed like several.
#pragma once

#include <vector>

#include "suanli/base/error.h"
#include "suanli/engine/target.h"
#include "suanli/graph/graph.h"

namespace suanli::engine {

struct Lowered {
  graph::Graph graph;
  std::vector<graph::NodeId> canonical;  // lowered node -> canonical node, kNoNode for what is added here
  std::vector<graph::NodeId> lowered;    // canonical node -> lowered node, kNoNode if not live
  Arithmetic arithmetic = Arithmetic::f32;
};

Result<Lowered> lower(const graph::Graph& graph, Arithmetic arithmetic);

// The node whose buffer a node shares: through views, and through micro_sum if the graph is of one micro-batch.
graph::NodeId root_of(const graph::Graph& graph, graph::NodeId id);

}  // namespace suanli::engine
