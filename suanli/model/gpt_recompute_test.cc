// A GPT trained with recomputation: less memory, the same bits.
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "suanli/engine/recompute.h"
#include "suanli/model/gpt_test_support.h"

namespace suanli::model::test {
namespace {

using engine::Arithmetic;
using engine::Recomputation;

GptConfig deep_gpt() { return {.layers = 4, .heads = 2, .width = 32, .context = 32, .vocab = 19}; }
constexpr std::int64_t kBatch = 4;

graph::Graph training_graph(std::int64_t micro_batches) {
  auto graph = gpt_training_graph(deep_gpt(), kBatch, micro_batches, {});
  SUANLI_CHECK(graph.has_value());
  return std::move(*graph);
}

engine::Program compiled(const engine::Target& target, std::int64_t micro_batches = 1) {
  auto program = engine::compile(training_graph(micro_batches), target);
  SUANLI_CHECK(program.has_value());
  return std::move(*program);
}

Bytes arena(const engine::Program& program) { return program.memory.work + program.memory.stash_per_slot; }

// All parameters and moments after three steps of two micro-batches.
std::vector<std::vector<float>> trained(Arithmetic arithmetic, const Recomputation& what) {
  const graph::Graph graph = training_graph(2);
  auto bench = Bench::make(graph, {.arithmetic = arithmetic, .recompute = what}, 2);
  SUANLI_CHECK(bench.has_value());
  for (std::uint64_t step = 0; step < 3; ++step) {
    const TokenBatch batches[] = {random_batch(deep_gpt(), kBatch, 2 * step),
                                  random_batch(deep_gpt(), kBatch, 2 * step + 1, 0.3)};
    SUANLI_CHECK(train_step(*bench->executor, batches, 0.01F).has_value());
  }
  std::vector<std::vector<float>> state;
  for (const engine::State::Tensor& tensor : bench->state->tensors()) state.push_back(bench->read_state(tensor.name));
  return state;
}

TEST(GptRecompute, ChangesNoBit) {
  for (const Arithmetic arithmetic : {Arithmetic::f32, Arithmetic::bf16}) {
    const auto expected = trained(arithmetic, {});
    for (const Recomputation& what : std::vector<Recomputation>{{.cheap = true}, {.blocks = 2}, {.cheap = true, .blocks = 9}})
      EXPECT_EQ(trained(arithmetic, what), expected) << what.cheap << what.blocks;
  }
}

TEST(GptRecompute, EachStepSavesMemoryAndCostsOps) {
  engine::Target target{.arithmetic = Arithmetic::bf16, .recompute = {}};
  const engine::Program none = compiled(target);
  target.recompute = {.cheap = true};
  const engine::Program cheap = compiled(target);
  target.recompute.blocks = 5;
  const engine::Program all = compiled(target);
  EXPECT_LT(arena(cheap), arena(none));
  EXPECT_LT(arena(all), arena(cheap));
  const auto flops = [](const engine::Program& program) {
    double sum = 0;
    for (const engine::KernelCall& call : program.backward) sum += call.flops;
    return sum;
  };
  EXPECT_LT(flops(none), flops(cheap));
  EXPECT_LT(flops(cheap), flops(all));
  EXPECT_EQ(none.step_flops, all.step_flops);  // the job's own work is what it was
}

TEST(GptRecompute, ALimitIsKeptWithAsFewBlocksAsWillDo) {
  engine::Target target{.arithmetic = Arithmetic::bf16};
  const auto total = [](const engine::Program& program) { return program.memory.total(program.target.slots); };
  target.recompute = {.cheap = true, .blocks = 2};
  const Bytes limit = total(compiled(target));
  target.recompute.blocks = 1;
  ASSERT_GT(total(compiled(target)), limit);

  target.recompute = {};
  target.memory_limit = limit;
  const engine::Program program = compiled(target);
  EXPECT_TRUE(program.target.recompute.cheap);
  EXPECT_EQ(program.target.recompute.blocks, 2);
  EXPECT_LE(total(program), limit);
}

TEST(GptRecompute, ALargeVocabularyKeepsItsLossInChunks) {
  const GptConfig config{.layers = 3, .heads = 2, .width = 32, .context = 64, .vocab = 40000};
  const auto graph = gpt_training_graph(config, 4, 1, {});
  ASSERT_TRUE(graph.has_value());
  for (const Arithmetic arithmetic : {Arithmetic::f32, Arithmetic::bf16}) {
    Bytes before(std::numeric_limits<std::int64_t>::max());
    for (const Recomputation& what : std::vector<Recomputation>{{}, {.cheap = true}, {.cheap = true, .blocks = 9}}) {
      const auto program = engine::compile(*graph, {.arithmetic = arithmetic, .recompute = what});
      ASSERT_TRUE(program.has_value());
      for (const auto* calls : {&program->forward, &program->backward})
        for (const engine::KernelCall& call : *calls)
          for (const graph::TensorType& type : call.spec.outputs) EXPECT_LT(type.elements(), 256 * 40000) << call.spec.name;
      EXPECT_LE(arena(*program), before);
      before = arena(*program);
    }
  }
}

TEST(GptRecompute, ALimitThatNothingKeepsIsRefusedWithTheSizeReached) {
  const auto program = engine::compile(training_graph(1), {.arithmetic = Arithmetic::bf16, .memory_limit = Bytes(100000)});
  ASSERT_FALSE(program.has_value());
  EXPECT_EQ(program.error().code, ErrorCode::no_memory);
  EXPECT_NE(program.error().message.find("even with everything recomputed"), std::string::npos);
}

}  // namespace
}  // namespace suanli::model::test
