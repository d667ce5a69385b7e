// Values of ops computed by hand or from the formulas of the sources they cite: an anchor for the
// reference kernels, which are the oracle of everything else.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "suanli/graph/autodiff.h"
#include "suanli/graph/builder.h"
#include "suanli/graph/interpreter.h"
#include "suanli/graph/op.h"

namespace suanli::graph {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;
using testing::Pointwise;

std::vector<double> value_of(std::string_view op, const std::vector<RefTensor>& inputs,
                             Attrs attrs = {}) {
  Graph graph;
  Builder b(graph);
  Values values;
  std::vector<NodeId> ids;
  for (const RefTensor& input : inputs) {
    const std::string name = "x" + std::to_string(ids.size());
    ids.push_back(b.input(name, input.type));
    values[name] = input;
  }
  const NodeId y = b.apply(op, ids, std::move(attrs));
  EXPECT_TRUE(b.status()) << b.status().error().to_string();
  const auto result = Interpreter(graph).evaluate(values);
  EXPECT_TRUE(result) << result.error().to_string();
  return result->at(y).data;
}

RefTensor scalar(double value) { return {f32({}), {value}}; }

auto near(std::vector<double> values) { return Pointwise(DoubleNear(1e-9), std::move(values)); }

TEST(OpValues, ComparisonsAtTies) {
  const RefTensor a{f32({3}), {1, 2, 3}};
  const RefTensor b = scalar(2);
  EXPECT_THAT(value_of("greater", {a, b}), ElementsAre(0, 0, 1));
  EXPECT_THAT(value_of("equal", {a, b}), ElementsAre(0, 1, 0));
  EXPECT_THAT(value_of("maximum", {a, b}), ElementsAre(2, 2, 3));
  EXPECT_THAT(value_of("minimum", {a, b}), ElementsAre(1, 2, 2));
}

// d sum(op(x, ..)) / dx at x = (2, 2, 1), where central differences would meet a kink.
std::vector<double> slope_at_ties(std::string_view op, const std::vector<double>& others) {
  Graph graph;
  Builder b(graph);
  std::vector<NodeId> inputs = {b.input("x", f32({3}))};
  for (double value : others) inputs.push_back(b.fill({}, value));
  const NodeId loss = b.reduce_to(b.apply(op, inputs), {});
  EXPECT_TRUE(b.status()) << b.status().error().to_string();
  const auto ids = gradients(graph, loss, {inputs[0]});
  EXPECT_TRUE(ids);
  return Interpreter(graph).evaluate({{"x", {f32({3}), {2, 2, 1}}}})->at(ids->at(0)).data;
}

TEST(OpValues, GradientsAtTies) {
  EXPECT_THAT(slope_at_ties("reduce_max", {}), ElementsAre(0.5, 0.5, 0));
  EXPECT_THAT(slope_at_ties("maximum", {2}), ElementsAre(0, 0, 0));
  EXPECT_THAT(slope_at_ties("minimum", {2}), ElementsAre(1, 1, 1));
}

TEST(OpValues, ShapesMoveElements) {
  const RefTensor x{f32({2, 3}), {1, 2, 3, 4, 5, 6}};
  EXPECT_THAT(value_of("transpose", {x}, {{"permutation", Shape{1, 0}}}),
              ElementsAre(1, 4, 2, 5, 3, 6));
  EXPECT_THAT(value_of("slice", {x}, {{"axis", 1}, {"start", 1}, {"size", 2}}),
              ElementsAre(2, 3, 5, 6));
  EXPECT_THAT(value_of("pad", {x}, {{"axis", 0}, {"before", 1}, {"after", 0}}),
              ElementsAre(0, 0, 0, 1, 2, 3, 4, 5, 6));
  EXPECT_THAT(value_of("pad", {x}, {{"axis", 1}, {"before", 0}, {"after", 1}}),
              ElementsAre(1, 2, 3, 0, 4, 5, 6, 0));
  EXPECT_THAT(value_of("broadcast_to", {{f32({2, 1}), {7, 8}}}, {{"shape", Shape{2, 2}}}),
              ElementsAre(7, 7, 8, 8));
  EXPECT_THAT(value_of("reduce_to", {x}, {{"shape", Shape{3}}}), ElementsAre(5, 7, 9));
  EXPECT_THAT(value_of("reduce_to", {x}, {{"shape", Shape{2, 1}}}), ElementsAre(6, 15));
  EXPECT_THAT(value_of("reduce_max", {x}), ElementsAre(3, 6));
  EXPECT_THAT(value_of("causal_mask", {{f32({2, 2}), {1, 2, 3, 4}}}, {{"seq", 2}}),
              ElementsAre(1, -1e30, 3, 4));
}

TEST(OpValues, MatmulWithTransposedOperands) {
  const RefTensor a{f32({2, 3}), {1, 2, 3, 4, 5, 6}};
  const RefTensor at{f32({3, 2}), {1, 4, 2, 5, 3, 6}};
  const RefTensor b{f32({3, 1}), {1, 10, 100}};
  const RefTensor bt{f32({1, 3}), {1, 10, 100}};
  const auto product = [](const RefTensor& l, const RefTensor& r, std::int64_t ta,
                          std::int64_t tb) {
    return value_of("matmul", {l, r}, {{"ta", ta}, {"tb", tb}});
  };
  EXPECT_THAT(product(a, b, 0, 0), ElementsAre(321, 654));
  EXPECT_THAT(product(at, b, 1, 0), ElementsAre(321, 654));
  EXPECT_THAT(product(a, bt, 0, 1), ElementsAre(321, 654));
  EXPECT_THAT(product(at, bt, 1, 1), ElementsAre(321, 654));
}

TEST(OpValues, Gelu) {
  // The tanh form at 1: 0.5 (1 + tanh(0.7978845608 * 1.044715)).
  EXPECT_THAT(value_of("gelu", {{f32({3}), {0, 1, -10}}}), near({0, 0.8411919906082768, 0}));
}

TEST(OpValues, EmbeddingAndItsGradient) {
  const RefTensor table{f32({3, 2}), {1, 2, 3, 4, 5, 6}};
  const RefTensor ids{i32({3}), {2, 0, 2}};
  EXPECT_THAT(value_of("embedding", {table, ids}), ElementsAre(5, 6, 1, 2, 5, 6));
  EXPECT_THAT(value_of("embedding_grad", {ids, table}, {{"rows", 4}}),
              ElementsAre(3, 4, 0, 0, 6, 8, 0, 0));
  EXPECT_THAT(value_of("one_hot", {{i32({2}), {-1, 1}}}, {{"depth", 2}}), ElementsAre(0, 0, 0, 1));
}

TEST(OpValues, LayerNorm) {
  // Mean 2, variance 1 and eps 3: the deviations are halved.
  const RefTensor x{f32({1, 2}), {1, 3}};
  EXPECT_THAT(value_of("layer_norm", {x, {f32({2}), {10, 20}}, {f32({2}), {1, 2}}}, {{"eps", 3.0}}),
              near({-4, 12}));
}

TEST(OpValues, CrossEntropy) {
  // Row 0: probabilities 1/4 and 3/4; row 1 does not count; row 2 would overflow if exponentiated
  // as it is.
  const RefTensor logits{f32({3, 2}), {0, std::log(3.0), 5, 5, 1000, 1000}};
  const RefTensor targets{i32({3}), {0, -1, 1}};
  EXPECT_THAT(value_of("softmax_cross_entropy", {logits, targets}),
              near({std::log(4.0), 0, std::log(2.0)}));
  const RefTensor sums{f32({3}), {std::log(4.0), 5 + std::log(2.0), 1000 + std::log(2.0)}};
  EXPECT_THAT(value_of("log_sum_exp", {logits}), near(sums.data));
  EXPECT_THAT(value_of("softmax_cross_entropy_grad", {logits, targets, sums, {f32({3}), {1, 1, 10}}}),
              near({-0.75, 0.75, 0, 0, 5, -5}));
  EXPECT_THAT(value_of("count_tokens", {targets}), ElementsAre(2));
}

TEST(OpValues, AttentionIsCausalAndKeepsSequencesApart) {
  // One head of depth 1, two sequences of two tokens; columns q, k, v. Row 1 weighs the two values
  // by e^(3*0) and e^(3*ln(3)/3) = 3; rows 0 and 2 see only themselves; in row 3 both scores are 0.
  const double k = std::log(3.0) / 3;
  const RefTensor qkv{f32({4, 3}), {1, 0, 8, 3, k, 4, 2, 9, 7, 0, 5, 1}};
  const Attrs attrs = {{"heads", 1}, {"seq", 2}};
  EXPECT_THAT(value_of("attention", {qkv}, attrs), near({8, 5, 7, 4}));
  EXPECT_THAT(value_of("attention_stats", {qkv}, attrs),
              near({0, std::log(4.0), 18, std::log(2.0)}));
}

TEST(OpValues, AttentionScalesByTheRootOfDepth) {
  // Depth 4, scores 4 / sqrt(4) = 2 against 0 in row 1.
  RefTensor qkv{f32({2, 12}), std::vector<double>(24, 0.0)};
  for (int i = 0; i < 4; ++i) qkv.data[i] = qkv.data[12 + i] = 1;  // q
  for (int i = 4; i < 8; ++i) qkv.data[12 + i] = 1;                // k of row 1
  for (int i = 8; i < 12; ++i) qkv.data[12 + i] = 1;               // v of row 1
  const double weight = std::exp(2.0) / (1 + std::exp(2.0));
  EXPECT_THAT(value_of("attention", {qkv}, {{"heads", 1}, {"seq", 2}}),
              near({0, 0, 0, 0, weight, weight, weight, weight}));
}

TEST(OpValues, AdamW) {
  const RefTensor half = scalar(0.5);
  EXPECT_THAT(value_of("adamw_m", {scalar(2), scalar(8), half}, {{"beta1", 0.75}}), near({2.5}));
  EXPECT_THAT(value_of("adamw_v", {scalar(2), scalar(8), half}, {{"beta2", 0.75}}), near({5.5}));
  // 10 (1 - 0.1 * 0.5) - 0.1 * (1 / 0.5) / (sqrt(1 / 0.25) + 2)
  EXPECT_THAT(
      value_of("adamw_w", {scalar(10), scalar(1), scalar(1), scalar(0.1), half, scalar(0.25)},
               {{"eps", 2.0}, {"decay", 0.5}}),
      near({9.45}));
}

TEST(OpValues, FirstAdamWStepIsTheSignOfTheGradient) {
  // t = 1: m' / c1 = g and v' / c2 = g^2.
  const double g = -0.3;
  const double m = value_of("adamw_m", {scalar(0), scalar(g), scalar(1)}, {{"beta1", 0.9}})[0];
  const double v = value_of("adamw_v", {scalar(0), scalar(g), scalar(1)}, {{"beta2", 0.95}})[0];
  EXPECT_THAT(value_of("adamw_w",
                       {scalar(0), scalar(m), scalar(v), scalar(0.01), scalar(0.1), scalar(0.05)},
                       {{"eps", 0.0}, {"decay", 0.1}}),
              near({0.01}));
}

TEST(OpValues, ClipScaleDividesByTokensAndClips) {
  const auto scale = [](double sum, double tokens, double max_norm) {
    return value_of("clip_scale", {scalar(sum), scalar(tokens)}, {{"max_norm", max_norm}})[0];
  };
  EXPECT_NEAR(scale(1600, 4, 1), 1 / (10 + 1e-6) / 4, 1e-12);  // norm 40 / 4 = 10
  EXPECT_EQ(scale(4, 4, 1), 0.25);                             // norm 0.5
  EXPECT_EQ(scale(1600, 4, 0), 0.25);                          // no bound
  EXPECT_EQ(scale(0, 0, 1), 1);                                // no token counts
}

TEST(OpValues, FlopsOfTheLargeOps) {
  Graph graph;
  Builder b(graph);
  const NodeId y = b.matmul(b.input("a", f32({2, 3, 5})), b.input("b", f32({2, 5, 7})));
  EXPECT_EQ(node_cost(graph, y).flops, 2 * 2 * 3 * 5 * 7);
  EXPECT_EQ(node_cost(graph, y).bytes, 4 * (30 + 70 + 42));
  // Two sequences of 4, 3 heads of 8: 60 pairs, of which each costs two products of 8.
  const NodeId qkv = b.input("qkv", bf16({8, 72}));
  const NodeId z = b.apply("attention", {qkv}, {{"heads", 3}, {"seq", 4}});
  EXPECT_EQ(node_cost(graph, z).flops, 60 * (2 * 2 * 8 + 4));
  EXPECT_EQ(node_cost(graph, z).bytes, 2 * 8 * 72 + 4 * 8 * 24);
}

}  // namespace
}  // namespace suanli::graph
