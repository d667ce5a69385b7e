// A GPT that grows while it trains (graph/edit.h): the function and the optimizer's memory survive.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "suanli/graph/edit.h"
#include "suanli/model/gpt_test_support.h"

namespace suanli::model {
namespace {

using graph::Graph;
using graph::StateRule;
using test::Bench;
using test::TokenBatch;
using ::testing::Contains;
using ::testing::Each;
using ::testing::Ne;

constexpr std::int64_t kBatch = 2;
constexpr std::int64_t kNewLayer = 1;
// Without clipping the update of a weight depends on its own gradient alone.
const AdamWOptions kOptimizer{.clip_norm = 0};

Graph graph_of(std::int64_t layers) {
  GptConfig config = test::small_gpt();
  config.layers = layers;
  auto graph = gpt_training_graph(config, kBatch, 1, kOptimizer);
  SUANLI_CHECK(graph.has_value());
  return std::move(*graph);
}

// The name before the edit of a tensor of the grown GPT; empty if it is of the new layer.
std::string old_name(const std::string& name) {
  if (!name.starts_with("h.")) return name;
  const std::size_t dot = name.find('.', 2);
  const std::int64_t layer = std::stoll(name.substr(2, dot - 2));
  if (layer == kNewLayer) return "";
  return "h." + std::to_string(layer < kNewLayer ? layer : layer - 1) + name.substr(dot);
}

// A layer whose two output projections are zero, before layer kNewLayer: it adds nothing to the
// residual stream.
graph::GraphEdit insert_layer(std::int64_t layers) {
  graph::GraphEdit edit{
      .reason = "one layer more", .after = graph_of(layers + 1), .rules = {}, .seed = 5};
  for (const char* kind : {"param", "state"})
    for (graph::NodeId id : edit.after.nodes_of(kind)) {
      const std::string& name = edit.after.node(id).name;
      StateRule rule{.to = name, .kind = StateRule::Kind::keep, .from = old_name(name)};
      if (rule.from.empty())
        rule.kind = name.ends_with("c_proj.weight") ? StateRule::Kind::fill : StateRule::Kind::init;
      edit.rules.push_back(std::move(rule));
    }
  return edit;
}

graph::StateMap state_of(const Bench& bench) {
  graph::StateMap state;
  for (const auto& tensor : bench.state->tensors())
    state[tensor.name] = engine::test::ref(tensor.type, bench.read_state(tensor.name));
  return state;
}

Bench bench_of(const Graph& graph, const graph::StateMap& state) {
  auto bench = Bench::make(graph, {}, 2);
  SUANLI_CHECK(bench.has_value());
  for (const auto& [name, tensor] : state) {
    const std::vector<float> values(tensor.data.begin(), tensor.data.end());
    SUANLI_CHECK(bench->state->write(name, std::as_bytes(std::span(values))).has_value());
  }
  return std::move(*bench);
}

double step(Bench& bench, std::uint64_t seed) {
  const TokenBatch batch = test::random_batch(test::small_gpt(), kBatch, seed);
  const auto loss = test::train_step(*bench.executor, std::span(&batch, 1), 0.01F);
  SUANLI_CHECK(loss.has_value());
  return *loss;
}

TEST(GptEdit, ALayerThatAddsNothingKeepsLossAndOptimizerState) {
  const Graph before = graph_of(2);
  auto made = Bench::make(before, {}, 2);
  ASSERT_TRUE(made.has_value());
  Bench old = std::move(*made);
  for (std::uint64_t seed = 0; seed < 3; ++seed) step(old, seed);
  const graph::StateMap state = state_of(old);

  const graph::GraphEdit edit = insert_layer(2);
  const auto grown = graph::apply(edit, before, state);
  ASSERT_TRUE(grown.has_value()) << grown.error().to_string();
  ASSERT_EQ(grown->size(), state.size() + 3 * 12);  // of twelve tensors weight and two moments
  for (const auto& [name, tensor] : *grown)
    if (!old_name(name).empty()) {
      EXPECT_EQ(tensor.data, state.at(old_name(name)).data) << name;
    }
  EXPECT_THAT(grown->at("h.2.attn.c_attn.weight.adam_v").data, Contains(Ne(0.0)));
  EXPECT_THAT(grown->at("h.1.attn.c_attn.weight").data, Contains(Ne(0.0)));
  EXPECT_THAT(grown->at("h.1.mlp.c_proj.weight").data, Each(0.0));
  EXPECT_THAT(grown->at("h.1.mlp.c_fc.weight.adam_m").data, Each(0.0));

  Bench deeper = bench_of(edit.after, *grown);
  const double loss = step(old, 7);
  EXPECT_NEAR(step(deeper, 7), loss, 1e-6 * loss);
  // The same gradients met the same moments: what was there before took the same step.
  for (const auto& tensor : deeper.state->tensors()) {
    if (old_name(tensor.name).empty()) continue;
    const auto now = deeper.read_state(tensor.name),
               expected = old.read_state(old_name(tensor.name));
    for (std::size_t i = 0; i < expected.size(); ++i)
      ASSERT_NEAR(now[i], expected[i], 2e-5) << tensor.name << " at " << i;
  }
  // The new layer trains at once.
  EXPECT_THAT(deeper.read_state("h.1.mlp.c_proj.weight"), Contains(Ne(0.0F)));
  EXPECT_THAT(deeper.read_state("h.1.attn.c_proj.weight"), Contains(Ne(0.0F)));
}

TEST(GptEdit, AForgottenTensorIsNamed) {
  graph::GraphEdit edit = insert_layer(2);
  std::erase_if(edit.rules, [](const StateRule& rule) { return rule.to == "ln_f.bias.adam_v"; });
  const Status status = graph::validate(edit, graph_of(2));
  ASSERT_FALSE(status.has_value());
  EXPECT_EQ(status.error().code, ErrorCode::graph);
  EXPECT_THAT(status.error().to_string(), ::testing::HasSubstr("ln_f.bias.adam_v"));
}

}  // namespace
}  // namespace suanli::model
