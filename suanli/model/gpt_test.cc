#include "suanli/model/gpt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "suanli/graph/cut.h"
#include "suanli/graph/digest.h"
#include "suanli/graph/text_form.h"
#include "suanli/model/gpt_test_support.h"

namespace suanli::model {
namespace {

using engine::Arithmetic;
using graph::Graph;
using graph::NodeId;
using test::Bench;
using test::random_batch;
using test::small_gpt;
using test::TokenBatch;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Graph training_graph(const GptConfig& config, std::int64_t batch, std::int64_t micro_batches = 1,
                     const AdamWOptions& optimizer = {}) {
  auto graph = gpt_training_graph(config, batch, micro_batches, optimizer);
  SUANLI_CHECK(graph.has_value());
  return std::move(*graph);
}

std::map<std::string, std::vector<float>> state_of(const Bench& bench) {
  std::map<std::string, std::vector<float>> state;
  for (const auto& tensor : bench.state->tensors())
    state[tensor.name] = bench.read_state(tensor.name);
  return state;
}

void expect_config_error(const Status& status, const std::string& key, const std::string& value) {
  ASSERT_FALSE(status.has_value()) << key;
  EXPECT_EQ(status.error().code, ErrorCode::config) << key;
  EXPECT_EQ(status.error().place, key);
  EXPECT_THAT(status.error().message, HasSubstr(value));
  EXPECT_NE(status.error().next_step, "") << key;
}

TEST(Gpt, ConfigErrorsNameKeyAndValue) {
  EXPECT_TRUE(GptConfig{}.check().has_value());
  EXPECT_TRUE(small_gpt().check().has_value());
  expect_config_error(GptConfig{.layers = 0}.check(), "model.layers", "0 is not between");
  expect_config_error(GptConfig{.layers = 1001}.check(), "model.layers", "1001 is not between");
  expect_config_error(GptConfig{.heads = -3}.check(), "model.heads", "-3 is not between");
  expect_config_error(GptConfig{.width = 70000}.check(), "model.width", "70000 is not between");
  expect_config_error(GptConfig{.context = 0}.check(), "model.context", "0 is not between");
  expect_config_error(GptConfig{.vocab = 0}.check(), "model.vocab", "0 is not between");
  expect_config_error(GptConfig{.norm_eps = 0}.check(), "model.norm_eps", "0 is not between");
  expect_config_error(GptConfig{.norm_eps = std::nan("")}.check(), "model.norm_eps", "nan");
  const Status uneven = GptConfig{.heads = 7, .width = 100}.check();
  expect_config_error(uneven, "model.width", "width 100 is not a multiple of heads 7");
  EXPECT_THAT(uneven.error().next_step, HasSubstr("105"));
}

TEST(Gpt, BadBatchesAreRefusedByEveryGraph) {
  const GptConfig config = small_gpt();
  const auto refuse = [](const Result<Graph>& graph, const char* key, const char* value) {
    ASSERT_FALSE(graph.has_value());
    EXPECT_EQ(graph.error().code, ErrorCode::config);
    EXPECT_EQ(graph.error().place, key);
    EXPECT_THAT(graph.error().message, HasSubstr(value));
  };
  refuse(gpt_training_graph(config, 0, 1, {}), "train.batch", "0 is not between");
  refuse(gpt_training_graph(config, 1, -1, {}), "train.micro_batches", "-1 is not between");
  refuse(gpt_eval_graph(config, 2'000'000), "train.batch", "2000000 is not between");
  refuse(gpt_logits_graph(config, 0), "train.batch", "0 is not between");
  refuse(gpt_logits_graph({.layers = 0}, 1), "model.layers", "0 is not between");
}

TEST(Gpt, ParametersAreThoseOfTheGraphAndOfGpt2) {
  const GptConfig gpt2{.layers = 12, .heads = 12, .width = 768, .context = 1024, .vocab = 50257};
  EXPECT_EQ(gpt2.parameters(), 124'439'808);  // "124M"
  for (const GptConfig& config :
       {small_gpt(), gpt2, GptConfig{.layers = 1, .heads = 1, .width = 1}})
    EXPECT_EQ(graph::parameter_count(training_graph(config, 1)), config.parameters());
}

TEST(Gpt, InitialValuesAreThoseOfGpt2) {
  const GptConfig config{.layers = 8, .heads = 2, .width = 64, .context = 32, .vocab = 128};
  const Graph graph = training_graph(config, 1);
  const double residual = 0.02 / std::sqrt(16.0);
  for (NodeId id : graph.nodes_of("param")) {
    const graph::Node& node = graph.node(id);
    const bool matrix = node.type.shape.size() == 2;
    const bool gain = !matrix && node.name.ends_with(".weight");
    EXPECT_EQ(node.attrs.word("init"), matrix ? "normal" : gain ? "ones" : "zeros") << node.name;
    EXPECT_EQ(node.attrs.integer("decay", 0), matrix) << node.name;
    if (matrix) {
      EXPECT_EQ(node.attrs.real("std"), node.name.ends_with("c_proj.weight") ? residual : 0.02)
          << node.name;
    }
  }
}

TEST(Gpt, EveryBlockBoundaryCanBeCut) {
  const GptConfig config{.layers = 3, .heads = 2, .width = 16, .context = 8, .vocab = 11};
  const Graph graph = training_graph(config, 4, 2);
  const auto points = graph::cut_points(graph);
  ASSERT_EQ(points.size(), 4U);  // the embedding, three layers, the head
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(points[i].after_block, i);
    EXPECT_TRUE(points[i].legal) << points[i].reason;
    for (const auto& crossing : {points[i].forward, points[i].backward}) {
      ASSERT_EQ(crossing.size(), 1U) << "after block " << i;
      EXPECT_EQ(graph.node(crossing[0]).type, graph::f32({4 * 8, 16}));
    }
  }
  const auto stages = graph::stages(graph, {.after_blocks = {0, 1, 2, 3}});
  ASSERT_TRUE(stages.has_value()) << stages.error().to_string();
  for (const graph::ReduceGroup& group : graph::reduce_groups(graph, *stages)) {
    if (graph.node(group.param).name == "wte.weight") {
      EXPECT_THAT(group.stages, ElementsAre(0, 4));  // tied: the embedding and the head
      EXPECT_EQ(group.owner, 0);
    } else {
      EXPECT_EQ(group.stages.size(), 1U) << graph.node(group.param).name;
    }
  }
}

TEST(Gpt, TheDigestNamesTheJob) {
  const Graph graph = training_graph(small_gpt(), 2, 3);
  const Digest digest = graph::digest(graph);
  EXPECT_EQ(graph::digest(training_graph(small_gpt(), 2, 3)), digest);
  EXPECT_NE(graph::digest(training_graph(small_gpt(), 3, 2)), digest);
  EXPECT_NE(graph::digest(training_graph(small_gpt(), 2, 3, {.beta2 = 0.99})), digest);
  GptConfig other = small_gpt();
  other.heads = 4;  // the same tensors, another function
  EXPECT_NE(graph::digest(training_graph(other, 2, 3)), digest);
}

TEST(Gpt, TheTextFormReadsBack) {
  const Graph graph = training_graph(small_gpt(), 2, 3);
  const std::string text = graph::to_text(graph);
  const auto parsed = graph::parse_text(text, "gpt");
  ASSERT_TRUE(parsed.has_value()) << parsed.error().to_string();
  EXPECT_EQ(graph::to_text(*parsed), text);
  EXPECT_EQ(graph::digest(*parsed), graph::digest(graph));
}

// Two training steps in three micro-batches on `threads` threads: the losses, and the state at the
// end.
struct TwoSteps {
  std::vector<double> losses;
  std::map<std::string, std::vector<float>> state;
  bool operator==(const TwoSteps&) const = default;
};

TwoSteps two_steps(const Graph& graph, const GptConfig& config, std::int64_t batch,
                   Arithmetic arithmetic, int threads) {
  auto bench = Bench::make(graph, {.arithmetic = arithmetic}, threads);
  SUANLI_CHECK(bench.has_value());
  TwoSteps run;
  for (std::uint64_t step = 0; step < 2; ++step) {
    std::vector<TokenBatch> micro_batches;
    for (std::int64_t i = 0; i < graph.micro_batches(); ++i)
      micro_batches.push_back(
          random_batch(config, batch, 10 * step + static_cast<std::uint64_t>(i), 0.1));
    const auto loss = test::train_step(*bench->executor, micro_batches, 0.01F);
    SUANLI_CHECK(loss.has_value());
    run.losses.push_back(*loss);
  }
  run.state = state_of(*bench);
  return run;
}

TEST(Gpt, AnyNumberOfThreadsGivesTheSameBits) {
  // Large enough for several tiles in each kernel, and no multiple of any.
  const GptConfig config{.layers = 2, .heads = 3, .width = 156, .context = 70, .vocab = 331};
  const Graph graph = training_graph(config, 3, 2);
  for (const Arithmetic arithmetic : {Arithmetic::f32, Arithmetic::bf16}) {
    const TwoSteps expected = two_steps(graph, config, 3, arithmetic, 1);
    for (const int threads : {2, 3})
      EXPECT_TRUE(two_steps(graph, config, 3, arithmetic, threads) == expected)
          << engine::name_of(arithmetic) << " with " << threads << " threads";
  }
}

TEST(Gpt, TargetsThatDoNotCountLeaveNoTrace) {
  // One sequence, alone and beside another of which no target counts, in one micro-batch and in
  // two.
  const GptConfig config = small_gpt();
  const TokenBatch counted = random_batch(config, 1, 1), other = random_batch(config, 1, 2, 1);
  TokenBatch both = counted;
  both.tokens.insert(both.tokens.end(), other.tokens.begin(), other.tokens.end());
  both.targets.insert(both.targets.end(), other.targets.begin(), other.targets.end());
  const auto run = [&](std::int64_t batch, const std::vector<TokenBatch>& micro_batches) {
    const Graph graph =
        training_graph(config, batch, static_cast<std::int64_t>(micro_batches.size()));
    auto bench = Bench::make(graph, {}, 1);
    SUANLI_CHECK(bench.has_value());
    const double loss = *test::train_step(*bench->executor, micro_batches, 0.01F);
    return std::vector<double>{loss, *bench->executor->read_scalar("tokens"),
                               *bench->executor->read_scalar("grad_norm")};
  };
  const auto alone = run(1, {counted}), together = run(2, {both}), apart = run(1, {counted, other});
  EXPECT_EQ(alone[1], 8);
  for (const auto& result : {together, apart}) {
    EXPECT_NEAR(result[0], alone[0], 1e-6 * alone[0]);
    EXPECT_EQ(result[1], alone[1]);
    EXPECT_NEAR(result[2], alone[2], 1e-5 * alone[2]);
  }
}

TEST(Gpt, AStepThatIsNotFiniteChangesNothing) {
  const GptConfig config = small_gpt();
  const Graph graph = training_graph(config, 2);
  auto bench = Bench::make(graph, {}, 2);
  ASSERT_TRUE(bench.has_value());
  const TokenBatch good = random_batch(config, 2, 1), uncounted = random_batch(config, 2, 2, 1);
  ASSERT_TRUE(test::train_step(*bench->executor, std::span(&good, 1), 0.01F).has_value());
  const auto before = state_of(*bench);
  // No target counts: no mean.
  const auto loss = test::train_step(*bench->executor, std::span(&uncounted, 1), 0.01F);
  ASSERT_FALSE(loss.has_value());
  EXPECT_EQ(loss.error().code, ErrorCode::not_finite);
  EXPECT_EQ(state_of(*bench), before);
  // A parameter that is infinite.
  std::vector<float> bias = before.at("h.1.mlp.c_fc.bias");
  bias[5] = std::numeric_limits<float>::infinity();
  ASSERT_TRUE(bench->state->write("h.1.mlp.c_fc.bias", std::as_bytes(std::span(bias))));
  const auto infinite = state_of(*bench);
  EXPECT_FALSE(test::train_step(*bench->executor, std::span(&good, 1), 0.01F).has_value());
  EXPECT_EQ(state_of(*bench), infinite);
  // Its moments were not touched, so with the parameter mended training goes on.
  ASSERT_TRUE(bench->state->write("h.1.mlp.c_fc.bias",
                                  std::as_bytes(std::span(before.at("h.1.mlp.c_fc.bias")))));
  EXPECT_TRUE(test::train_step(*bench->executor, std::span(&good, 1), 0.01F).has_value());
}

TEST(Gpt, TwoSlotsGiveTheSameLossAsOne) {
  const GptConfig config = small_gpt();
  const Graph graph = training_graph(config, 2, 2);
  const std::vector<TokenBatch> micro = {random_batch(config, 2, 1), random_batch(config, 2, 2)};
  auto one = Bench::make(graph, {}, 2), two = Bench::make(graph, {.slots = 2}, 2);
  ASSERT_TRUE(one.has_value() && two.has_value());
  EXPECT_GT(two->executor->program().memory.stash_per_slot, Bytes(0));
  for (int step = 0; step < 2; ++step) {
    const auto expected = test::train_step(*one->executor, micro, 0.01F);
    // Both forwards before both backwards, as in a pipeline.
    two->executor->begin_step();
    for (int slot : {0, 1}) {
      const engine::HostTensor inputs[] = {engine::test::host("tokens", micro[slot].tokens),
                                           engine::test::host("targets", micro[slot].targets)};
      ASSERT_TRUE(two->executor->forward(slot, inputs));
    }
    for (int slot : {0, 1}) ASSERT_TRUE(two->executor->backward(slot));
    const std::vector<float> lr = {0.01F};
    const engine::HostTensor rate[] = {engine::test::host("lr", lr)};
    ASSERT_TRUE(two->executor->update(rate));
    EXPECT_EQ(*two->executor->read_scalar("loss"), *expected);
  }
  EXPECT_EQ(state_of(*two), state_of(*one));
}

TEST(Gpt, APlanAboveTheMemoryLimitIsRefused) {
  const Graph graph = training_graph(small_gpt(), 2);
  const auto program = engine::compile(graph, {});
  ASSERT_TRUE(program.has_value());
  const Bytes needed = program->memory.total(1);
  // Three f32 numbers per parameter (weight and two moments), and AdamW's two powers.
  EXPECT_EQ(program->memory.state, Bytes(12 * small_gpt().parameters() + 8));
  EXPECT_TRUE(engine::compile(graph, {.memory_limit = needed}).has_value());
  // What recomputation can save of a model this small is less than its state.
  const auto refused = engine::compile(graph, {.memory_limit = program->memory.state + Bytes(2048)});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::no_memory);
  EXPECT_THAT(refused.error().message, HasSubstr("more than the limit of"));
  EXPECT_THAT(refused.error().next_step, HasSubstr("train.batch"));
}

TEST(Gpt, EvaluationAndLogitsAreThoseOfTraining) {
  const GptConfig config = small_gpt();
  const TokenBatch batch = random_batch(config, 2, 3, 0.3);
  const std::vector<engine::HostTensor> inputs = {engine::test::host("tokens", batch.tokens),
                                                  engine::test::host("targets", batch.targets)};
  auto training = Bench::make(training_graph(config, 2), {}, 2, 7);
  auto evaluation = Bench::make(*gpt_eval_graph(config, 2), {}, 2, 7);
  auto predicting = Bench::make(*gpt_logits_graph(config, 2), {}, 2, 7);
  ASSERT_TRUE(training.has_value() && evaluation.has_value() && predicting.has_value());
  EXPECT_TRUE(evaluation->executor->program().backward.empty());
  ASSERT_TRUE(evaluation->executor->forward(0, inputs));
  ASSERT_TRUE(predicting->executor->forward(0, std::span(inputs).first(1)));
  const double tokens = *evaluation->executor->read_scalar("tokens");
  const double mean = *evaluation->executor->read_scalar("loss_sum") / tokens;
  EXPECT_NEAR(mean, *test::train_step(*training->executor, std::span(&batch, 1), 0), 1e-6 * mean);

  std::vector<float> logits(2 * config.context * config.vocab);
  ASSERT_TRUE(predicting->executor->read("logits", std::as_writable_bytes(std::span(logits))));
  double sum = 0;
  for (std::size_t row = 0; row < batch.targets.size(); ++row) {
    if (batch.targets[row] < 0) continue;
    double total = 0;
    for (std::int64_t v = 0; v < config.vocab; ++v)
      total += std::exp(logits[row * config.vocab + v]);
    sum += std::log(total) - logits[row * config.vocab + batch.targets[row]];
  }
  EXPECT_NEAR(sum / tokens, mean, 1e-5 * mean);
}

TEST(Gpt, LaterTokensDoNotChangeEarlierLogits) {
  const GptConfig config = small_gpt();
  auto bench = Bench::make(*gpt_logits_graph(config, 2), {}, 1);
  ASSERT_TRUE(bench.has_value());
  const auto logits_of = [&](const std::vector<std::int32_t>& tokens) {
    const engine::HostTensor inputs[] = {engine::test::host("tokens", tokens)};
    SUANLI_CHECK(bench->executor->forward(0, inputs).has_value());
    std::vector<float> logits(2 * config.context * config.vocab);
    SUANLI_CHECK(
        bench->executor->read("logits", std::as_writable_bytes(std::span(logits))).has_value());
    return logits;
  };
  std::vector<std::int32_t> tokens = random_batch(config, 2, 1).tokens;
  const std::vector<float> before = logits_of(tokens);
  tokens[5] = (tokens[5] + 1) % 11;  // of the first sequence
  const std::vector<float> after = logits_of(tokens);
  for (std::int64_t row = 0; row < 16; ++row) {
    const bool same = std::equal(before.begin() + row * 11, before.begin() + (row + 1) * 11,
                                 after.begin() + row * 11);
    EXPECT_EQ(same, row < 5 || row >= 8) << "row " << row;
  }
}

TEST(Gpt, LearnsABatchByHeart) {
  const GptConfig config = small_gpt();
  for (const Arithmetic arithmetic : {Arithmetic::f32, Arithmetic::bf16}) {
    auto bench = Bench::make(training_graph(config, 2), {.arithmetic = arithmetic}, 1);
    ASSERT_TRUE(bench.has_value());
    const TokenBatch batch = random_batch(config, 2, 5);
    double first = 0, last = 0;
    for (int step = 0; step < 60; ++step) {
      last = *test::train_step(*bench->executor, std::span(&batch, 1), 0.02F);
      if (step == 0) first = last;
    }
    EXPECT_NEAR(first, std::log(11.0), 0.1);  // at first every token is as likely as any other
    EXPECT_LT(last, 0.3);
  }
}

}  // namespace
}  // namespace suanli::model
