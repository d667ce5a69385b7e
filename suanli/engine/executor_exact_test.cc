// Steps of exact arithmetic: their bits depend neither on the order of micro-batches nor on who computes them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <numeric>

#include "suanli/engine/cpu/exact/token_sum.h"
#include "suanli/engine/engine_test_support.h"

namespace suanli::engine {
namespace {

using graph::Graph;
using test::Bench;
using test::host;
using test::random_floats;
using testing::HasSubstr;

constexpr std::int64_t kRows = 7, kColumns = 12;
constexpr Target kExact = {.arithmetic = Arithmetic::exact};

// y = x w + b, element by element and row by row, trained towards a target by gradient descent; the gradient of `idle` is 0.
Graph elementwise_network(std::int64_t micro_batches) {
  Graph graph;
  SUANLI_CHECK(graph.set_micro_batches(micro_batches).has_value());
  graph::Builder b(graph);
  const auto x = b.input("x", graph::f32({kRows, kColumns})), target = b.input("target", graph::f32({kRows, kColumns}));
  const auto w = b.param("w", graph::f32({kColumns}), "normal", 0.3);
  const auto bias = b.param("b", graph::f32({kColumns}), "zeros");
  const auto idle = b.param("idle", graph::f32({3}), "ones");
  const auto difference = b.sub(b.add(b.mul(x, w), bias), target);
  const auto nothing = b.scale(b.reduce_to(idle, {}), 0.0);
  const auto loss = b.add(b.reduce_to(b.mul(difference, difference), {}), nothing);
  const auto loss_sum = b.micro_sum(loss);
  SUANLI_CHECK(b.status().has_value());
  const auto gradients = graph::differentiate(graph, loss);
  SUANLI_CHECK(gradients.has_value());
  b.set_phase(graph::Phase::update);
  const auto lr = b.step_input("lr", graph::f32({}));
  for (const auto& [param, gradient] : *gradients)
    SUANLI_CHECK(graph.add_update(param, b.sub(param, b.mul(gradient, lr))).has_value());
  SUANLI_CHECK(graph.add_output("loss", b.scale(loss_sum, 1.0)).has_value());
  SUANLI_CHECK(b.status().has_value());
  return graph;
}

struct Batch {
  std::vector<float> x, target;
};

// The data of a step, whose targets are `scale` times as large; micro-batches differ by their size, so that sums in f32 would
// round.
std::vector<Batch> batches_of(std::uint64_t step, std::int64_t micro_batches, float scale) {
  std::vector<Batch> batches;
  for (std::int64_t micro = 0; micro < micro_batches; ++micro) {
    const std::uint64_t seed = step * 100 + static_cast<std::uint64_t>(micro);
    batches.push_back({random_floats(kRows * kColumns, seed), random_floats(kRows * kColumns, seed + 50)});
    for (float& value : batches.back().x) value *= static_cast<float>(micro + 1);
    for (float& value : batches.back().target) value *= scale * static_cast<float>(micro + 1);
  }
  return batches;
}

std::vector<std::size_t> counted(std::size_t count) {
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  return order;
}

// Runs the named micro-batches of a step from its beginning, without an update.
Status accumulate(Bench& bench, const std::vector<Batch>& batches, const std::vector<std::size_t>& order) {
  bench.executor->begin_step();
  const int slots = bench.executor->program().target.slots;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const Batch& batch = batches[order[i]];
    const HostTensor inputs[] = {host("x", batch.x), host("target", batch.target)};
    SUANLI_RETURN_IF_ERROR(bench.executor->forward(static_cast<int>(i) % slots, inputs));
    SUANLI_RETURN_IF_ERROR(bench.executor->backward(static_cast<int>(i) % slots));
  }
  return {};
}

Status find_exponents(Bench& bench, const Batch& batch) {
  SUANLI_ASSIGN_OR_RETURN(const bool lacks, bench.executor->lacks_exponents());
  if (!lacks) return {};
  const HostTensor inputs[] = {host("x", batch.x), host("target", batch.target)};
  return bench.executor->find_exponents(inputs);
}

Status update(Bench& bench) {
  static const std::vector<float> lr = {1e-3F};
  const HostTensor step_inputs[] = {host("lr", lr)};
  return bench.executor->update(step_inputs);
}

// One whole step; `repeats` counts how often it was run again.
Status step(Bench& bench, const std::vector<Batch>& batches, const std::vector<std::size_t>& order, int& repeats) {
  SUANLI_RETURN_IF_ERROR(find_exponents(bench, batches[0]));
  for (bool again = true; again; repeats += again) {
    SUANLI_RETURN_IF_ERROR(accumulate(bench, batches, order));
    SUANLI_ASSIGN_OR_RETURN(again, bench.executor->must_repeat_step());
  }
  return update(bench);
}

using Bits = std::map<std::string, std::vector<std::byte>>;

Bits state_of(const Bench& bench) {
  Bits bits;
  for (const State::Tensor& tensor : bench.state->tensors()) {
    std::vector<std::byte>& bytes = bits[tensor.name];
    bytes.resize(static_cast<std::size_t>(tensor.type.bytes().value()));
    SUANLI_CHECK(bench.state->read(tensor.name, bytes).has_value());
  }
  return bits;
}

Bench bench_of(std::int64_t micro_batches, const Target& target = kExact, int threads = 1) {
  Result<Bench> bench = Bench::make(elementwise_network(micro_batches), target, threads);
  SUANLI_CHECK(bench.has_value());
  return std::move(*bench);
}

struct Trained {
  Bits state;
  int repeats = 0;
  bool operator==(const Trained&) const = default;
};

// Three steps, of data of these scales.
Trained train(Bench bench, const std::vector<std::size_t>& order, const std::vector<float>& scales = {1, 1, 1}) {
  Trained trained;
  for (std::size_t s = 0; s < scales.size(); ++s) {
    const auto batches = batches_of(s, static_cast<std::int64_t>(order.size()), scales[s]);
    const Status status = step(bench, batches, order, trained.repeats);
    EXPECT_TRUE(status.has_value()) << status.error().to_string();
  }
  trained.state = state_of(bench);
  return trained;
}

std::vector<std::int32_t> exponents_of(const Bench& bench) {
  std::vector<std::int32_t> exponents(bench.executor->program().token_sums.size());
  SUANLI_CHECK(bench.state->read(kExponents, std::as_writable_bytes(std::span(exponents))).has_value());
  return exponents;
}

TEST(ExactStep, TheOrderOfMicroBatchesDoesNotShow) {
  const Trained expected = train(bench_of(4), counted(4));
  std::vector<std::size_t> order = counted(4);
  while (std::next_permutation(order.begin(), order.end())) EXPECT_EQ(train(bench_of(4), order), expected);
  // The same sums in f32 do depend on it, or this test could not fail.
  const Target plain{};
  EXPECT_NE(train(bench_of(4, plain), counted(4)).state, train(bench_of(4, plain), {3, 1, 0, 2}).state);
}

TEST(ExactStep, ThreadsSlotsAndRecomputingDoNotShow) {
  const Trained expected = train(bench_of(3), counted(3));
  for (const int threads : {2, 3, 4}) EXPECT_EQ(train(bench_of(3, kExact, threads), counted(3)), expected);
  EXPECT_EQ(train(bench_of(3, {.arithmetic = Arithmetic::exact, .slots = 2}), counted(3)), expected);
  EXPECT_EQ(train(bench_of(3, {.arithmetic = Arithmetic::exact, .recompute = {}}), counted(3)), expected);
  EXPECT_EQ(train(bench_of(3, {.arithmetic = Arithmetic::exact, .recompute = {.cheap = true, .blocks = 9}}), counted(3)),
            expected);
}

TEST(ExactStep, ASumThatIsAnOutputIsTheSameInEverySlot) {
  Graph graph;
  ASSERT_TRUE(graph.set_micro_batches(3));
  graph::Builder b(graph);
  const auto x = b.input("x", graph::f32({kRows, kColumns}));
  const auto w = b.param("w", graph::f32({kRows, kColumns}), "zeros");
  const auto sum = b.micro_sum(b.scale(x, 1.0));
  b.set_phase(graph::Phase::update);
  ASSERT_TRUE(graph.add_update(w, b.scale(sum, 1.0)));
  ASSERT_TRUE(graph.add_output("sum", sum));
  Result<Bench> bench = Bench::make(graph, {.arithmetic = Arithmetic::exact, .slots = 3}, 1);
  ASSERT_TRUE(bench.has_value());
  bench->executor->begin_step();
  for (int slot = 0; slot < 3; ++slot) {
    const auto values = random_floats(kRows * kColumns, static_cast<std::uint64_t>(slot));
    const HostTensor inputs[] = {host("x", values)};
    ASSERT_TRUE(bench->executor->forward(slot, inputs));
  }
  for (int slot = 0; slot < 3; ++slot) ASSERT_TRUE(bench->executor->backward(slot));
  ASSERT_TRUE(bench->executor->update({}));
  for (int slot = 0; slot < 3; ++slot) {
    std::vector<float> read(kRows * kColumns);
    ASSERT_TRUE(bench->executor->read("sum", std::as_writable_bytes(std::span(read)), slot));
    EXPECT_EQ(read, bench->read_state("w")) << slot;
  }
}

TEST(ExactStep, FollowsThatOfF32) {
  for (const std::int64_t micro_batches : {1, 3}) {
    Bench exact = bench_of(micro_batches), plain = bench_of(micro_batches, {});
    int repeats = 0;
    for (std::uint64_t s = 0; s < 3; ++s) {
      const auto batches = batches_of(s, micro_batches, 1);
      ASSERT_TRUE(step(exact, batches, counted(batches.size()), repeats));
      ASSERT_TRUE(step(plain, batches, counted(batches.size()), repeats));
      const double loss = *plain.executor->read_scalar("loss");
      EXPECT_GT(loss, 0);
      EXPECT_NEAR(*exact.executor->read_scalar("loss"), loss, 1e-6 * loss);
    }
    EXPECT_EQ(repeats, 0);
    const auto expected = plain.read_state("w"), w = exact.read_state("w");
    for (std::size_t i = 0; i < w.size(); ++i) EXPECT_NEAR(w[i], expected[i], 1e-6);
    EXPECT_EQ(exact.read_state("idle"), std::vector<float>(3, 1.0F));
  }
}

TEST(ExactStep, WorkersThatShareTheMicroBatchesEndWithTheSameBits) {
  for (const std::vector<float>& scales : {std::vector<float>{1, 1, 1}, std::vector<float>{1, 0x1p20F, 1}}) {
    const Trained expected = train(bench_of(5), counted(5), scales);
    Bench a = bench_of(5), b = bench_of(5, kExact, 2);
    int repeats = 0;
    for (std::size_t s = 0; s < 3; ++s) {
      const auto batches = batches_of(s, 5, scales[s]);
      ASSERT_TRUE(find_exponents(a, batches[0]));
      const auto exponents = exponents_of(a);
      ASSERT_TRUE(b.state->write(kExponents, std::as_bytes(std::span(exponents))));
      for (bool again = true; again; repeats += again) {
        // Who computes what changes from step to step.
        const std::vector<std::size_t> of_a = s == 0 ? std::vector<std::size_t>{4, 0} : std::vector<std::size_t>{1, 2, 3};
        const std::vector<std::size_t> of_b = s == 0 ? std::vector<std::size_t>{2, 1, 3} : std::vector<std::size_t>{0, 4};
        ASSERT_TRUE(accumulate(a, batches, of_a) && accumulate(b, batches, of_b));
        const TokenSums sums_a = *a.executor->read_token_sums(), sums_b = *b.executor->read_token_sums();
        ASSERT_TRUE(a.executor->add_token_sums(sums_b) && b.executor->add_token_sums(sums_a));
        again = *a.executor->must_repeat_step();
        EXPECT_EQ(*b.executor->must_repeat_step(), again);
      }
      ASSERT_TRUE(update(a) && update(b));
    }
    EXPECT_EQ(repeats, expected.repeats);
    EXPECT_EQ(state_of(a), expected.state);
    EXPECT_EQ(state_of(b), expected.state);
  }
}

TEST(ExactStep, SumsOfAnotherProgramAreRefused) {
  Bench bench = bench_of(2);
  TokenSums sums = *bench.executor->read_token_sums();
  EXPECT_TRUE(bench.executor->add_token_sums(sums));
  sums.sums.pop_back();
  EXPECT_EQ(bench.executor->add_token_sums(sums).error().code, ErrorCode::mismatch);
}

TEST(ExactStep, AStepWhoseTermsDoNotFitIsRepeated) {
  const std::vector<float> scales = {1, 0x1p20F, 0x1p25F, 1};
  const Trained expected = train(bench_of(3), counted(3), scales);
  EXPECT_GE(expected.repeats, 1) << "the loss grows by 2^40";
  for (const std::vector<std::size_t>& order : {std::vector<std::size_t>{2, 1, 0}, std::vector<std::size_t>{1, 2, 0}})
    EXPECT_EQ(train(bench_of(3, kExact, 2), order, scales), expected);
}

TEST(ExactStep, WithoutTheRepetitionUpdateIsRefused) {
  Bench bench = bench_of(2);
  int repeats = 0;
  ASSERT_TRUE(step(bench, batches_of(0, 2, 1), counted(2), repeats));
  const Bits before = state_of(bench);
  ASSERT_TRUE(accumulate(bench, batches_of(1, 2, 0x1p20F), counted(2)));
  const Status status = update(bench);
  ASSERT_FALSE(status.has_value());
  EXPECT_EQ(status.error().code, ErrorCode::mismatch);
  EXPECT_EQ(state_of(bench), before);
}

TEST(ExactStep, ATermThatIsNotFiniteStopsTheStepBeforeAnyChange) {
  Bench bench = bench_of(2);
  int repeats = 0;
  ASSERT_TRUE(step(bench, batches_of(0, 2, 1), counted(2), repeats));
  const Bits before = state_of(bench);
  auto batches = batches_of(1, 2, 1);
  batches[1].x[5] = std::numeric_limits<float>::quiet_NaN();
  const Status status = step(bench, batches, counted(2), repeats);
  ASSERT_FALSE(status.has_value());
  EXPECT_EQ(status.error().code, ErrorCode::not_finite);
  EXPECT_THAT(status.error().to_string(), HasSubstr("is nan"));
  EXPECT_EQ(repeats, 0) << "a larger exponent would not help";
  EXPECT_EQ(state_of(bench), before);

  Bench first = bench_of(2);
  const Bits beginning = state_of(first);
  EXPECT_EQ(step(first, batches_of(0, 2, 3e38F), counted(2), repeats).error().code, ErrorCode::not_finite);
  EXPECT_EQ(state_of(first), beginning) << "exponents come from numbers only";
}

TEST(ExactStep, ExponentsBeginWithMicroBatch0AndFollowTheSums) {
  Bench bench = bench_of(2);
  const std::size_t count = bench.executor->program().token_sums.size();
  EXPECT_EQ(exponents_of(bench), std::vector<std::int32_t>(count, exact::kNoExponent));
  const auto batches = batches_of(0, 2, 1);
  // forward() looks at its first micro-batch itself.
  ASSERT_TRUE(accumulate(bench, batches, counted(2)));
  const std::vector<std::int32_t> begun = exponents_of(bench);
  Bench told = bench_of(2);
  ASSERT_TRUE(find_exponents(told, batches[0]));
  EXPECT_EQ(exponents_of(told), begun);
  EXPECT_EQ(std::ranges::count(begun, exact::kExponentOfZeros), 1) << "of the gradient that is 0";

  ASSERT_TRUE(update(bench));
  const std::vector<std::int32_t> after = exponents_of(bench);
  const double loss = *bench.executor->read_scalar("loss");
  EXPECT_EQ(after[0], std::ilogb(loss) - 32) << "the loss is the first sum";
  EXPECT_GT(after[0], begun[0]) << "of one micro-batch, the smaller";
  EXPECT_EQ(std::ranges::count(after, exact::kExponentOfZeros), 1);
}

TEST(ExactStep, ExponentsAreState) {
  const std::vector<float> scales = {1, 0x1p20F, 0x1p-20F};
  const Trained expected = train(bench_of(2), counted(2), scales);
  Bench begun = bench_of(2), resumed = bench_of(2, kExact, 3);
  int repeats = 0;
  for (std::size_t s = 0; s < 2; ++s) ASSERT_TRUE(step(begun, batches_of(s, 2, scales[s]), counted(2), repeats));
  for (const auto& [name, bytes] : state_of(begun)) ASSERT_TRUE(resumed.state->write(name, bytes));
  ASSERT_TRUE(step(resumed, batches_of(2, 2, scales[2]), counted(2), repeats));
  EXPECT_EQ(state_of(resumed), expected.state);
}

TEST(ExactStep, ManyElementsOfManyTasks) {
  Graph graph;
  ASSERT_TRUE(graph.set_micro_batches(2));
  graph::Builder b(graph);
  const auto w = b.param("w", graph::f32({100, 1003}), "zeros");
  const auto sum = b.micro_sum(b.scale(b.input("x", graph::f32({100, 1003})), 1.0));
  b.set_phase(graph::Phase::update);
  ASSERT_TRUE(graph.add_update(w, b.scale(sum, 1.0)));
  std::vector<float> expected;
  for (const int threads : {1, 2, 3, 4}) {
    Result<Bench> bench = Bench::make(graph, kExact, threads);
    ASSERT_TRUE(bench.has_value());
    const auto x = random_floats(100300, 1), y = random_floats(100300, 2);
    for (const auto* values : {&x, &y}) {
      const HostTensor inputs[] = {host("x", *values)};
      if (values == &x) bench->executor->begin_step();
      ASSERT_TRUE(bench->executor->forward(0, inputs));
      ASSERT_TRUE(bench->executor->backward(0));
    }
    ASSERT_TRUE(bench->executor->update({}));
    if (threads == 1) expected = bench->read_state("w");
    EXPECT_EQ(bench->read_state("w"), expected);
    for (std::size_t i = 0; i < x.size(); ++i)
      ASSERT_EQ(expected[i], static_cast<float>(std::nearbyint(std::ldexp(double{x[i]}, 33)) * 0x1p-33 +
                                                std::nearbyint(std::ldexp(double{y[i]}, 33)) * 0x1p-33));
  }
}

}  // namespace
}  // namespace suanli::engine
