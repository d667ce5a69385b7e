// The head of a GPT with a large vocabulary: its logits are never a value of the compiled program.
#include <gtest/gtest.h>

#include <algorithm>

#include "suanli/model/gpt_test_support.h"

namespace suanli::model {
namespace {

constexpr std::int64_t kBatch = 8;
const GptConfig kConfig{.layers = 1, .heads = 2, .width = 16, .context = 64, .vocab = 20000};
constexpr std::int64_t kLogits = kBatch * 64 * 20000;  // 41 MB in f32

// Elements of the largest value that a kernel reads or writes.
std::int64_t largest_value(const engine::Program& program) {
  std::int64_t most = 0;
  for (const auto* calls : {&program.forward, &program.backward, &program.update})
    for (const engine::KernelCall& call : *calls)
      for (const auto* types : {&call.spec.inputs, &call.spec.outputs})
        for (const graph::TensorType& type : *types) most = std::max(most, type.elements());
  return most;
}

TEST(GptVocabulary, NoProgramHoldsTheLogits) {
  for (const auto arithmetic : {engine::Arithmetic::f32, engine::Arithmetic::bf16})
    for (const std::int64_t micro_batches : {1, 3}) {
      const auto training = gpt_training_graph(kConfig, kBatch, micro_batches, {});
      const auto evaluation = gpt_eval_graph(kConfig, kBatch);
      ASSERT_TRUE(training && evaluation);
      for (const graph::Graph& graph : {*training, *evaluation}) {
        const auto program = engine::compile(graph, {.arithmetic = arithmetic});
        ASSERT_TRUE(program.has_value());
        EXPECT_EQ(largest_value(*program), kConfig.vocab * kConfig.width);
        EXPECT_LT(program->memory.work, Bytes(4 * kLogits));
      }
      const auto logits = engine::compile(*gpt_logits_graph(kConfig, kBatch), {.arithmetic = arithmetic});
      ASSERT_TRUE(logits.has_value());
      EXPECT_EQ(largest_value(*logits), kLogits);  // where they are asked for
    }
}

TEST(GptVocabulary, TrainsToTheSameBitsOnAnyNumberOfThreads) {
  const GptConfig config{.layers = 1, .heads = 2, .width = 16, .context = 32, .vocab = 33000};  // 270 x 33000 x 4 > 32 MB
  const std::int64_t batch = 9;
  for (const auto arithmetic : {engine::Arithmetic::f32, engine::Arithmetic::bf16}) {
    std::vector<std::vector<float>> embeddings;
    double first = 0, last = 0;
    for (const int threads : {1, 3}) {
      auto graph = gpt_training_graph(config, batch, 1, {});
      ASSERT_TRUE(graph);
      auto bench = test::Bench::make(*graph, {.arithmetic = arithmetic}, threads);
      ASSERT_TRUE(bench.has_value()) << bench.error().to_string();
      const test::TokenBatch tokens[] = {test::random_batch(config, batch, 5, 0.1)};
      for (int step = 0; step < 3; ++step) {
        const auto loss = test::train_step(*bench->executor, tokens, 1e-2F);
        ASSERT_TRUE(loss.has_value()) << loss.error().to_string();
        (step == 0 ? first : last) = *loss;
      }
      embeddings.push_back(bench->read_state("wte.weight"));
    }
    EXPECT_LT(last, first - 0.2);
    EXPECT_EQ(embeddings[0], embeddings[1]);
  }
}

}  // namespace
}  // namespace suanli::model
