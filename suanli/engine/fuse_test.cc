#include "suanli/engine/fuse.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "suanli/graph/builder.h"

namespace suanli::engine {
namespace {

using graph::Builder;
using graph::f32;
using graph::Graph;
using graph::NodeId;
using testing::ElementsAre;

std::vector<std::string> kernels_of(const std::vector<Group>& groups) {
  std::vector<std::string> names;
  for (const Group& group : groups) names.push_back(group.kernel);
  return names;
}

Fused fuse_graph(const Graph& graph, Arithmetic arithmetic = Arithmetic::f32) {
  Result<Lowered> lowered = lower(graph, arithmetic);
  SUANLI_CHECK(lowered.has_value());
  return fuse(*lowered);
}

TEST(Fuse, AChainOfElementwiseOpsIsOneRegion) {
  Graph graph;
  Builder b(graph);
  const NodeId x = b.input("x", f32({8, 16}));
  const NodeId bias = b.input("bias", f32({16}));
  const NodeId y = b.gelu(b.add(b.scale(x, 2), bias));
  ASSERT_TRUE(b.status());
  ASSERT_TRUE(graph.add_output("y", y));
  const Fused fused = fuse_graph(graph);
  ASSERT_EQ(fused.forward.size(), 1U);
  const Region& region = *fused.forward[0].region;
  EXPECT_EQ(region.code.size(), 3U);
  EXPECT_EQ(region.outputs.size(), 1U);
  EXPECT_EQ(region.inputs[1].access, Access::periodic);
}

TEST(Fuse, AValueReadOutsideTheRegionIsAnOutputOfIt) {
  Graph graph;
  Builder b(graph);
  const NodeId x = b.input("x", f32({8, 16}));
  const NodeId h = b.exp(x);
  const NodeId y = b.scale(h, 2);
  const NodeId m = b.matmul(h, h, false, true);
  ASSERT_TRUE(graph.add_output("y", y));
  ASSERT_TRUE(graph.add_output("m", m));
  const Fused fused = fuse_graph(graph);
  EXPECT_THAT(kernels_of(fused.forward), ElementsAre("region", "matmul"));
  EXPECT_THAT(fused.forward[0].outputs, ElementsAre(h, y));
}

TEST(Fuse, ARegionNeverReachesAroundAnotherKernel) {
  // h feeds a matmul whose result joins h again: one region of both sums would wait for itself. The sum is the product's
  // epilogue.
  Graph graph;
  Builder b(graph);
  const NodeId x = b.input("x", f32({16, 16}));
  const NodeId h = b.exp(x);
  const NodeId m = b.matmul(h, h);
  const NodeId y = b.add(h, m);
  ASSERT_TRUE(graph.add_output("y", y));
  const Fused fused = fuse_graph(graph);
  EXPECT_THAT(kernels_of(fused.forward), ElementsAre("region", "matmul"));
  EXPECT_THAT(fused.forward[1].inputs, ElementsAre(h, h, h));
  EXPECT_THAT(fused.forward[1].outputs, ElementsAre(y));
}

TEST(Fuse, ShapesThatARegionCannotReadStayApart) {
  EXPECT_EQ(access_of({4, 8}, {4, 8}), Access::full);
  EXPECT_EQ(access_of({}, {4, 8}), Access::scalar);
  EXPECT_EQ(access_of({1, 1}, {4, 8}), Access::scalar);
  EXPECT_EQ(access_of({8}, {4, 8}), Access::periodic);
  EXPECT_EQ(access_of({2, 8}, {4, 2, 8}), Access::periodic);
  EXPECT_EQ(access_of({4, 1}, {4, 8}), Access::row);
  EXPECT_EQ(access_of({4, 1, 8}, {4, 2, 8}), std::nullopt);
}

TEST(Fuse, OneCastServesAllReadersOfAnOperand) {
  Graph graph;
  Builder b(graph);
  const NodeId x = b.input("x", f32({16, 16}));
  const NodeId y = b.add(b.matmul(x, x), b.matmul(x, x, true));
  ASSERT_TRUE(graph.add_output("y", y));
  Result<Lowered> lowered = lower(graph, Arithmetic::bf16);
  ASSERT_TRUE(lowered.has_value());
  EXPECT_EQ(lowered->graph.nodes_of("cast").size(), 1U);
  EXPECT_EQ(std::count(lowered->canonical.begin(), lowered->canonical.end(), graph::kNoNode), 1);
}

TEST(Fuse, AnOperandOfTwoPhasesHasACastInEachThatMayNotReadTheOther) {
  Graph graph;
  Builder b(graph);
  const NodeId w = b.param("w", f32({16, 16}), "ones"), x = b.input("x", f32({16, 16}));
  const NodeId h = b.exp(x);
  const NodeId y = b.matmul(h, w);
  b.set_phase(graph::Phase::backward);
  const NodeId dy = b.matmul(b.matmul(y, w), h);  // reads y before forward does
  b.set_phase(graph::Phase::forward);
  const NodeId z = b.matmul(y, h);
  b.set_phase(graph::Phase::update);
  const NodeId next = b.matmul(w, w);
  ASSERT_TRUE(b.status()) << b.status().error().to_string();
  ASSERT_TRUE(graph.add_output("dy", dy) && graph.add_output("z", z) && graph.add_update(w, next));
  Result<Lowered> lowered = lower(graph, Arithmetic::bf16);
  ASSERT_TRUE(lowered.has_value()) << lowered.error().to_string();
  // h, w and y in forward; y and the inner product in backward; w in update.
  EXPECT_EQ(lowered->graph.nodes_of("cast").size(), 6U);
}

// The update of one parameter by AdamW; `rate` makes the learning rate from (builder, m', w).
template <typename Rate>
Graph adamw_graph(const Rate& rate) {
  Graph graph;
  Builder b(graph);
  const NodeId w = b.param("w", f32({8}), "ones"), x = b.input("x", f32({8}));
  const NodeId sum = b.micro_sum(x), read = b.micro_sum(w);
  b.set_phase(graph::Phase::update);
  const NodeId m = b.state("m", f32({8}), "zeros"), v = b.state("v", f32({8}), "zeros");
  const NodeId one = b.step_input("one", f32({}));
  const NodeId m_next = b.apply("adamw_m", {m, sum, one}, {{"beta1", 0.9}});
  const NodeId v_next = b.apply("adamw_v", {v, sum, one}, {{"beta2", 0.9}});
  const auto step = [&](NodeId from, NodeId lr) {
    return b.apply("adamw_w", {from, m_next, v_next, lr, one, one}, {{"eps", 1e-8}, {"decay", 0.0}});
  };
  const NodeId w_next = step(w, rate(b, step, m_next, one, read));
  SUANLI_CHECK(b.status().has_value());
  SUANLI_CHECK(graph.add_update(m, m_next) && graph.add_update(v, v_next) && graph.add_update(w, w_next));
  return graph;
}

std::int64_t adamw_kernels(const Graph& graph) {
  const std::vector<std::string> names = kernels_of(fuse_graph(graph).update);
  return std::count(names.begin(), names.end(), "adamw");
}

TEST(Fuse, AdamWIsOneKernelOnlyWhereItNeitherWaitsForItselfNorIsReadBesides) {
  using Build = Builder&;
  EXPECT_EQ(adamw_kernels(adamw_graph([](Build, auto&, NodeId, NodeId one, NodeId) { return one; })), 1);
  // A rate that is made from the new moments.
  EXPECT_EQ(adamw_kernels(adamw_graph([](Build b, auto&, NodeId m_next, NodeId, NodeId) {
              return b.apply("sum_squares", {m_next});
            })), 0);
  // The old weights, read through a sum that shares their buffer.
  EXPECT_EQ(adamw_kernels(adamw_graph([](Build b, auto&, NodeId, NodeId, NodeId read) {
              return b.apply("sum_squares", {read});
            })), 0);
  // Moments that two weights share belong to one of them.
  EXPECT_EQ(adamw_kernels(adamw_graph([](Build b, auto& step, NodeId, NodeId one, NodeId) {
              const NodeId other = b.param("other", f32({8}), "ones");
              SUANLI_CHECK(b.graph().add_update(other, step(other, one)).has_value());
              return one;
            })), 1);
}

}  // namespace
}  // namespace suanli::engine
