// A language model trained in exact arithmetic: its bits depend on nothing but the job.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "suanli/engine/cpu/exact/isa.h"
#include "suanli/model/gpt_test_support.h"

namespace suanli::model {
namespace {

using engine::Arithmetic;
using engine::Target;
using test::Bench;
using test::random_batch;
using test::small_gpt;
using test::TokenBatch;

constexpr std::int64_t kBatch = 3;
constexpr Target kExact = {.arithmetic = Arithmetic::exact};

struct Trained {
  std::map<std::string, std::vector<std::byte>> state;
  std::vector<double> losses;
  bool operator==(const Trained&) const = default;
};

// Three steps; micro-batch order[i] comes i-th.
Trained train(const Target& target, int threads, const std::vector<std::size_t>& order, const GptConfig& config = small_gpt()) {
  const auto graph = gpt_training_graph(config, kBatch, static_cast<std::int64_t>(order.size()), {});
  SUANLI_CHECK(graph.has_value());
  Result<Bench> bench = Bench::make(*graph, target, threads);
  if (!bench) {
    ADD_FAILURE() << bench.error().to_string();
    return {};
  }
  Trained trained;
  for (std::uint64_t step = 0; step < 3; ++step) {
    std::vector<TokenBatch> batches(order.size());
    for (std::size_t i = 0; i < order.size(); ++i)
      batches[i] = random_batch(config, kBatch, 10 * step + order[i], /*ignored=*/0.1 * static_cast<double>(order[i]));
    if (step == 0) {  // the first exponents are micro-batch 0's, wherever it stands
      const TokenBatch first = random_batch(config, kBatch, 0);
      const engine::HostTensor inputs[] = {engine::test::host("tokens", first.tokens),
                                           engine::test::host("targets", first.targets)};
      SUANLI_CHECK(bench->executor->find_exponents(inputs).has_value());
    }
    const auto loss = test::train_step(*bench->executor, batches, 0.01F);
    if (!loss) {
      ADD_FAILURE() << loss.error().to_string();
      return {};
    }
    trained.losses.push_back(*loss);
  }
  for (const auto& tensor : bench->state->tensors()) {
    auto& bytes = trained.state[tensor.name];
    bytes.resize(static_cast<std::size_t>(tensor.type.bytes().value()));
    SUANLI_CHECK(bench->state->read(tensor.name, bytes).has_value());
  }
  return trained;
}

TEST(GptExact, TheOrderOfMicroBatchesDoesNotShow) {
  const Trained expected = train(kExact, 1, {0, 1, 2, 3});
  for (const auto& order : {std::vector<std::size_t>{3, 2, 1, 0}, {1, 3, 0, 2}, {2, 0, 3, 1}})
    EXPECT_EQ(train(kExact, 2, order), expected);
}

TEST(GptExact, ThreadsSlotsAndRecomputingDoNotShow) {
  const Trained expected = train(kExact, 1, {0, 1});
  for (const int threads : {2, 3, 4}) EXPECT_EQ(train(kExact, threads, {0, 1}), expected) << threads;
  for (const engine::Recomputation& recompute :
       {engine::Recomputation{}, engine::Recomputation{.cheap = true, .blocks = 9}, engine::Recomputation{.blocks = 1}})
    EXPECT_EQ(train({.arithmetic = Arithmetic::exact, .slots = 2, .recompute = recompute}, 2, {0, 1}), expected);
}

TEST(GptExact, InstructionSetsDoNotShow) {
  using engine::exact::Isa;
  const Trained expected = train(kExact, 2, {0, 1});
  for (const Isa isa : engine::exact::kAllIsas) {
    engine::exact::set_isa_limit(isa);
    EXPECT_EQ(train(kExact, 2, {0, 1}), expected) << engine::exact::name_of(isa);
    engine::exact::clear_isa_limit();
  }
}

TEST(GptExact, LossesAreNearThoseOfF32) {
  const Trained exact = train(kExact, 2, {0, 1}), plain = train({}, 2, {0, 1});
  ASSERT_EQ(exact.losses.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(exact.losses[i], plain.losses[i], 1e-3 * plain.losses[i]);
}

// Logits of so many words are not stored: the loss over a vocabulary is one kernel (engine/fuse_vocabulary.h).
TEST(GptExact, ALargeVocabularyToo) {
  GptConfig config = small_gpt();
  config.vocab = 400'000;
  const Trained expected = train(kExact, 1, {0, 1}, config);
  EXPECT_EQ(train(kExact, 3, {1, 0}, config), expected);
}

}  // namespace
}  // namespace suanli::model
