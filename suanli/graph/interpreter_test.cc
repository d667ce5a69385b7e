#include "suanli/graph/interpreter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "suanli/base/philox.h"
#include "suanli/graph/autodiff.h"
#include "suanli/graph/builder.h"

namespace suanli::graph {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

RefTensor scalar(double value) { return {f32({}), {value}}; }

RefTensor random(Shape shape, std::uint64_t seed) {
  RefTensor tensor{f32(std::move(shape)), {}};
  for (std::int64_t i = 0; i < tensor.type.elements(); ++i)
    tensor.data.push_back(Philox(seed, Stream::test).normal(i));
  return tensor;
}

// Least squares: loss = sum (x w - t)^2 over `rows` rows, w <- w - rate * gradient; output "sum" is
// the step's loss.
Graph regression(std::int64_t rows, std::int64_t micro_batches) {
  Graph graph;
  Builder b(graph);
  const NodeId x = b.input("x", f32({rows, 3}));
  const NodeId t = b.input("t", f32({rows, 1}));
  const NodeId w = b.param("w", f32({3, 1}), "normal", 0.02);
  const NodeId loss = b.apply("sum_squares", {b.sub(b.matmul(x, w), t)});
  const NodeId sum = b.micro_sum(loss);
  EXPECT_TRUE(b.status());
  const auto gradients = differentiate(graph, loss);
  EXPECT_TRUE(gradients);
  b.set_phase(Phase::update);
  const NodeId rate = b.step_input("rate", f32({}));
  const NodeId next = b.sub(w, b.mul(gradients->at(0).gradient, rate));
  EXPECT_TRUE(b.status()) << b.status().error().to_string();
  EXPECT_TRUE(graph.add_update(w, next));
  EXPECT_TRUE(graph.add_output("loss", loss));
  EXPECT_TRUE(graph.add_output("sum", sum));
  EXPECT_TRUE(graph.add_output("next", next));
  EXPECT_TRUE(graph.set_micro_batches(micro_batches));
  return graph;
}

Values rows_of(const RefTensor& x, const RefTensor& t, std::int64_t from, std::int64_t rows) {
  const auto cut = [&](const RefTensor& all) {
    const std::int64_t width = all.type.shape[1];
    return RefTensor{f32({rows, width}),
                     {all.data.begin() + from * width, all.data.begin() + (from + rows) * width}};
  };
  return {{"x", cut(x)}, {"t", cut(t)}};
}

TEST(Interpreter, MicroBatchesAddUpToTheBigBatch) {
  const Graph big = regression(12, 1);
  const Graph small = regression(4, 3);
  const RefTensor x = random({12, 3}, 1);
  const RefTensor t = random({12, 1}, 2);
  const RefTensor w = random({3, 1}, 3);
  Interpreter one(big), three(small);
  one.state("w") = three.state("w") = w;
  for (int step = 0; step < 3; ++step) {
    const Values rate = {{"rate", scalar(0.01 * (step + 1))}};
    const auto a = one.step({rows_of(x, t, 0, 12)}, rate);
    const auto b =
        three.step({rows_of(x, t, 0, 4), rows_of(x, t, 4, 4), rows_of(x, t, 8, 4)}, rate);
    ASSERT_TRUE(a) << a.error().to_string();
    ASSERT_TRUE(b) << b.error().to_string();
    EXPECT_NEAR(a->at("sum").data[0], b->at("sum").data[0], 1e-12);
    EXPECT_EQ(a->at("sum").data[0], a->at("loss").data[0]);
    EXPECT_LT(b->at("loss").data[0], b->at("sum").data[0]);
    for (int i = 0; i < 3; ++i) {
      EXPECT_NEAR(one.state("w").data[i], three.state("w").data[i], 1e-12);
      EXPECT_EQ(one.state("w").data[i], a->at("next").data[i]);
      EXPECT_NE(one.state("w").data[i], w.data[i]);
    }
  }
}

TEST(Interpreter, GradientStepIsTheOneByHand) {
  const Graph graph = regression(1, 1);
  Interpreter interpreter(graph);
  EXPECT_THAT(interpreter.state("w").data, ElementsAre(0, 0, 0));
  // loss = (1*0 + 2*0 + 3*0 - 5)^2 = 25, gradient = 2 * -5 * (1, 2, 3)
  const auto out = interpreter.step({{{"x", {f32({1, 3}), {1, 2, 3}}}, {"t", {f32({1, 1}), {5}}}}},
                                    {{"rate", scalar(0.5)}});
  ASSERT_TRUE(out) << out.error().to_string();
  EXPECT_EQ(out->at("loss").data[0], 25);
  EXPECT_THAT(interpreter.state("w").data, ElementsAre(5, 10, 15));
}

TEST(Interpreter, UpdatesTakeEffectTogether) {
  Graph graph;
  Builder b(graph);
  b.set_phase(Phase::update);
  const NodeId p = b.state("p", f32({}), "zeros");
  const NodeId q = b.state("q", f32({}), "zeros");
  const NodeId new_p = b.scale(q, 1);
  const NodeId new_q = b.scale(p, 1);
  ASSERT_TRUE(graph.add_update(p, new_p));
  ASSERT_TRUE(graph.add_update(q, new_q));
  Interpreter interpreter(graph);
  interpreter.state("p").data = {3};
  interpreter.state("q").data = {4};
  ASSERT_TRUE(interpreter.step({{}}));
  EXPECT_EQ(interpreter.state("p").data[0], 4);
  EXPECT_EQ(interpreter.state("q").data[0], 3);
}

TEST(Interpreter, EvaluateLeavesUpdateNodesWithoutData) {
  const Graph graph = regression(1, 1);
  Interpreter interpreter(graph);
  const auto values =
      interpreter.evaluate({{"x", {f32({1, 3}), {1, 2, 3}}}, {"t", {f32({1, 1}), {5}}}});
  ASSERT_TRUE(values) << values.error().to_string();
  EXPECT_EQ(values->at(graph.find_output("loss")).data[0], 25);
  EXPECT_TRUE(values->at(graph.find_output("next")).data.empty());
  EXPECT_THAT(interpreter.state("w").data, ElementsAre(0, 0, 0));
}

TEST(Interpreter, WrongValuesAreNamedAndChangeNothing) {
  const Graph graph = regression(1, 1);
  Interpreter interpreter(graph);
  const Values rate = {{"rate", scalar(0.5)}};
  const Values good = {{"x", {f32({1, 3}), {1, 2, 3}}}, {"t", {f32({1, 1}), {5}}}};
  const auto complaint = [&](const std::vector<Values>& micro, const Values& step) {
    const auto out = interpreter.step(micro, step);
    EXPECT_FALSE(out);
    if (out) return std::string();
    EXPECT_EQ(out.error().code, ErrorCode::mismatch);
    return out.error().to_string();
  };
  EXPECT_THAT(complaint({good, good}, rate), HasSubstr("2 micro-batches given, the graph has 1"));
  EXPECT_THAT(complaint({good}, {}), HasSubstr("step_input rate: no value is given"));
  EXPECT_THAT(complaint({good}, {{"rate", scalar(1)}, {"pace", scalar(1)}}), HasSubstr("pace"));
  EXPECT_THAT(complaint({{{"x", good.at("x")}}}, rate),
              HasSubstr("micro-batch 0: input t: no value is given"));
  Values bad = good;
  bad["x"] = {f32({3, 1}), {1, 2, 3}};
  EXPECT_THAT(complaint({bad}, rate),
              HasSubstr("input x: the value is f32[3x1], the graph needs f32[1x3]"));
  bad["x"] = {i32({1, 3}), {1, 2, 3}};
  EXPECT_THAT(complaint({bad}, rate), HasSubstr("i32[1x3]"));
  bad["x"] = {f32({1, 3}), {1, 2}};
  EXPECT_THAT(complaint({bad}, rate), HasSubstr("2 elements given for f32[1x3]"));
  bad = good;
  bad["w"] = {f32({3, 1}), {1, 2, 3}};
  EXPECT_THAT(complaint({bad}, rate), HasSubstr("the graph has no input of this name"));
  EXPECT_THAT(interpreter.state("w").data, ElementsAre(0, 0, 0));
}

TEST(Interpreter, Bf16RoundsToNearestEven) {
  EXPECT_EQ(round_to_bf16(1.0), 1.0);
  EXPECT_EQ(round_to_bf16(1 + 1.0 / 256), 1.0);                          // a tie, to even
  EXPECT_EQ(round_to_bf16(1 + 3.0 / 256), 1 + 4.0 / 256);                // a tie, to even
  EXPECT_EQ(round_to_bf16(1 + 1.0 / 256 + 1.0 / 65536), 1 + 2.0 / 256);  // above the tie
  EXPECT_EQ(round_to_bf16(-3.14159), -3.140625);
  EXPECT_EQ(round_to_bf16(3.4e38), std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::isnan(round_to_bf16(std::nan(""))));
}

TEST(Interpreter, Bf16NodesHoldRoundedValues) {
  Graph graph;
  Builder b(graph);
  const NodeId x = b.input("x", bf16({1}));
  const NodeId y = b.cast(b.scale(b.cast(x, DType::f32), 1.0 / 3), DType::bf16);
  ASSERT_TRUE(b.status());
  const auto values = Interpreter(graph).evaluate({{"x", {bf16({1}), {0.1}}}});
  ASSERT_TRUE(values);
  EXPECT_EQ(values->at(x).data[0], 0.10009765625);
  EXPECT_EQ(values->at(y).data[0], round_to_bf16(0.10009765625 / 3));
}

}  // namespace
}  // namespace suanli::graph
