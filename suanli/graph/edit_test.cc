#include "suanli/graph/edit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>

#include <cmath>
#include <cstdint>
#include <functional>
#include <numeric>

#include "suanli/graph/mlp_for_tests.h"

namespace suanli::graph {
namespace {

using Kind = StateRule::Kind;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::int64_t kHidden = 6;

// Random values for every state tensor, moments included.
StateMap random_state(const Graph& graph) {
  StateMap state;
  std::uint64_t seed = 1;
  for (const char* op_name : {"param", "state"})
    for (NodeId id : graph.nodes_of(op_name)) {
      const Node& node = graph.node(id);
      state[node.name] = random_for_tests(node.type, seed++);
    }
  return state;
}

// The loss of one step, and the state after it.
double step(const Graph& graph, StateMap& state) {
  Interpreter interpreter(graph);
  for (const auto& [name, tensor] : state) interpreter.state(name) = tensor;
  const TensorType data = f32({kTestBatch, kTestInputs});
  const Values inputs = {{"x", random_for_tests(data, 100)},
                         {"target", random_for_tests(data, 101)}};
  const Result<Values> outputs = interpreter.step({inputs}, {{"rate", {f32({}), {0.01}}}});
  SUANLI_CHECK(outputs.has_value());
  for (auto& [name, tensor] : state) tensor = interpreter.state(name);
  return outputs->at("loss").data.at(0);
}

// Rules for a param and its moment.
void add(GraphEdit& edit, const std::string& name, StateRule rule) {
  rule.to = name;
  edit.rules.push_back(std::move(rule));
}

void keep(GraphEdit& edit, const std::string& to, const std::string& from) {
  add(edit, to, {.to = "", .kind = Kind::keep, .from = from});
  add(edit, "m." + to, {.to = "", .kind = Kind::keep, .from = "m." + from});
}

// A layer that adds nothing, put before layer 2 of `before` (two layers).
GraphEdit insert_layer() {
  GraphEdit edit{.reason = "deeper", .after = mlp_for_tests(3, kHidden), .rules = {}, .seed = 7};
  keep(edit, "in", "in");
  for (const char* part : {".up", ".down"}) {
    keep(edit, std::string("layer.1") + part, std::string("layer.1") + part);
    keep(edit, std::string("layer.3") + part, std::string("layer.2") + part);
    add(edit, std::string("m.layer.2") + part, {.to = "", .kind = Kind::init});
  }
  add(edit, "layer.2.up", {.to = "", .kind = Kind::init});
  add(edit, "layer.2.down", {.to = "", .kind = Kind::fill, .fill = 0});
  return edit;
}

// The box of a whole [rows, columns] tensor, put at (row, column).
Piece whole(const std::string& from, Shape extent, std::int64_t row, std::int64_t column,
            double scale) {
  return {.from = from,
          .from_offset = {0, 0},
          .to_offset = {row, column},
          .extent = extent,
          .scale = scale};
}

// Twice the hidden width: columns of `up` stand twice, rows of `down` twice with half the weight.
// The gradient of each copy of `up` is then half of what it was, and so is its moment.
GraphEdit double_width(int layers) {
  GraphEdit edit{.reason = "wider", .after = mlp_for_tests(layers, 2 * kHidden), .rules = {}};
  keep(edit, "in", "in");
  const Shape up_shape = {kTestWidth, kHidden};
  const Shape down_shape = {kHidden, kTestWidth};
  for (int i = 1; i <= layers; ++i) {
    const std::string up = "layer." + std::to_string(i) + ".up";
    const std::string down = "layer." + std::to_string(i) + ".down";
    const auto twice = [&](const std::string& name, const Shape& shape, bool rows, double scale) {
      add(edit, name,
          {.to = "",
           .kind = Kind::blend,
           .pieces = {whole(name, shape, 0, 0, scale),
                      whole(name, shape, rows ? kHidden : 0, rows ? 0 : kHidden, scale)}});
    };
    twice(up, up_shape, false, 1);
    twice("m." + up, up_shape, false, 0.5);
    twice(down, down_shape, true, 0.5);
    twice("m." + down, down_shape, true, 1);
  }
  return edit;
}

TEST(Edit, ALayerThatAddsNothingLeavesTheLoss) {
  const Graph before = mlp_for_tests(2, kHidden);
  StateMap state = random_state(before);
  const GraphEdit edit = insert_layer();
  const Result<StateMap> grown = apply(edit, before, state);
  ASSERT_TRUE(grown.has_value()) << grown.error().to_string();
  EXPECT_EQ(grown->at("layer.3.up").data, state.at("layer.2.up").data);
  EXPECT_EQ(grown->at("m.layer.3.down").data, state.at("m.layer.2.down").data);
  EXPECT_THAT(grown->at("m.layer.2.up").data, Each(0.0));
  EXPECT_THAT(grown->at("layer.2.up").data, ::testing::Contains(::testing::Ne(0.0)));

  StateMap after = *grown;
  const double loss = step(before, state);
  EXPECT_NEAR(step(edit.after, after), loss, 1e-12 * loss);
  // The new layer trains at once: its output matrix has moved.
  EXPECT_THAT(after.at("layer.2.down").data, ::testing::Contains(::testing::Ne(0.0)));
}

TEST(Edit, DoublingTheWidthLeavesTheLossAndItsMomentum) {
  const Graph before = mlp_for_tests(2, kHidden);
  StateMap state = random_state(before);
  for (int i = 0; i < 2; ++i) step(before, state);
  const GraphEdit edit = double_width(2);
  const Result<StateMap> grown = apply(edit, before, state);
  ASSERT_TRUE(grown.has_value()) << grown.error().to_string();
  const StateMap old = state;
  StateMap after = *grown;
  const double loss = step(before, state);
  EXPECT_NEAR(step(edit.after, after), loss, 1e-12 * loss);

  const std::vector<double>& from = old.at("m.layer.1.up").data;
  const std::vector<double>& to = grown->at("m.layer.1.up").data;
  for (std::int64_t row = 0; row < kTestWidth; ++row)
    for (std::int64_t column = 0; column < 2 * kHidden; ++column)
      EXPECT_EQ(to[row * 2 * kHidden + column], from[row * kHidden + column % kHidden] / 2);
  EXPECT_EQ(grown->at("m.in").data, old.at("m.in").data);
}

// A graph with one state tensor of this type.
Graph one_state(TensorType type, const std::string& name = "t", const std::string& init = "zeros",
                double deviation = 0) {
  Graph graph;
  Builder b(graph);
  b.param(name, std::move(type), init, deviation);
  SUANLI_CHECK(b.status());
  return graph;
}

RefTensor counted(const TensorType& type) {
  RefTensor tensor{type, std::vector<double>(static_cast<std::size_t>(type.elements()))};
  std::iota(tensor.data.begin(), tensor.data.end(), 1);
  return tensor;
}

Result<StateMap> edit_one(const TensorType& from, const TensorType& to, StateRule rule) {
  rule.to = "t";
  const GraphEdit edit{.reason = "", .after = one_state(to), .rules = {std::move(rule)}};
  return apply(edit, one_state(from), {{"t", counted(from)}});
}

TEST(Edit, VocabularyGrowsByRowsOfAConstant) {
  const auto state = edit_one(
      f32({2, 3}), f32({4, 3}),
      {.to = "", .kind = Kind::blend, .pieces = {whole("t", {2, 3}, 0, 0, 1)}, .fill = 0.5});
  ASSERT_TRUE(state.has_value()) << state.error().to_string();
  EXPECT_THAT(state->at("t").data, ElementsAre(1, 2, 3, 4, 5, 6, .5, .5, .5, .5, .5, .5));
}

TEST(Edit, PiecesAreBoxesInOrder) {
  const auto state = edit_one(
      f32({2, 3, 2}), f32({2, 2, 3}),
      {.to = "",
       .kind = Kind::blend,
       .pieces =
           {{.from = "t",
             .from_offset = {0, 1, 0},
             .to_offset = {0, 0, 1},
             .extent = {2, 2, 2},
             .scale = 2},
            {.from = "t",
             .from_offset = {1, 2, 1},
             .to_offset = {1, 1, 2},
             .extent = {1, 1, 1},
             .scale = -1,
             .add = true},
            {.from = "t", .from_offset = {0, 0, 0}, .to_offset = {0, 0, 1}, .extent = {1, 1, 1}}},
       .fill = -1});
  ASSERT_TRUE(state.has_value()) << state.error().to_string();
  EXPECT_THAT(state->at("t").data, ElementsAre(-1, 1, 8, -1, 10, 12, -1, 18, 20, -1, 22, 24 - 12));
}

TEST(Edit, ScalarsAndIntegersAreCarried) {
  const Piece all = {.from = "t"};
  const auto scalar = edit_one(f32({}), f32({}), {.to = "", .kind = Kind::blend, .pieces = {all}});
  ASSERT_TRUE(scalar.has_value()) << scalar.error().to_string();
  EXPECT_THAT(scalar->at("t").data, ElementsAre(1));
  const auto integers = edit_one(i32({2}), i32({2}), {.to = "", .kind = Kind::keep});
  ASSERT_TRUE(integers.has_value());
  EXPECT_THAT(integers->at("t").data, ElementsAre(1, 2));
}

TEST(Edit, ScaledBf16StaysBf16) {
  const auto state = edit_one(
      bf16({3}), bf16({3}),
      {.to = "",
       .kind = Kind::blend,
       .pieces = {
           {.from = "t", .from_offset = {0}, .to_offset = {0}, .extent = {3}, .scale = 0.1}}});
  ASSERT_TRUE(state.has_value());
  for (double value : state->at("t").data) EXPECT_EQ(value, round_to_bf16(value));
}

TEST(Edit, InitDependsOnSeedAndNameAlone) {
  const auto draw = [](const std::string& name, std::uint64_t seed) {
    const Graph graph = one_state(f32({200, 50}), name, "normal", 0.02);
    const Result<RefTensor> tensor = initial_value(graph.node(0), seed);
    EXPECT_TRUE(tensor.has_value());
    return tensor->data;
  };
  const std::vector<double> values = draw("a", 1);
  EXPECT_EQ(draw("a", 1), values);
  EXPECT_NE(draw("b", 1), values);
  EXPECT_NE(draw("a", 2), values);
  double square = 0;
  for (double value : values) {
    square += value * value;
    ASSERT_EQ(value, static_cast<double>(static_cast<float>(value)));
  }
  EXPECT_NEAR(std::sqrt(square / 10000), 0.02, 0.0006);
  EXPECT_THAT(initial_value(one_state(f32({3}), "a", "ones").node(0), 1)->data,
              ElementsAre(1, 1, 1));
  const auto unknown = initial_value(one_state(f32({3}), "a", "uniform").node(0), 1);
  ASSERT_FALSE(unknown.has_value());
  EXPECT_THAT(unknown.error().to_string(), HasSubstr("a: init 'uniform'"));
}

struct BadRule {
  StateRule rule;  // for t, f32[2x3] before and f32[4x3] after
  const char* message;
};

void PrintTo(const BadRule& bad, std::ostream* out) { *out << "rule for '" << bad.rule.to << "'"; }

class EditErrors : public ::testing::TestWithParam<BadRule> {};

TEST_P(EditErrors, NameTheRuleAndTheValue) {
  const auto state = edit_one(f32({2, 3}), f32({4, 3}), GetParam().rule);
  ASSERT_FALSE(state.has_value());
  EXPECT_EQ(state.error().code, ErrorCode::graph);
  EXPECT_EQ(state.error().place, "rule for t");
  EXPECT_THAT(state.error().message, HasSubstr(GetParam().message));
}

StateRule blend(Piece piece) {
  return {.to = "t", .kind = Kind::blend, .pieces = {std::move(piece)}};
}

INSTANTIATE_TEST_SUITE_P(
    All, EditErrors,
    ::testing::Values(
        BadRule{{.to = "t"}, "'t' is f32[2x3], but f32[4x3] is needed"},
        BadRule{{.to = "t", .from = "u"}, "no param or state 'u'"},
        BadRule{{.to = "t", .kind = Kind::fill, .from = "t"}, "from = 't', which only a keep"},
        BadRule{{.to = "t", .kind = Kind::fill, .pieces = {whole("t", {2, 3}, 0, 0, 1)}},
                "pieces, which only a blend"},
        BadRule{{.to = "t", .kind = Kind::fill, .fill = std::nan("")}, "fill = nan"},
        BadRule{blend(whole("missing", {2, 3}, 0, 0, 1)),
                "piece 0: the graph before the edit has no"},
        BadRule{blend(whole("t", {2, 3}, 3, 0, 1)),
                "piece 0: to_offset [3x0] with extent [2x3] does not lie inside 't' f32[4x3] in "
                "dimension 0"},
        BadRule{blend(whole("t", {4, 3}, 0, 0, 1)),
                "piece 0: from_offset [0x0] with extent [4x3] does not lie inside 't' f32[2x3]"},
        BadRule{blend(whole("t", {2, 3}, 0, -1, 1)), "dimension 1"},
        BadRule{blend(whole("t", {0, 3}, 0, 0, 1)), "dimension 0"},
        BadRule{blend(whole("t", {2}, 0, 0, 1)), "has not the rank of 't' f32[2x3]"},
        BadRule{blend(whole("t", {2, 3}, 0, INT64_MAX, 1)), "does not lie inside"},
        BadRule{blend(whole("t", {2, 3}, 0, 0, INFINITY)), "scale = inf"}));

TEST(Edit, IntegersAreNotScaledOrBroken) {
  const auto scaled = edit_one(
      i32({2}), i32({2}),
      blend({.from = "t", .from_offset = {0}, .to_offset = {0}, .extent = {2}, .scale = 0.5}));
  ASSERT_FALSE(scaled.has_value());
  EXPECT_THAT(scaled.error().message, HasSubstr("scale = 0.5 is not allowed for i32[2]"));
  const auto filled = edit_one(i32({2}), i32({2}), {.to = "t", .kind = Kind::fill, .fill = 1.5});
  ASSERT_FALSE(filled.has_value());
  EXPECT_THAT(filled.error().message, HasSubstr("fill = 1.5 is not a value of i32[2]"));
  const auto large = edit_one(TensorType{DType::u8, {2}}, TensorType{DType::u8, {2}},
                              {.to = "t", .kind = Kind::fill, .fill = 256});
  ASSERT_FALSE(large.has_value());
  EXPECT_THAT(large.error().message, HasSubstr("fill = 256 is not a value of u8[2]"));
  const auto other =
      edit_one(f32({2}), i32({2}),
               blend({.from = "t", .from_offset = {0}, .to_offset = {0}, .extent = {2}}));
  ASSERT_FALSE(other.has_value());
  EXPECT_THAT(other.error().message, HasSubstr("another element type"));
}

TEST(Edit, EveryStateTensorHasExactlyOneRule) {
  const Graph before = mlp_for_tests(2, kHidden);
  const auto message = [&](const std::function<void(GraphEdit&)>& change) {
    GraphEdit edit = insert_layer();
    change(edit);
    const Status status = validate(edit, before);
    EXPECT_FALSE(status.has_value());
    EXPECT_EQ(status.error().code, ErrorCode::graph);
    return status.error().to_string();
  };
  EXPECT_TRUE(validate(insert_layer(), before).has_value());
  EXPECT_THAT(message([](GraphEdit& e) { e.rules.pop_back(); }),
              HasSubstr("the param 'layer.2.down'"));
  EXPECT_THAT(message([](GraphEdit& e) { e.rules.erase(e.rules.begin() + 1); }),
              HasSubstr("the optimizer state 'm.in'"));
  EXPECT_THAT(message([](GraphEdit& e) { e.rules.push_back(e.rules[0]); }),
              HasSubstr("rule for in: there are two rules"));
  EXPECT_THAT(message([](GraphEdit& e) { e.rules[0].to = "layer.2.dwn"; }),
              HasSubstr("did you mean 'layer.2.down'?"));
  EXPECT_THAT(message([](GraphEdit& e) { e.rules[0].to = "x"; }),
              HasSubstr("no param or state 'x'"));
}

TEST(Edit, TheStateMustBeThatOfTheGraph) {
  const Graph before = mlp_for_tests(2, kHidden);
  const auto error = [&](const std::function<void(StateMap&)>& change) {
    StateMap state = random_state(before);
    change(state);
    const auto grown = apply(insert_layer(), before, state);
    EXPECT_FALSE(grown.has_value());
    EXPECT_EQ(grown.error().code, ErrorCode::mismatch);
    EXPECT_EQ(grown.error().place, "m.in");
    return grown.error().message;
  };
  EXPECT_THAT(error([](StateMap& s) { s.erase("m.in"); }), HasSubstr("no tensor of this name"));
  EXPECT_THAT(error([](StateMap& s) { s["m.in"].data.pop_back(); }), HasSubstr("with 14 elements"));
  EXPECT_THAT(error([](StateMap& s) { s["m.in"].type = i32({3, 5}); }), HasSubstr("i32[3x5]"));
}

}  // namespace
}  // namespace suanli::graph
