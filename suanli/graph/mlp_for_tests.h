// A small training job for tests: a residual perceptron with a tied input and output matrix,
// momentum descent and a gradient clipped by its global norm. Every feature that cuts, digests and
// edits look at is in it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "suanli/base/philox.h"
#include "suanli/graph/autodiff.h"
#include "suanli/graph/builder.h"
#include "suanli/graph/interpreter.h"

namespace suanli::graph {

inline constexpr std::int64_t kTestBatch = 4;
inline constexpr std::int64_t kTestInputs = 3;
inline constexpr std::int64_t kTestWidth = 5;

// Block 0: h = x in. Blocks 1..layers: h += gelu(h layer.i.up) layer.i.down. Block layers + 1: the
// mean squared error of h in^T against the target. For each param p a moment m.p. Outputs: loss,
// norm.
inline Graph mlp_for_tests(int layers, std::int64_t hidden, std::int64_t micro_batches = 1) {
  Graph graph;
  Builder b(graph);
  const NodeId x = b.input("x", f32({kTestBatch, kTestInputs}));
  const NodeId in = b.param("in", f32({kTestInputs, kTestWidth}), "normal", 0.5, true);
  NodeId h = b.matmul(x, in);
  for (int i = 1; i <= layers; ++i) {
    b.set_block(i);
    const std::string name = "layer." + std::to_string(i);
    const NodeId up = b.param(name + ".up", f32({kTestWidth, hidden}), "normal", 0.5);
    const NodeId down = b.param(name + ".down", f32({hidden, kTestWidth}), "normal", 0.5);
    h = b.add(h, b.matmul(b.gelu(b.matmul(h, up)), down));
  }
  b.set_block(layers + 1);
  const NodeId target = b.input("target", f32({kTestBatch, kTestInputs}));
  const NodeId error = b.sub(b.matmul(h, in, false, true), target);
  const NodeId loss = b.scale(b.reduce_to(b.mul(error, error), {}), 1.0 / kTestBatch);
  SUANLI_CHECK(graph.add_output("loss", loss));

  const auto gradients = differentiate(graph, loss);
  SUANLI_CHECK(gradients.has_value());
  b.set_phase(Phase::update);
  b.set_block(kWholeJob);
  const NodeId rate = b.step_input("rate", f32({}));
  NodeId sum = b.fill({}, 1e-12);
  for (const ParameterGradient& g : *gradients) {
    b.set_block(graph.node(g.param).block);
    const NodeId square = b.reduce_to(b.mul(g.gradient, g.gradient), {});
    b.set_block(kWholeJob);
    sum = b.add(sum, square);
  }
  SUANLI_CHECK(graph.add_output("norm", b.sqrt(sum)));
  const NodeId clip = b.minimum(b.fill({}, 1), b.rsqrt(sum));
  for (const ParameterGradient& g : *gradients) {
    const std::string name = graph.node(g.param).name;
    b.set_block(graph.node(g.param).block);
    const NodeId moment = b.state("m." + name, b.type(g.param), "zeros");
    const NodeId next = b.add(b.scale(moment, 0.9), b.mul(g.gradient, clip));
    SUANLI_CHECK(graph.add_update(moment, next));
    SUANLI_CHECK(graph.add_update(g.param, b.sub(g.param, b.mul(next, rate))));
  }
  SUANLI_CHECK(graph.set_micro_batches(micro_batches));
  SUANLI_CHECK(b.status());
  return graph;
}

inline RefTensor random_for_tests(const TensorType& type, std::uint64_t seed) {
  RefTensor tensor{type, std::vector<double>(static_cast<std::size_t>(type.elements()))};
  const Philox random(seed, Stream::test);
  for (std::size_t i = 0; i < tensor.data.size(); ++i) tensor.data[i] = random.normal(i);
  return tensor;
}

}  // namespace suanli::graph
