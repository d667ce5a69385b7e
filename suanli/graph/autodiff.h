// Reverse-mode differentiation on the graph: Griewank and Walther, "Evaluating Derivatives", 2nd ed., chapter 3.
#pragma once

#include <vector>

#include "suanli/base/error.h"
#include "suanli/graph/graph.h"

namespace suanli::graph {

// The gradient of one parameter, ready for the update phase.
struct ParameterGradient {
  NodeId param;
  // Sum over the step's micro-batches, in the update phase. A parameter that several blocks use (a tied embedding)
  // has one micro_sum per block, added in the update phase: what crosses stages then does so once per step.
  NodeId gradient;
};

// Adds backward nodes for d(sum over micro-batches of loss)/d(param) of every param that `loss` depends on, in canonical
// (ascending id) order, each backward node in the block of the forward node it belongs to. `loss` is a f32 scalar of the
// forward phase. An op without a gradient stops the flow.
Result<std::vector<ParameterGradient>> differentiate(Graph& graph, NodeId loss);

// The same without accumulation, for tests: d(loss)/d(node) for each of `nodes`, in the backward phase; kNoNode where
// loss does not depend on it.
Result<std::vector<NodeId>> gradients(Graph& graph, NodeId loss, const std::vector<NodeId>& nodes);

}  // namespace suanli::graph
