// Shared by the engine's tests: random tensors, a small network, and runs of both the engine and the reference.
#pragma once

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "suanli/base/philox.h"
#include "suanli/engine/compile.h"
#include "suanli/engine/executor.h"
#include "suanli/graph/autodiff.h"
#include "suanli/graph/builder.h"
#include "suanli/graph/interpreter.h"

namespace suanli::engine::test {

// Uniform in [-1, 1), a function of seed and index.
inline std::vector<float> random_floats(std::int64_t count, std::uint64_t seed) {
  const Philox random(seed, suanli::Stream::test);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<float>(2 * random.uniform(i) - 1);
  return values;
}

inline HostTensor host(std::string_view name, const std::vector<float>& values) {
  return {name, values.data(), Bytes(static_cast<std::int64_t>(values.size() * 4))};
}
inline HostTensor host(std::string_view name, const std::vector<std::int32_t>& values) {
  return {name, values.data(), Bytes(static_cast<std::int64_t>(values.size() * 4))};
}

template <typename Number>
graph::RefTensor ref(const graph::TensorType& type, const std::vector<Number>& values) {
  return {type, std::vector<double>(values.begin(), values.end())};
}

// Two layers with norm and GELU, trained by plain gradient descent: x [n, 12], target [n, 5], step input lr.
inline Result<graph::Graph> small_network(std::int64_t rows, std::int64_t micro_batches) {
  graph::Graph graph;
  SUANLI_RETURN_IF_ERROR(graph.set_micro_batches(micro_batches));
  graph::Builder b(graph);
  const auto x = b.input("x", graph::f32({rows, 12}));
  const auto target = b.input("target", graph::f32({rows, 5}));
  const auto w1 = b.param("w1", graph::f32({12, 20}), "normal", 0.3);
  const auto b1 = b.param("b1", graph::f32({20}), "zeros");
  const auto gain = b.param("gain", graph::f32({20}), "ones");
  const auto bias = b.param("bias", graph::f32({20}), "zeros");
  b.set_block(1);
  const auto w2 = b.param("w2", graph::f32({20, 5}), "normal", 0.3);
  b.set_block(0);
  auto h = b.gelu(b.add(b.matmul(x, w1), b1));
  h = b.apply("layer_norm", {h, gain, bias}, {{"eps", 1e-5}});
  b.set_block(1);
  const auto difference = b.sub(b.matmul(h, w2), target);
  const auto loss = b.reduce_to(b.mul(difference, difference), {});
  const auto loss_sum = b.micro_sum(loss);
  SUANLI_RETURN_IF_ERROR(b.status());
  SUANLI_ASSIGN_OR_RETURN(const auto gradients, graph::differentiate(graph, loss));
  b.set_phase(graph::Phase::update);
  const auto lr = b.step_input("lr", graph::f32({}));
  for (const auto& [param, gradient] : gradients) {
    const auto next = b.sub(param, b.mul(gradient, lr));
    SUANLI_RETURN_IF_ERROR(b.status());
    SUANLI_RETURN_IF_ERROR(graph.add_update(param, next));
  }
  const auto loss_out = b.scale(loss_sum, 1.0);
  SUANLI_RETURN_IF_ERROR(b.status());
  SUANLI_RETURN_IF_ERROR(graph.add_output("loss", loss_out));
  return graph;
}

// An executor with all it stands on.
struct Bench {
  std::unique_ptr<Device> device;
  std::unique_ptr<State> state;
  std::unique_ptr<Executor> executor;

  static Result<Bench> make(const graph::Graph& graph, const Target& target, int threads,
                            std::uint64_t seed = 1) {
    Bench bench;
    bench.device = make_cpu_device(threads);
    bench.state = std::make_unique<State>(*bench.device);
    SUANLI_RETURN_IF_ERROR(bench.state->initialize(graph, seed));
    SUANLI_ASSIGN_OR_RETURN(Program program, compile(graph, target));
    SUANLI_ASSIGN_OR_RETURN(
        bench.executor, Executor::create(std::make_shared<const Program>(std::move(program)),
                                         *bench.device, *bench.state));
    return bench;
  }

  std::vector<float> read_state(std::string_view name) const {
    State::Tensor* tensor = state->find(name);
    SUANLI_CHECK(tensor != nullptr);
    std::vector<float> values(static_cast<std::size_t>(tensor->type.elements()));
    SUANLI_CHECK(state->read(name, std::as_writable_bytes(std::span(values))).has_value());
    return values;
  }
};

}  // namespace suanli::engine::test
