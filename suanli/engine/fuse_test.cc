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
  // h feeds a matmul whose result joins h again: one region of both sums would wait for itself.
  Graph graph;
  Builder b(graph);
  const NodeId x = b.input("x", f32({16, 16}));
  const NodeId h = b.exp(x);
  const NodeId m = b.matmul(h, h);
  const NodeId y = b.add(h, m);
  ASSERT_TRUE(graph.add_output("y", y));
  EXPECT_THAT(kernels_of(fuse_graph(graph).forward), ElementsAre("region", "matmul", "region"));
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

}  // namespace
}  // namespace suanli::engine
