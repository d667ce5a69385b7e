#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "suanli/engine/engine_test_support.h"
#include "suanli/engine/fuse.h"

namespace suanli::engine {
namespace {

using graph::Builder;
using graph::f32;
using graph::Graph;
using graph::NodeId;
using testing::ElementsAre;

std::vector<std::string> kernels(const Graph& graph, Arithmetic arithmetic = Arithmetic::f32) {
  auto program = compile(graph, {.arithmetic = arithmetic});
  SUANLI_CHECK(program.has_value());
  std::vector<std::string> names;
  for (const KernelCall& call : program->forward) names.push_back(call.spec.name + (call.region ? "+" : ""));
  return names;
}

// What the engine makes of the graph's outputs must be what the interpreter makes of them.
void expect_computed(const Graph& graph, const std::vector<std::vector<float>>& inputs, Arithmetic arithmetic, double tolerance) {
  auto bench = test::Bench::make(graph, {.arithmetic = arithmetic}, 2);
  ASSERT_TRUE(bench.has_value()) << bench.error().to_string();
  std::vector<HostTensor> host;
  graph::Values values;
  std::size_t next = 0;
  for (NodeId id : graph.nodes_of("input")) {
    host.push_back(test::host(graph.node(id).name, inputs[next]));
    values[graph.node(id).name] = test::ref(graph.node(id).type, inputs[next++]);
  }
  bench->executor->begin_step();
  const Status ran = bench->executor->forward(0, host);
  ASSERT_TRUE(ran.has_value()) << ran.error().to_string();
  graph::Interpreter interpreter(graph);
  const auto expected = interpreter.step(std::vector<graph::Values>{values}, {});
  ASSERT_TRUE(expected.has_value()) << expected.error().to_string();
  for (const graph::Output& output : graph.outputs()) {
    std::vector<float> actual(static_cast<std::size_t>(graph.node(output.node).type.elements()));
    ASSERT_TRUE(bench->executor->read(output.name, std::as_writable_bytes(std::span(actual))));
    for (std::size_t i = 0; i < actual.size(); ++i)
      ASSERT_NEAR(actual[i], expected->at(output.name).data[i], tolerance) << output.name << " " << i;
  }
}

TEST(FuseHeads, TheChainBehindAProductIsItsEpilogue) {
  Graph graph;
  Builder b(graph);
  const NodeId x = b.input("x", f32({40, 24})), w = b.input("w", f32({24, 48})), bias = b.input("bias", f32({48}));
  const NodeId h = b.matmul(x, w);
  const NodeId y = b.gelu(b.add(h, bias));
  ASSERT_TRUE(graph.add_output("y", y) && graph.add_output("h", h));  // the product itself is read too
  EXPECT_THAT(kernels(graph), ElementsAre("matmul+"));
  for (const Arithmetic arithmetic : {Arithmetic::f32, Arithmetic::bf16})
    expect_computed(graph, {test::random_floats(960, 1), test::random_floats(1152, 2), test::random_floats(48, 3)}, arithmetic,
                    arithmetic == Arithmetic::f32 ? 1e-4 : 6e-2);
}

TEST(FuseHeads, AnEpilogueNeverReadsASecondResultOfItsKernel) {
  // The weight's gradient and the bias's are one kernel; their sum must wait for both.
  Graph graph;
  Builder b(graph);
  const NodeId x = b.input("x", f32({40, 24})), dy = b.input("dy", f32({40, 48}));
  const NodeId dw = b.matmul(x, dy, true), db = b.reduce_to(dy, {48});
  ASSERT_TRUE(graph.add_output("y", b.add(dw, db)));
  EXPECT_THAT(kernels(graph), ElementsAre("matmul", "region+"));
  expect_computed(graph, {test::random_floats(960, 1), test::random_floats(1920, 2)}, Arithmetic::f32, 1e-4);
}

TEST(FuseHeads, AnOperandIsReadOnceForAllThatReadsIt) {
  Graph graph;
  Builder b(graph);
  const NodeId x = b.input("x", f32({40, 24})), w = b.input("w", f32({24, 48})), h = b.input("h", f32({40, 48}));
  const NodeId g = b.exp(h);                          // needs no product
  const NodeId y = b.mul(b.matmul(x, w), h);
  const NodeId late = b.scale(b.matmul(y, y, true), 2);  // waits for y: not the same kernel
  ASSERT_TRUE(graph.add_output("g", g) && graph.add_output("y", y) && graph.add_output("late", late));
  EXPECT_THAT(kernels(graph), ElementsAre("matmul+", "matmul+"));
  expect_computed(graph, {test::random_floats(960, 1), test::random_floats(1152, 2), test::random_floats(1920, 3)},
                  Arithmetic::f32, 1e-3);
}

TEST(FuseHeads, NorTheFirstThroughAView) {
  Graph graph;
  Builder b(graph);
  const NodeId x = b.input("x", f32({8, 16})), w = b.input("w", f32({16, 8}));
  const NodeId h = b.matmul(x, w);
  const NodeId again = b.reshape(b.reshape(h, {64}), {8, 8});
  ASSERT_TRUE(graph.add_output("y", b.add(b.scale(h, 2), again)));
  expect_computed(graph, {test::random_floats(128, 1), test::random_floats(128, 2)}, Arithmetic::f32, 1e-4);
}

TEST(FuseHeads, ARowsResultNeverTakesOverABufferOfTheSameSize) {
  // bf16 [64, 2] and f32 [64, 1] are both 256 bytes.
  Graph graph;
  Builder b(graph);
  const NodeId x = b.input("x", f32({64, 2}));
  const NodeId narrow = b.cast(b.exp(x), graph::DType::bf16);
  const NodeId wide = b.cast(narrow, graph::DType::f32);
  ASSERT_TRUE(graph.add_output("y", b.scale(b.reduce_to(wide, {64, 1}), 3)));
  expect_computed(graph, {test::random_floats(128, 1)}, Arithmetic::f32, 6e-2);
}

TEST(FuseHeads, AnInputThatIsHandedOnKeepsItsBuffer) {
  Graph graph;
  Builder b(graph);
  const NodeId x = b.input("x", f32({8, 8}));
  const NodeId a = b.matmul(x, x);
  const NodeId same = b.broadcast_to(a, {8, 8});
  const NodeId total = b.reduce_to(same, {8, 1});
  ASSERT_TRUE(graph.add_output("y", b.exp(b.sub(same, total))));
  ASSERT_TRUE(graph.add_output("z", b.matmul(b.reshape(b.reshape(same, {64}), {8, 8}), x)));
  expect_computed(graph, {test::random_floats(64, 1)}, Arithmetic::f32, 2e-3);
}

TEST(FuseHeads, EmptyProductsRunToo) {
  for (const auto& [m, n, k] : std::vector<std::array<std::int64_t, 3>>{{0, 4, 3}, {4, 0, 3}, {4, 5, 0}})
    for (const Arithmetic arithmetic : {Arithmetic::f32, Arithmetic::bf16}) {
      Graph graph;
      Builder b(graph);
      const NodeId x = b.input("x", f32({m, k})), w = b.input("w", f32({k, n})), bias = b.input("bias", f32({n}));
      ASSERT_TRUE(graph.add_output("y", b.gelu(b.add(b.matmul(x, w), bias))));
      expect_computed(graph, {test::random_floats(m * k, 1), test::random_floats(k * n, 2), test::random_floats(n, 3)},
                      arithmetic, 1e-2);
    }
}

}  // namespace
}  // namespace suanli::engine
