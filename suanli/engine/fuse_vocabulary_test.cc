#include "suanli/engine/fuse_vocabulary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "suanli/engine/engine_test_support.h"

namespace suanli::engine {
namespace {

using graph::Builder;
using graph::f32;
using graph::Graph;
using graph::i32;
using graph::kNoNode;
using graph::NodeId;
using testing::Contains;
using testing::Not;

constexpr std::int64_t kRows = 256, kWidth = 16, kLarge = 33000, kSmall = 100;  // 33000 * 256 * 4 bytes are above the limit

// A head with its loss: x is made from an input and a trained scale, w is a parameter.
struct Options {
  std::int64_t vocabulary = kLarge;
  bool trains = true;         // else there is no gradient
  bool x_is_constant = false;  // no dx
  bool views = false;         // reshapes around the logits and the operands
  bool logits_out = false;    // the logits are an output
};

Graph head(const Options& options) {
  Graph graph;
  Builder b(graph);
  const auto through = [&](NodeId id, const graph::Shape& shape) {
    return options.views ? b.reshape(b.reshape(id, {shape[0] * shape[1]}), shape) : id;
  };
  const NodeId tokens = b.input("tokens", f32({kRows, kWidth})), targets = b.input("targets", i32({kRows}));
  const NodeId scale = b.param("scale", f32({kWidth}), "ones");
  const NodeId w = b.param("w", f32({options.vocabulary, kWidth}), "normal", 0.5);
  NodeId x = options.x_is_constant ? tokens : b.mul(tokens, scale);
  x = through(x, {kRows, kWidth});
  const NodeId logits = b.matmul(x, through(w, {options.vocabulary, kWidth}), false, true);
  const NodeId losses = b.apply("softmax_cross_entropy", {through(logits, {kRows, options.vocabulary}), targets});
  const NodeId loss = b.reduce_to(losses, {});
  SUANLI_CHECK(b.status().has_value());
  if (options.logits_out) SUANLI_CHECK(graph.add_output("logits", logits).has_value());
  if (!options.trains) {
    SUANLI_CHECK(graph.add_output("loss", b.micro_sum(loss)).has_value());
    return graph;
  }
  const NodeId loss_sum = b.micro_sum(loss);
  const auto gradients = *graph::differentiate(graph, loss);
  b.set_phase(graph::Phase::update);
  for (const auto& [param, gradient] : gradients)
    SUANLI_CHECK(graph.add_update(param, b.sub(param, b.scale(gradient, 0.01))).has_value());
  SUANLI_CHECK(graph.add_output("loss", b.scale(loss_sum, 1.0)).has_value());
  return graph;
}

std::vector<std::string> kernels_of(const Program& program) {
  std::vector<std::string> names;
  for (const auto* calls : {&program.forward, &program.backward})
    for (const KernelCall& call : *calls) names.push_back(call.spec.name);
  return names;
}

Program compiled(const Graph& graph, Arithmetic arithmetic) {
  Result<Program> program = compile(graph, {.arithmetic = arithmetic});
  SUANLI_CHECK(program.has_value());
  return std::move(*program);
}

constexpr Arithmetic kBoth[] = {Arithmetic::f32, Arithmetic::bf16};

std::int64_t largest_written(const Program& program) {
  std::int64_t most = 0;
  for (const auto* calls : {&program.forward, &program.backward})
    for (const KernelCall& call : *calls)
      for (const graph::TensorType& type : call.spec.outputs) most = std::max(most, type.elements());
  return most;
}

TEST(FuseVocabulary, LargeLogitsAreNeverAValue) {
  for (const Arithmetic arithmetic : kBoth)
    for (const bool views : {false, true})
      for (const bool x_is_constant : {false, true}) {
        const Program program = compiled(head({.x_is_constant = x_is_constant, .views = views}), arithmetic);
        EXPECT_THAT(kernels_of(program), Contains("vocabulary_loss"));
        EXPECT_THAT(kernels_of(program), Contains("vocabulary_loss_grad"));
        EXPECT_THAT(kernels_of(program), Not(Contains("matmul")));
        EXPECT_EQ(largest_written(program), kLarge * kWidth);
        // The f32 parameter itself is read.
        for (const KernelCall& call : program.forward)
          if (call.spec.name == "vocabulary_loss") {
            EXPECT_EQ(call.spec.inputs[1], f32({kLarge, kWidth}));
          }
        for (const KernelCall& call : program.backward)
          if (call.spec.name == "vocabulary_loss_grad") {
            EXPECT_EQ(call.spec.outputs.size(), x_is_constant ? 1U : 2U);
          }
      }
}

TEST(FuseVocabulary, EvaluationHasTheForwardPartAlone) {
  for (const Arithmetic arithmetic : kBoth) {
    const Program program = compiled(head({.trains = false}), arithmetic);
    EXPECT_THAT(kernels_of(program), Contains("vocabulary_loss"));
    EXPECT_LE(largest_written(program), kRows * kWidth);
  }
}

TEST(FuseVocabulary, LogitsThatAreReadElsewhereStay) {
  for (const Arithmetic arithmetic : kBoth) {
    const Program program = compiled(head({.logits_out = true}), arithmetic);
    EXPECT_THAT(kernels_of(program), Not(Contains("vocabulary_loss")));
    EXPECT_THAT(kernels_of(program), Not(Contains("vocabulary_loss_grad")));
  }
  // Another reader, in backward.
  Graph graph = head({});
  Builder b(graph);
  b.set_phase(graph::Phase::backward);
  const NodeId most = b.reduce_max(graph.nodes_of("matmul")[0]);
  ASSERT_TRUE(graph.add_output("most", most));
  EXPECT_THAT(kernels_of(compiled(graph, Arithmetic::f32)), Not(Contains("vocabulary_loss")));
}

TEST(FuseVocabulary, SmallLogitsStayWithOneKernelForLossAndSum) {
  for (const Arithmetic arithmetic : kBoth) {
    const Program program = compiled(head({.vocabulary = kSmall}), arithmetic);
    EXPECT_THAT(kernels_of(program), Not(Contains("vocabulary_loss")));
    EXPECT_THAT(kernels_of(program), Not(Contains("log_sum_exp")));
    for (const KernelCall& call : program.forward)
      if (call.spec.name == "softmax_cross_entropy") {
        EXPECT_EQ(call.spec.outputs.size(), 2U);
      }
    // The gradient of the logits is written as it is read.
    for (const KernelCall& call : program.backward)
      if (call.spec.name == "softmax_cross_entropy_grad") {
        EXPECT_EQ(call.spec.outputs[0].dtype, arithmetic == Arithmetic::bf16 ? graph::DType::bf16 : graph::DType::f32);
      }
  }
}

struct Step {
  double loss;
  std::vector<float> w, scale;
};

Step step(const Graph& graph, Arithmetic arithmetic) {
  const std::vector<float> tokens = test::random_floats(kRows * kWidth, 7);
  std::vector<std::int32_t> targets(kRows);
  for (std::int64_t n = 0; n < kRows; ++n) targets[n] = static_cast<std::int32_t>(n % 9 == 0 ? -1 : n * 7919 % kLarge);
  auto bench = test::Bench::make(graph, {.arithmetic = arithmetic}, 2);
  SUANLI_CHECK(bench.has_value());
  const HostTensor inputs[] = {test::host("tokens", tokens), test::host("targets", targets)};
  bench->executor->begin_step();
  SUANLI_CHECK(bench->executor->forward(0, inputs).has_value());
  bench->executor->backward(0);
  SUANLI_CHECK(bench->executor->update({}).has_value());
  return {*bench->executor->read_scalar("loss"), bench->read_state("w"), bench->read_state("scale")};
}

double distance(const std::vector<float>& a, const std::vector<float>& b, const std::vector<float>& from) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += double{a[i] - b[i]} * (a[i] - b[i]);
    norm += double{b[i] - from[i]} * (b[i] - from[i]);
  }
  return std::sqrt(difference / norm);
}

// The same graph with the logits as an output is not fused.
TEST(FuseVocabulary, OneStepIsThatOfWholeLogits) {
  for (const Arithmetic arithmetic : kBoth) {
    const double tolerance = arithmetic == Arithmetic::f32 ? 1e-5 : 2e-2;
    const Step fused = step(head({}), arithmetic), whole = step(head({.logits_out = true}), arithmetic);
    auto untrained = test::Bench::make(head({}), {.arithmetic = arithmetic}, 1);
    EXPECT_NEAR(fused.loss, whole.loss, tolerance * std::abs(whole.loss));
    EXPECT_LE(distance(fused.scale, whole.scale, untrained->read_state("scale")), tolerance);
    // Weights of 0.5 hide the last bits of their change.
    EXPECT_LE(distance(fused.w, whole.w, untrained->read_state("w")), 10 * tolerance);
  }
}

}  // namespace
}  // namespace suanli::engine
