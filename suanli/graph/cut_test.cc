#include "suanli/graph/cut.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "suanli/graph/mlp_for_tests.h"
#include "suanli/graph/op.h"

namespace suanli::graph {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Graph must_build(const std::function<void(Builder&)>& build) {
  Graph graph;
  Builder b(graph);
  build(b);
  SUANLI_CHECK(b.status());
  return graph;
}

TEST(Cut, OneActivationAndOneGradientCrossEachBoundary) {
  const Graph graph = mlp_for_tests(2, 6);
  const std::vector<CutPoint> points = cut_points(graph);
  ASSERT_EQ(points.size(), 3u);  // blocks 0, 1, 2 and the head
  const Bytes hidden(kTestBatch * kTestWidth * 4);
  for (int i = 0; i < 3; ++i) {
    const CutPoint& point = points[i];
    EXPECT_EQ(point.after_block, i);
    EXPECT_TRUE(point.legal) << point.reason;
    EXPECT_TRUE(point.reason.empty());
    ASSERT_EQ(point.forward.size(), 1u) << i;
    ASSERT_EQ(point.backward.size(), 1u) << i;
    EXPECT_EQ(graph.node(point.forward[0]).block, i);
    EXPECT_GT(graph.node(point.backward[0]).block, i);
    EXPECT_EQ(graph.node(point.backward[0]).phase, Phase::backward);
    EXPECT_EQ(point.forward_bytes, hidden);
    EXPECT_EQ(point.backward_bytes, hidden);
  }
}

TEST(Cut, ALongSkipCrossesEveryBoundaryBetween) {
  NodeId skip = kNoNode;
  NodeId middle = kNoNode;
  Graph graph = must_build([&](Builder& b) {
    skip = b.exp(b.input("x", f32({8})));
    b.set_block(1);
    middle = b.gelu(skip);
    b.set_block(2);
    const NodeId y = b.add(middle, skip);
    SUANLI_CHECK(b.graph().add_output("y", y));
    b.gelu(middle);  // dead, so it does not count
  });
  const std::vector<CutPoint> points = cut_points(graph);
  ASSERT_EQ(points.size(), 2u);
  EXPECT_THAT(points[0].forward, ElementsAre(skip));
  EXPECT_THAT(points[1].forward, ElementsAre(skip, middle));
  EXPECT_EQ(points[1].forward_bytes, Bytes(64));
  // The stage between passes the skip on.
  const auto parts = stages(graph, {{0, 1}});
  ASSERT_TRUE(parts.has_value());
  EXPECT_THAT((*parts)[1].receive_forward, ElementsAre(skip));
  EXPECT_THAT((*parts)[1].send_forward, ElementsAre(skip, middle));
}

TEST(Cut, DeadReadersDoNotMakeAValueCross) {
  const Graph graph = must_build([](Builder& b) {
    const NodeId x = b.exp(b.input("x", f32({8})));
    SUANLI_CHECK(b.graph().add_output("x", x));
    b.set_block(1);
    b.gelu(x);
  });
  ASSERT_EQ(cut_points(graph).size(), 1u);
  EXPECT_THAT(cut_points(graph)[0].forward, IsEmpty());
}

TEST(Cut, ValuesThatStayMakeItIllegal) {
  const Graph graph = must_build([](Builder& b) {
    const NodeId constant = b.fill({8}, 2);
    b.set_block(1);
    const NodeId h = b.exp(b.input("x", f32({8})));
    b.set_block(2);
    SUANLI_CHECK(b.graph().add_output("y", b.add(h, constant)));
  });
  const std::vector<CutPoint> points = cut_points(graph);
  ASSERT_EQ(points.size(), 2u);
  EXPECT_FALSE(points[0].legal);
  EXPECT_FALSE(points[1].legal);
  EXPECT_THAT(points[0].reason, HasSubstr("%0 (fill, forward, block 0)"));
  const auto parts = stages(graph, {{1}});
  ASSERT_FALSE(parts.has_value());
  EXPECT_EQ(parts.error().code, ErrorCode::graph);
  EXPECT_EQ(parts.error().place, "cut after block 1");
  EXPECT_THAT(parts.error().message, HasSubstr("%0 (fill"));
}

TEST(Cut, ValuesAgainstTheDirectionMakeItIllegal) {
  const Graph graph = must_build([](Builder& b) {
    b.set_block(1);
    const NodeId late = b.exp(b.input("x", f32({8})));
    b.set_block(0);
    SUANLI_CHECK(b.graph().add_output("y", b.gelu(late)));
    b.set_block(2);
    SUANLI_CHECK(b.graph().add_output("z", b.gelu(late)));
  });
  const std::vector<CutPoint> points = cut_points(graph);
  ASSERT_EQ(points.size(), 2u);
  EXPECT_FALSE(points[0].legal);
  EXPECT_THAT(points[0].reason, HasSubstr("against the direction"));
  EXPECT_TRUE(points[1].legal) << points[1].reason;
}

TEST(Cut, SharedNodesMayNotReadABlockInEveryMicroBatch) {
  const Graph graph = must_build([](Builder& b) {
    const NodeId h = b.exp(b.input("x", f32({8})));
    b.set_block(1);
    SUANLI_CHECK(b.graph().add_output("z", b.gelu(h)));
    b.set_block(kWholeJob);
    SUANLI_CHECK(b.graph().add_output("y", b.gelu(h)));
  });
  ASSERT_EQ(cut_points(graph).size(), 1u);
  EXPECT_FALSE(cut_points(graph)[0].legal);
  EXPECT_THAT(cut_points(graph)[0].reason, HasSubstr("which all stages compute"));
}

TEST(Cut, NoBlocksNoBoundaries) {
  EXPECT_THAT(cut_points(Graph()), IsEmpty());
  const auto whole = stages(Graph(), {});
  ASSERT_TRUE(whole.has_value());
  ASSERT_EQ(whole->size(), 1u);
  EXPECT_EQ((*whole)[0].last_block, 0);
}

TEST(Cut, RefusesUnknownAndUnorderedBoundaries) {
  const Graph graph = mlp_for_tests(2, 6);
  const auto message = [&](std::vector<int> blocks) {
    const auto parts = stages(graph, {std::move(blocks)});
    EXPECT_FALSE(parts.has_value());
    EXPECT_EQ(parts.error().code, ErrorCode::graph);
    return parts.error().to_string();
  };
  EXPECT_THAT(message({3}), HasSubstr("cut after block 3: there is no boundary; the graph has 4"));
  EXPECT_THAT(message({-1}), HasSubstr("cut after block -1"));
  EXPECT_THAT(message({1, 0}), HasSubstr("cut after block 0: it stands after block 1"));
  EXPECT_THAT(message({1, 1}), HasSubstr("cut after block 1: it stands after block 1"));
}

TEST(Cut, OneStageHasEverythingAndTalksToNobody) {
  const Graph graph = mlp_for_tests(2, 6);
  const auto parts = stages(graph, {});
  ASSERT_TRUE(parts.has_value());
  ASSERT_EQ(parts->size(), 1u);
  const StageNodes& stage = (*parts)[0];
  EXPECT_EQ(stage.first_block, 0);
  EXPECT_EQ(stage.last_block, 3);
  EXPECT_EQ(stage.params.size(), 5u);
  const std::vector<bool> live = graph.live();
  EXPECT_EQ(stage.nodes.size() + stage.shared.size() + stage.sources.size(),
            static_cast<std::size_t>(std::count(live.begin(), live.end(), true)));
  for (const auto* list : {&stage.receive_forward, &stage.send_forward, &stage.receive_backward,
                           &stage.send_backward, &stage.receive_step, &stage.send_step})
    EXPECT_THAT(*list, IsEmpty());
}

// Each stage of a training step, cut everywhere.
class CutStages : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto parts = stages(graph_, {{0, 1, 2}});
    ASSERT_TRUE(parts.has_value()) << parts.error().to_string();
    stages_ = *parts;
    ASSERT_EQ(stages_.size(), 4u);
  }
  std::vector<std::string> names(const std::vector<NodeId>& ids) const {
    std::vector<std::string> result;
    for (NodeId id : ids) result.push_back(graph_.node(id).name);
    std::sort(result.begin(), result.end());
    return result;
  }
  const Graph graph_ = mlp_for_tests(2, 6);
  std::vector<StageNodes> stages_;
};

TEST_F(CutStages, EveryLiveNodeHasExactlyOnePlace) {
  std::vector<int> places(graph_.size(), 0);
  for (const StageNodes& stage : stages_) {
    EXPECT_EQ(stage.shared, stages_[0].shared);
    for (NodeId id : stage.nodes) ++places[id];
  }
  for (NodeId id : stages_[0].shared) ++places[id];
  const std::vector<bool> live = graph_.live();
  for (NodeId id = 0; id < graph_.size(); ++id)
    EXPECT_EQ(places[id], live[id] && !is_source(graph_.node(id)) ? 1 : 0) << id;
}

TEST_F(CutStages, SourcesLiveWhereTheyAreRead) {
  EXPECT_THAT(names(stages_[0].sources), ElementsAre("in", "m.in", "rate", "x"));
  EXPECT_THAT(names(stages_[1].sources),
              ElementsAre("layer.1.down", "layer.1.up", "m.layer.1.down", "m.layer.1.up", "rate"));
  EXPECT_THAT(names(stages_[3].sources), ElementsAre("in", "target"));
  EXPECT_THAT(names(stages_[3].params), ElementsAre("in"));
}

TEST_F(CutStages, NeighboursAgreeOnWhatTravels) {
  EXPECT_THAT(stages_.front().receive_forward, IsEmpty());
  EXPECT_THAT(stages_.front().send_backward, IsEmpty());
  EXPECT_THAT(stages_.back().send_forward, IsEmpty());
  EXPECT_THAT(stages_.back().receive_backward, IsEmpty());
  for (int s = 0; s + 1 < 4; ++s) {
    EXPECT_EQ(stages_[s].send_forward, stages_[s + 1].receive_forward);
    EXPECT_EQ(stages_[s].receive_backward, stages_[s + 1].send_backward);
    EXPECT_EQ(stages_[s].send_forward.size(), 1u);
  }
}

// A stage must be able to compute its nodes from its sources and what it receives.
TEST_F(CutStages, NothingIsMissing) {
  for (const StageNodes& stage : stages_) {
    std::vector<bool> here(graph_.size(), false);
    for (const auto* list : {&stage.nodes, &stage.shared, &stage.sources, &stage.receive_forward,
                             &stage.receive_backward, &stage.receive_step})
      for (NodeId id : *list) here[id] = true;
    for (const auto* list : {&stage.nodes, &stage.shared})
      for (NodeId id : *list)
        for (NodeId input : graph_.node(id).inputs)
          EXPECT_TRUE(here[input])
              << "%" << id << " of stage " << stage.first_block << " reads %" << input;
    for (const Update& update : graph_.updates()) {
      EXPECT_TRUE(!here[update.state] || here[update.value]) << graph_.node(update.state).name;
    }
  }
}

TEST_F(CutStages, WhatIsReceivedPerStepIsSentByOne) {
  for (std::size_t to = 0; to < stages_.size(); ++to) {
    EXPECT_THAT(stages_[to].receive_step, ::testing::Not(IsEmpty()));  // the squares of the norm
    for (NodeId id : stages_[to].receive_step) {
      int senders = 0;
      for (std::size_t from = 0; from < stages_.size(); ++from)
        if (std::binary_search(stages_[from].send_step.begin(), stages_[from].send_step.end(),
                               id)) {
          ++senders;
          EXPECT_NE(from, to);
        }
      EXPECT_EQ(senders, 1) << id;
    }
  }
}

TEST_F(CutStages, TheTiedMatrixHasTwoHolders) {
  const std::vector<ReduceGroup> groups = reduce_groups(graph_, stages_);
  ASSERT_EQ(groups.size(), 5u);
  EXPECT_EQ(graph_.node(groups[0].param).name, "in");
  EXPECT_EQ(groups[0].owner, 0);
  EXPECT_THAT(groups[0].stages, ElementsAre(0, 3));
  EXPECT_EQ(graph_.node(groups[3].param).name, "layer.2.up");
  EXPECT_EQ(groups[3].owner, 2);
  EXPECT_THAT(groups[3].stages, ElementsAre(2));

  // The head sends its part of the gradient; the owner sends the new value back.
  NodeId value = kNoNode;
  for (const Update& update : graph_.updates())
    if (update.state == groups[0].param) value = update.value;
  EXPECT_THAT(stages_[0].send_step, ::testing::Contains(value));
  EXPECT_THAT(stages_[3].receive_step, ::testing::Contains(value));
  EXPECT_THAT(stages_[1].receive_step, ::testing::Not(::testing::Contains(value)));
  const auto is_sum = [&](NodeId id) { return graph_.node(id).op->name == "micro_sum"; };
  EXPECT_TRUE(std::any_of(stages_[3].send_step.begin(), stages_[3].send_step.end(), is_sum));
}

}  // namespace
}  // namespace suanli::graph
