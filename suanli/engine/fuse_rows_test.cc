#include "suanli/engine/fuse_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "suanli/engine/cpu/op_test_util.h"
#include "suanli/graph/builder.h"
#include "suanli/graph/interpreter.h"

namespace suanli::engine {
namespace {

using graph::Builder;
using graph::f32;
using graph::Graph;
using graph::NodeId;
using testing::ElementsAre;
using testing::UnorderedElementsAre;

std::vector<Group> row_regions(const Graph& graph, const std::vector<NodeId>& taken = {}) {
  Partition partition(graph);
  std::vector<bool> is_taken(graph.size(), false);
  for (const NodeId id : taken) is_taken[id] = true;
  return find_row_regions(graph, graph.users(), partition, is_taken);
}

// Runs the group alone on random values of its inputs, which must be the graph's; each output against the interpreter.
void expect_computes(const Graph& graph, const Group& group) {
  graph::Values inputs;
  std::vector<TestBytes> bytes;
  KernelSpec spec{.name = group.kernel, .inputs = {}, .outputs = {}, .attrs = {}, .region = &*group.region};
  for (const NodeId id : group.inputs) {
    const graph::Node& node = graph.node(id);
    spec.inputs.push_back(node.type);
    inputs[node.name] = random_ref(node.type, -2, 2, 91 + inputs.size());
    bytes.push_back(encode(inputs[node.name]));
  }
  for (const NodeId id : group.outputs) spec.outputs.push_back(graph.node(id).type);
  const auto values = graph::Interpreter(graph).evaluate(inputs);
  ASSERT_TRUE(values) << values.error().to_string();
  const auto kernel = kernel_for(spec);
  ASSERT_NE(kernel, nullptr);
  const auto out = run_op(*kernel, spec, bytes, {.threads = 2});
  for (std::size_t o = 0; o < out.size(); ++o)
    expect_near(decode(graph::DType::f32, out[o]), (*values)[group.outputs[o]].data, 1e-4,
                group.region->to_string());
}

struct Norm {
  NodeId mean, variance, y;
};

Norm layer_norm(Builder& b, NodeId x, NodeId gamma, NodeId beta, const graph::Shape& row, double columns) {
  Norm n{};
  n.mean = b.scale(b.reduce_to(x, row), 1 / columns);
  const NodeId centred = b.sub(x, n.mean);
  n.variance = b.scale(b.reduce_to(b.mul(centred, centred), row), 1 / columns);
  n.y = b.add(b.mul(b.mul(centred, b.rsqrt(b.shift(n.variance, 1e-5))), gamma), beta);
  return n;
}

TEST(FuseRows, ALayerNormWrittenOutIsOneRegion) {
  Graph graph;
  Builder b(graph);
  const NodeId x = b.input("x", f32({6, 40}));
  const NodeId gamma = b.input("gamma", f32({40}));
  const NodeId beta = b.input("beta", f32({40}));
  const Norm norm = layer_norm(b, x, gamma, beta, {6, 1}, 40);
  ASSERT_TRUE(b.status());
  ASSERT_TRUE(graph.add_output("y", norm.y));
  ASSERT_TRUE(graph.add_output("variance", norm.variance));
  const auto groups = row_regions(graph);
  ASSERT_EQ(groups.size(), 1U);
  EXPECT_EQ(groups[0].nodes.size(), graph.size() - 3);
  EXPECT_THAT(groups[0].inputs, UnorderedElementsAre(x, gamma, beta));
  EXPECT_THAT(groups[0].outputs, ElementsAre(norm.variance, norm.y));
  EXPECT_EQ(groups[0].region->outputs[0].access, Access::row);
  expect_computes(graph, groups[0]);
}

TEST(FuseRows, ASoftmaxWrittenOutIsOneRegion) {
  Graph graph;
  Builder b(graph);
  const NodeId x = b.input("x", f32({2, 3, 17}));
  const NodeId e = b.exp(b.sub(x, b.apply("reduce_max", {x})));
  const NodeId y = b.div(e, b.broadcast_to(b.reduce_to(e, {2, 3, 1}), {2, 3, 17}));
  ASSERT_TRUE(b.status());
  ASSERT_TRUE(graph.add_output("y", y));
  const auto groups = row_regions(graph);
  ASSERT_EQ(groups.size(), 1U);
  EXPECT_EQ(groups[0].region->code.size(), 5U);  // a broadcast is no instruction
  EXPECT_THAT(groups[0].outputs, ElementsAre(y));
  expect_computes(graph, groups[0]);
}

TEST(FuseRows, ANodeThatWaitsForAnotherKernelStaysOut) {
  Graph graph;
  Builder b(graph);
  const NodeId x = b.input("x", f32({8, 8}));
  const NodeId e = b.exp(x);
  const NodeId sum = b.reduce_to(e, {8, 1});
  const NodeId y = b.add(b.matmul(e, e), sum);  // the product reads e: y can only follow it
  ASSERT_TRUE(b.status());
  ASSERT_TRUE(graph.add_output("y", y));
  const auto groups = row_regions(graph);
  ASSERT_EQ(groups.size(), 1U);
  EXPECT_THAT(groups[0].nodes, ElementsAre(e, sum));
  EXPECT_THAT(groups[0].outputs, ElementsAre(e, sum));
  expect_computes(graph, groups[0]);
}

TEST(FuseRows, LeavesOtherReductionsAlone) {
  Graph graph;
  Builder b(graph);
  const NodeId x = b.exp(b.input("x", f32({8, 40})));
  const NodeId column = b.exp(b.input("column", f32({8, 1})));
  const NodeId longer = b.exp(b.input("longer", f32({2, kLongestRow + 1})));
  const NodeId alone = b.input("alone", f32({8, 40}));
  for (const NodeId id : {b.reduce_to(x, {40}), b.reduce_to(x, {1, 1}), b.reduce_to(x, {}),
                          b.reduce_to(longer, {2, 1}), b.reduce_to(alone, {8, 1}), column})
    ASSERT_TRUE(graph.add_output("out" + std::to_string(id), id));
  ASSERT_TRUE(b.status());
  EXPECT_TRUE(row_regions(graph).empty());
}

TEST(FuseRows, TakenNodesStayOut) {
  Graph graph;
  Builder b(graph);
  const NodeId x = b.input("x", f32({8, 40}));
  const NodeId e = b.exp(x);
  const NodeId sum = b.reduce_to(e, {8, 1});
  const NodeId half = b.scale(sum, 0.5);
  ASSERT_TRUE(graph.add_output("half", half));
  const auto groups = row_regions(graph, {e});
  ASSERT_EQ(groups.size(), 1U);
  EXPECT_THAT(groups[0].nodes, ElementsAre(sum, half));
  EXPECT_TRUE(row_regions(graph, {sum}).empty());
}

}  // namespace
}  // namespace suanli::engine
