// Writes graphs as one writes formulas. The first error sticks: later calls return kNoNode and do nothing, and status()
// tells it, so that a model reads as a list of lines and is checked once at its end.
//
//   Builder b(graph);
//   NodeId h = b.gelu(b.add(b.matmul(x, w), bias));
//   SUANLI_RETURN_IF_ERROR(b.status());
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/graph/graph.h"

namespace suanli::graph {

class Builder {
 public:
  explicit Builder(Graph& graph) : graph_(graph) {}

  const Status& status() const { return status_; }
  Graph& graph() { return graph_; }
  const TensorType& type(NodeId id) const;

  // Phase and block of the nodes added from now on.
  void set_phase(Phase phase) { phase_ = phase; }
  void set_block(int block) { block_ = block; }
  Phase phase() const { return phase_; }
  int block() const { return block_; }

  // Any op by name.
  NodeId apply(std::string_view op_name, std::vector<NodeId> inputs, Attrs attrs = {});

  // Sources. Input values change with every micro-batch, step inputs with every step.
  NodeId input(std::string name, TensorType type);
  NodeId step_input(std::string name, TensorType type);
  // init: "zeros", "ones" or "normal" with standard deviation `deviation`; `decay` says whether weight decay applies.
  NodeId param(std::string name, TensorType type, std::string init, double deviation = 0, bool decay = false);
  NodeId state(std::string name, TensorType type, std::string init);

  NodeId fill(Shape shape, double value);                  // f32 constant
  // Elementwise; b may be smaller: right-aligned, each dimension equal or 1.
  NodeId add(NodeId a, NodeId b) { return apply("add", {a, b}); }
  NodeId sub(NodeId a, NodeId b) { return apply("sub", {a, b}); }
  NodeId mul(NodeId a, NodeId b) { return apply("mul", {a, b}); }
  NodeId div(NodeId a, NodeId b) { return apply("div", {a, b}); }
  NodeId minimum(NodeId a, NodeId b) { return apply("minimum", {a, b}); }
  NodeId maximum(NodeId a, NodeId b) { return apply("maximum", {a, b}); }
  NodeId scale(NodeId x, double factor) { return apply("scale", {x}, {{"factor", factor}}); }
  NodeId shift(NodeId x, double offset) { return apply("shift", {x}, {{"offset", offset}}); }
  NodeId exp(NodeId x) { return apply("exp", {x}); }
  NodeId log(NodeId x) { return apply("log", {x}); }
  NodeId sqrt(NodeId x) { return apply("sqrt", {x}); }
  NodeId rsqrt(NodeId x) { return apply("rsqrt", {x}); }
  NodeId gelu(NodeId x) { return apply("gelu", {x}); }
  NodeId cast(NodeId x, DType dtype);
  // Shapes.
  NodeId reshape(NodeId x, Shape shape) { return apply("reshape", {x}, {{"shape", shape}}); }
  NodeId transpose(NodeId x, std::vector<std::int64_t> permutation) {
    return apply("transpose", {x}, {{"permutation", std::move(permutation)}});
  }
  NodeId slice(NodeId x, std::int64_t axis, std::int64_t start, std::int64_t size) {
    return apply("slice", {x}, {{"axis", axis}, {"start", start}, {"size", size}});
  }
  NodeId broadcast_to(NodeId x, Shape shape) { return apply("broadcast_to", {x}, {{"shape", shape}}); }
  // Sum over the dimensions in which `shape` is 1 or missing; the inverse direction of broadcast_to.
  NodeId reduce_to(NodeId x, Shape shape) { return apply("reduce_to", {x}, {{"shape", shape}}); }
  NodeId reduce_max(NodeId x) { return apply("reduce_max", {x}); }  // over the last axis, kept as 1
  // [..., M, K] x [..., K, N]; a transposed operand is given as [..., K, M] or [..., N, K].
  NodeId matmul(NodeId a, NodeId b, bool transpose_a = false, bool transpose_b = false) {
    return apply("matmul", {a, b},
                 {{"ta", std::int64_t{transpose_a}}, {"tb", std::int64_t{transpose_b}}});
  }
  // The sum of `x` over the micro-batches of a step; the bridge from forward and backward into update.
  NodeId micro_sum(NodeId x) { return apply("micro_sum", {x}); }

 private:
  NodeId source(std::string_view op_name, std::string name, TensorType type, Attrs attrs = {});
  Graph& graph_;
  Status status_;
  Phase phase_ = Phase::forward;
  int block_ = 0;
};

}  // namespace suanli::graph
