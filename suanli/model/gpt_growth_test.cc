#include "suanli/model/gpt_growth.h"

#include <gmock/gmock.h>

#include "suanli/model/gpt_test_support.h"

namespace suanli::model {
namespace {

using graph::Graph;
using test::Bench;
using test::TokenBatch;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Ne;

constexpr std::int64_t kBatch = 2;
// Without clipping the update of a weight depends on its own gradient alone.
const AdamWOptions kOptimizer{.clip_norm = 0};

GptConfig grown(std::int64_t layers, std::int64_t times) {
  GptConfig config = test::small_gpt();
  config.layers = layers;
  config.heads *= times;
  config.width *= times;
  return config;
}

Bench bench_of(const Graph& graph) {
  auto bench = Bench::make(graph, {}, 2);
  SUANLI_CHECK(bench.has_value());
  return std::move(*bench);
}

double step(Bench& bench, std::uint64_t seed, float lr = 0.01F) {
  const TokenBatch batch = test::random_batch(test::small_gpt(), kBatch, seed);
  const auto loss = test::train_step(*bench.executor, std::span(&batch, 1), lr);
  SUANLI_CHECK(loss.has_value());
  return *loss;
}

// A GPT after a few steps, so that moments are not zero and norms not one, and what it has become.
struct Grown {
  Bench old, young;
};
Grown grow(const GptConfig& from, const GptConfig& to) {
  const auto edit = grow_gpt(from, to, kBatch, 1, kOptimizer);
  SUANLI_CHECK(edit.has_value());
  const Graph before = *gpt_training_graph(from, kBatch, 1, kOptimizer);
  Grown result{bench_of(before), bench_of(edit->after)};
  for (std::uint64_t seed = 0; seed < 5; ++seed) step(result.old, seed);
  graph::StateMap state;
  for (const auto& tensor : result.old.state->tensors())
    state[tensor.name] = engine::test::ref(tensor.type, result.old.read_state(tensor.name));
  const auto made = graph::apply(*edit, before, state);
  if (!made) throw std::runtime_error(made.error().to_string());
  for (const auto& [name, tensor] : *made) {
    const std::vector<float> values(tensor.data.begin(), tensor.data.end());
    SUANLI_CHECK(result.young.state->write(name, std::as_bytes(std::span(values))).has_value());
  }
  return result;
}

TEST(GptGrowth, KeepsTheLoss) {
  for (const auto& [layers, times] : {std::pair<std::int64_t, std::int64_t>{3, 1}, {4, 1}, {7, 1}, {2, 2}, {2, 3}, {5, 2}}) {
    SCOPED_TRACE(std::to_string(layers) + " layers, " + std::to_string(times) + " times as wide");
    Grown g = grow(grown(2, 1), grown(layers, times));
    const double loss = step(g.old, 7);
    EXPECT_NEAR(step(g.young, 7), loss, 2e-6 * loss);
  }
}

TEST(GptGrowth, GoesOnLearningAtOnceAndFaster) {
  Grown g = grow(grown(2, 1), grown(4, 2));
  double old = 0, young = 0;
  for (int i = 0; i < 60; ++i) {
    old = step(g.old, 11, 3e-3F);
    young = step(g.young, 11, 3e-3F);
  }
  EXPECT_LT(young, old);
}

TEST(GptGrowth, CopiesDoNotStayAlike) {
  Grown g = grow(grown(2, 1), grown(2, 2));
  for (std::uint64_t seed = 0; seed < 3; ++seed) step(g.young, seed);
  const std::int64_t width = 32, half = 16;
  for (const char* name : {"wte.weight", "h.0.attn.c_proj.weight", "h.1.mlp.c_fc.weight"}) {
    const std::vector<float> matrix = g.young.read_state(name);
    const std::int64_t columns = static_cast<std::string>(name).find("c_fc") != std::string::npos ? 4 * width : width;
    std::vector<double> apart;
    for (std::int64_t j = 0; j < std::min(columns / 2, half); ++j)
      apart.push_back(std::abs(matrix[static_cast<std::size_t>(j)] - matrix[static_cast<std::size_t>(j + columns / 2)]));
    EXPECT_THAT(apart, Contains(testing::Gt(1e-4))) << name;
  }
}

// The same gradients meet the same moments: what was there before takes the same step.
TEST(GptGrowth, NewLayersDoNotDisturbTheOldOnes) {
  Grown g = grow(grown(2, 1), grown(4, 1));
  step(g.old, 7);
  step(g.young, 7);
  for (const auto& tensor : g.old.state->tensors()) {
    std::string name = tensor.name;
    if (name.starts_with("h.1.")) name = "h.2." + name.substr(4);  // 0, its copy, 1, its copy
    const auto now = g.young.read_state(name), expected = g.old.read_state(tensor.name);
    for (std::size_t i = 0; i < expected.size(); ++i) ASSERT_NEAR(now[i], expected[i], 2e-5) << name << " at " << i;
  }
  EXPECT_THAT(g.young.read_state("h.1.mlp.c_proj.weight"), Contains(Ne(0.0F)));
}

TEST(GptGrowth, WhatCannotGrowIsNamed) {
  const auto refused = [](const GptConfig& to, const char* word) {
    const Status status = check_growth(grown(2, 1), to);
    ASSERT_FALSE(status);
    EXPECT_THAT(status.error().to_string(), HasSubstr(word));
  };
  refused(grown(1, 1), "1 layers are fewer than the 2");
  GptConfig config = grown(2, 1);
  config.width = 24;
  refused(config, "a width of 24 is not 1 to 16 times that of 16");
  config = grown(2, 2);
  config.heads = 2;
  refused(config, "2 heads become 4");
  config = grown(2, 1);
  config.context = 16;
  refused(config, "cannot grow");
}

}  // namespace
}  // namespace suanli::model
