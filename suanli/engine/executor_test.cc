#include "suanli/engine/executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "suanli/base/clock.h"
#include "suanli/engine/engine_test_support.h"
#include "suanli/graph/edit.h"

namespace suanli::engine {
namespace {

using graph::Graph;
using test::Bench;
using test::host;
using test::random_floats;
using testing::HasSubstr;

struct Batch {
  std::vector<float> x, target;
};

Batch batch(std::int64_t rows, std::uint64_t seed) {
  return {random_floats(rows * 12, seed), random_floats(rows * 5, seed + 1000)};
}

// Three steps of the small network on the engine; the weights at the end, in graph order.
std::vector<std::vector<float>> train(const Graph& graph, std::int64_t rows, const Target& target,
                                      int threads, std::vector<double>* losses = nullptr) {
  Result<Bench> bench = Bench::make(graph, target, threads);
  if (!bench) {
    ADD_FAILURE() << bench.error().to_string();
    return {};
  }
  const std::vector<float> lr = {0.01F};
  for (std::uint64_t step = 0; step < 3; ++step) {
    bench->executor->begin_step();
    for (std::int64_t micro = 0; micro < graph.micro_batches(); ++micro) {
      const Batch data = batch(rows, step * 10 + static_cast<std::uint64_t>(micro));
      const int slot = static_cast<int>(micro) % target.slots;
      const HostTensor inputs[] = {host("x", data.x), host("target", data.target)};
      SUANLI_CHECK(bench->executor->forward(slot, inputs).has_value());
      SUANLI_CHECK(bench->executor->backward(slot).has_value());
    }
    const HostTensor step_inputs[] = {host("lr", lr)};
    SUANLI_CHECK(bench->executor->update(step_inputs).has_value());
    if (losses) losses->push_back(*bench->executor->read_scalar("loss"));
  }
  std::vector<std::vector<float>> weights;
  for (const State::Tensor& tensor : bench->state->tensors())
    weights.push_back(bench->read_state(tensor.name));
  return weights;
}

TEST(Executor, ThreeStepsAreThoseOfTheReference) {
  for (const std::int64_t micro_batches : {1, 3}) {
    Result<Graph> graph = test::small_network(7, micro_batches);
    ASSERT_TRUE(graph.has_value()) << graph.error().to_string();
    std::vector<double> losses;
    const auto weights = train(*graph, 7, {}, 2, &losses);

    Result<Bench> initial = Bench::make(*graph, {}, 1);
    graph::Interpreter interpreter(*graph);
    for (const State::Tensor& tensor : initial->state->tensors())
      interpreter.state(tensor.name) = test::ref(tensor.type, initial->read_state(tensor.name));
    for (std::uint64_t step = 0; step < 3; ++step) {
      std::vector<graph::Values> micro_inputs;
      for (std::int64_t micro = 0; micro < micro_batches; ++micro) {
        const Batch data = batch(7, step * 10 + static_cast<std::uint64_t>(micro));
        micro_inputs.push_back({{"x", test::ref(graph::f32({7, 12}), data.x)},
                                {"target", test::ref(graph::f32({7, 5}), data.target)}});
      }
      const auto outputs = interpreter.step(
          micro_inputs, {{"lr", test::ref(graph::f32({}), std::vector<float>{0.01F})}});
      ASSERT_TRUE(outputs.has_value()) << outputs.error().to_string();
      const double expected = outputs->at("loss").data[0];
      EXPECT_NEAR(losses[step], expected, 1e-5 * expected);
    }
    for (std::size_t t = 0; t < weights.size(); ++t) {
      const State::Tensor& tensor = initial->state->tensors()[t];
      const auto& expected = interpreter.state(tensor.name).data;
      for (std::size_t i = 0; i < expected.size(); ++i)
        EXPECT_NEAR(weights[t][i], expected[i], 1e-5) << tensor.name << " at " << i;
    }
  }
}

TEST(State, BeginsWithTheInitialValuesOfTheGraph) {
  const Graph graph = *test::small_network(16, 1);
  const auto device = make_cpu_device(2);
  State state(*device);
  ASSERT_TRUE(state.initialize(graph, 7));
  std::size_t compared = 0;
  for (const graph::Node& node : graph.nodes()) {
    if (node.op->name != "param" && node.op->name != "state") continue;
    const graph::RefTensor expected = *graph::initial_value(node, 7);
    std::vector<float> values(expected.data.size());
    ASSERT_TRUE(state.read(node.name, std::as_writable_bytes(std::span(values))));
    EXPECT_EQ(std::vector<double>(values.begin(), values.end()), expected.data) << node.name;
    ++compared;
  }
  EXPECT_EQ(compared, state.tensors().size());
}

TEST(Executor, AnyNumberOfThreadsAndSlotsGivesTheSameBits) {
  for (const Arithmetic arithmetic : {Arithmetic::f32, Arithmetic::bf16}) {
    Result<Graph> graph = test::small_network(33, 2);
    ASSERT_TRUE(graph.has_value());
    const auto expected = train(*graph, 33, {.arithmetic = arithmetic}, 1);
    for (const int threads : {2, 3, 4})
      EXPECT_EQ(train(*graph, 33, {.arithmetic = arithmetic}, threads), expected) << threads;
    EXPECT_EQ(train(*graph, 33, {.arithmetic = arithmetic, .slots = 2}, 2), expected);
  }
}

TEST(Executor, SlotsKeepMicroBatchesApart) {
  // Both forwards before both backwards, as in a pipeline.
  Result<Graph> graph = test::small_network(9, 2);
  const auto expected = train(*graph, 9, {.slots = 2}, 1);
  Result<Bench> bench = Bench::make(*graph, {.slots = 2}, 1);
  ASSERT_TRUE(bench.has_value());
  const std::vector<float> lr = {0.01F};
  for (std::uint64_t step = 0; step < 3; ++step) {
    bench->executor->begin_step();
    for (int micro = 0; micro < 2; ++micro) {
      const Batch data = batch(9, step * 10 + static_cast<std::uint64_t>(micro));
      const HostTensor inputs[] = {host("x", data.x), host("target", data.target)};
      ASSERT_TRUE(bench->executor->forward(micro, inputs));
    }
    for (int micro = 0; micro < 2; ++micro) ASSERT_TRUE(bench->executor->backward(micro));
    const HostTensor step_inputs[] = {host("lr", lr)};
    ASSERT_TRUE(bench->executor->update(step_inputs));
  }
  for (std::size_t t = 0; t < expected.size(); ++t)
    EXPECT_EQ(bench->read_state(bench->state->tensors()[t].name), expected[t]);
}

TEST(Executor, AValueThatIsNotFiniteStopsTheStepBeforeAnyChange) {
  Result<Graph> graph = test::small_network(4, 1);
  Result<Bench> bench = Bench::make(*graph, {}, 1);
  ASSERT_TRUE(bench.has_value());
  std::vector<float> w2 = bench->read_state("w2");
  w2[3] = std::numeric_limits<float>::infinity();
  ASSERT_TRUE(bench->state->write("w2", std::as_bytes(std::span(w2))));
  const std::vector<float> before = bench->read_state("w1");
  const Batch data = batch(4, 1);
  const HostTensor inputs[] = {host("x", data.x), host("target", data.target)};
  const std::vector<float> lr = {0.01F};
  const HostTensor step_inputs[] = {host("lr", lr)};
  bench->executor->begin_step();
  ASSERT_TRUE(bench->executor->forward(0, inputs));
  ASSERT_TRUE(bench->executor->backward(0));
  const Status status = bench->executor->update(step_inputs);
  ASSERT_FALSE(status.has_value());
  EXPECT_EQ(status.error().code, ErrorCode::not_finite);
  EXPECT_EQ(bench->read_state("w1"), before);
  const auto found = bench->executor->find_not_finite(inputs);
  ASSERT_TRUE(found.has_value());
  ASSERT_TRUE(found->has_value());
  EXPECT_THAT(**found, HasSubstr("parameter w2 holds inf at element 3 of f32[20x5]"));
}

Status one_step(Bench& bench, const std::vector<HostTensor>& inputs,
                const std::vector<HostTensor>& step_inputs = {}) {
  bench.executor->begin_step();
  SUANLI_RETURN_IF_ERROR(bench.executor->forward(0, inputs));
  SUANLI_RETURN_IF_ERROR(bench.executor->backward(0));
  return bench.executor->update(step_inputs);
}

TEST(Executor, ASumThatIsNotFiniteIsRefusedToo) {
  for (const std::int64_t micro_batches : {1, 2}) {
    Graph graph;
    ASSERT_TRUE(graph.set_micro_batches(micro_batches));
    graph::Builder b(graph);
    const auto sum = b.micro_sum(b.reduce_to(b.input("x", graph::f32({4})), {}));
    ASSERT_TRUE(graph.add_output("sum", sum));
    Result<Bench> bench = Bench::make(graph, {}, 1);
    ASSERT_TRUE(bench.has_value());
    const std::vector<float> good = {1, 2, 3, 4}, bad = {1, 2, 3, std::nanf("")};
    EXPECT_TRUE(one_step(*bench, {host("x", good)}));
    const Status status = one_step(*bench, {host("x", bad)});
    ASSERT_FALSE(status.has_value());
    EXPECT_EQ(status.error().code, ErrorCode::not_finite);
  }
}

TEST(Executor, AScalarOfTheNewStateIsNotLookedAtBeforeItIsThere) {
  // exp(x) overflows and leaves infinities where the norm of the new weights will lie.
  Graph graph;
  graph::Builder b(graph);
  const auto w = b.param("w", graph::f32({4, 8}), "ones"), g = b.param("g", graph::f32({4, 8}), "zeros");
  const auto largest = b.apply("reduce_max", {b.exp(b.input("x", graph::f32({4, 80})))});
  b.set_phase(graph::Phase::update);
  const auto m = b.state("m", graph::f32({4, 8}), "zeros"), v = b.state("v", graph::f32({4, 8}), "ones");
  const auto one = b.step_input("one", graph::f32({}));
  const auto m_next = b.apply("adamw_m", {m, g, one}, {{"beta1", 0.9}});
  const auto v_next = b.apply("adamw_v", {v, g, one}, {{"beta2", 0.9}});
  const auto w_next =
      b.apply("adamw_w", {w, m_next, v_next, one, one, one}, {{"eps", 1.0}, {"decay", 0.5}});
  const auto norm = b.apply("sum_squares", {b.reshape(w_next, {32})});  // a view is the new value too
  ASSERT_TRUE(b.status()) << b.status().error().to_string();
  ASSERT_TRUE(graph.add_update(w, w_next) && graph.add_update(m, m_next) && graph.add_update(v, v_next));
  ASSERT_TRUE(graph.add_output("largest", largest) && graph.add_output("norm", norm));
  Result<Bench> bench = Bench::make(graph, {}, 1);
  ASSERT_TRUE(bench.has_value());
  const std::vector<float> large(320, 1000.0F), rate = {1};
  const Status status = one_step(*bench, {host("x", large)}, {host("one", rate)});
  ASSERT_TRUE(status.has_value()) << status.error().to_string();
  EXPECT_NEAR(*bench->executor->read_scalar("norm"), 32 * 0.5 * 0.5, 1e-5);
}

TEST(Executor, UpdatesTakeEffectTogether) {
  Graph graph;
  graph::Builder b(graph);
  const auto a = b.param("a", graph::f32({4}), "ones"), c = b.param("c", graph::f32({4}), "zeros");
  b.set_phase(graph::Phase::update);
  ASSERT_TRUE(graph.add_update(a, b.reshape(c, {4})) && graph.add_update(c, b.reshape(a, {4})));
  Result<Bench> bench = Bench::make(graph, {}, 1);
  ASSERT_TRUE(bench.has_value());
  ASSERT_TRUE(one_step(*bench, {}));
  EXPECT_EQ(bench->read_state("a"), std::vector<float>(4, 0.0F));
  EXPECT_EQ(bench->read_state("c"), std::vector<float>(4, 1.0F));
}

TEST(Executor, WrongInputsAreRefusedByName) {
  Result<Graph> graph = test::small_network(4, 1);
  Result<Bench> bench = Bench::make(*graph, {}, 1);
  const Batch data = batch(4, 1), longer = batch(5, 1);
  const HostTensor missing[] = {host("x", data.x)};
  const HostTensor wrong_size[] = {host("x", longer.x), host("target", data.target)};
  const HostTensor unknown[] = {host("x", data.x), host("target", data.target), host("y", data.x)};
  EXPECT_THAT(bench->executor->forward(0, missing).error().to_string(), HasSubstr("target"));
  EXPECT_THAT(bench->executor->forward(0, wrong_size).error().to_string(),
              HasSubstr("240 bytes do not make a f32[4x12]"));
  EXPECT_THAT(bench->executor->forward(0, unknown).error().to_string(),
              HasSubstr("3 tensors given, 2 expected"));
  EXPECT_FALSE(bench->executor->read_scalar("nothing").has_value());
}

TEST(Executor, IdsOutOfRangeAreRefused) {
  Graph graph;
  graph::Builder b(graph);
  const auto table = b.param("table", graph::f32({10, 4}), "normal", 1);
  const auto ids = b.input("ids", graph::i32({3}));
  const auto rows = b.apply("embedding", {table, ids});
  ASSERT_TRUE(graph.add_output("rows", rows));
  Result<Bench> bench = Bench::make(graph, {}, 1);
  ASSERT_TRUE(bench.has_value());
  const std::vector<std::int32_t> good = {0, 9, 5}, bad = {0, 10, 5};
  const HostTensor good_input[] = {host("ids", good)}, bad_input[] = {host("ids", bad)};
  EXPECT_TRUE(bench->executor->forward(0, good_input));
  const Status status = bench->executor->forward(0, bad_input);
  ASSERT_FALSE(status.has_value());
  EXPECT_THAT(status.error().to_string(), HasSubstr("value 10 at position 1 is not in [0, 10)"));
}

TEST(Executor, ACaptureHoldsTheStateBetweenTwoUpdates) {
  Result<Graph> graph = test::small_network(6, 1);
  Result<Bench> bench = Bench::make(*graph, {}, 2);
  ASSERT_TRUE(bench.has_value());
  std::vector<std::vector<float>> before;
  std::vector<std::vector<float>> captured;
  std::vector<std::byte*> to;
  for (const State::Tensor& tensor : bench->state->tensors()) {
    before.push_back(bench->read_state(tensor.name));
    captured.emplace_back(before.back().size(), 0.0F);
  }
  for (auto& tensor : captured) to.push_back(reinterpret_cast<std::byte*>(tensor.data()));
  const auto capture = bench->state->capture(to);
  ASSERT_TRUE(capture.has_value());
  const Batch data = batch(6, 1);
  const HostTensor inputs[] = {host("x", data.x), host("target", data.target)};
  const std::vector<float> lr = {0.5F};
  const HostTensor step_inputs[] = {host("lr", lr)};
  bench->executor->begin_step();
  ASSERT_TRUE(bench->executor->forward(0, inputs));
  ASSERT_TRUE(bench->executor->backward(0));
  ASSERT_TRUE(bench->executor->update(step_inputs));
  bench->device->synchronize(capture->done);
  EXPECT_EQ(captured, before);
  EXPECT_NE(bench->read_state("w2"), before[4]);
}

TEST(Executor, TimingTellsWhenEachCallRanLast) {
  Result<Graph> graph = test::small_network(7, 2);
  ASSERT_TRUE(graph.has_value());
  Result<Bench> bench = Bench::make(*graph, {}, 2);
  ASSERT_TRUE(bench.has_value());
  const Batch data = batch(7, 1);
  const HostTensor inputs[] = {host("x", data.x), host("target", data.target)};
  const auto micro_batch = [&] {
    ASSERT_TRUE(bench->executor->forward(0, inputs).has_value());
    ASSERT_TRUE(bench->executor->backward(0).has_value());
  };
  bench->executor->begin_step();
  micro_batch();
  EXPECT_EQ(bench->executor->call_times(graph::Phase::forward).front().calls, 0U) << "off at first";
  bench->executor->set_timing(true);
  micro_batch();
  const double between = real_clock().now().value();
  micro_batch();
  double end = between;
  for (const graph::Phase phase : {graph::Phase::forward, graph::Phase::backward})
    for (const CallTime& time : bench->executor->call_times(phase)) {
      EXPECT_EQ(time.calls, 2U);
      EXPECT_GE(time.last_start, end) << "calls run one after the other";
      EXPECT_GE(time.seconds, time.last_seconds);
      end = time.last_start + time.last_seconds;
    }
  EXPECT_LE(end, real_clock().now().value());
}

}  // namespace
}  // namespace suanli::engine
