// What exact arithmetic asks of the compiler.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "suanli/engine/compile.h"
#include "suanli/engine/engine_test_support.h"

namespace suanli::engine {
namespace {

using graph::Graph;

constexpr Target kExact = {.arithmetic = Arithmetic::exact};

std::vector<const KernelCall*> calls_of(const Program& program) {
  std::vector<const KernelCall*> calls;
  for (const auto* list : {&program.forward, &program.backward, &program.update})
    for (const KernelCall& call : *list) calls.push_back(&call);
  return calls;
}

// Attention over two heads, a norm, and the loss over `vocab` words.
Graph language_model(std::int64_t vocab) {
  Graph graph;
  graph::Builder b(graph);
  const auto table = b.param("table", graph::f32({vocab, 8}), "normal", 0.1);
  const auto w = b.param("w", graph::f32({8, 24}), "normal", 0.1);
  const auto gain = b.param("gain", graph::f32({8}), "ones"), bias = b.param("bias", graph::f32({8}), "zeros");
  auto x = b.apply("embedding", {table, b.input("tokens", graph::i32({16}))});
  b.set_block(1);
  x = b.add(x, b.apply("attention", {b.matmul(x, w)}, {{"heads", std::int64_t{2}}, {"seq", std::int64_t{16}}}));
  b.set_block(2);
  x = b.apply("layer_norm", {x, gain, bias}, {{"eps", 1e-5}});
  const auto losses = b.apply("softmax_cross_entropy", {b.matmul(x, table, false, true), b.input("targets", graph::i32({16}))});
  const auto loss = b.reduce_to(losses, {});
  const auto sum = b.micro_sum(loss);
  SUANLI_CHECK(b.status().has_value());
  const auto gradients = graph::differentiate(graph, loss);
  SUANLI_CHECK(gradients.has_value());
  b.set_phase(graph::Phase::update);
  for (const auto& [param, gradient] : *gradients)
    SUANLI_CHECK(graph.add_update(param, b.sub(param, gradient)).has_value());
  SUANLI_CHECK(graph.add_output("loss", b.scale(sum, 1.0)).has_value());
  return graph;
}

TEST(CompileExact, KernelsOfProductsAreExactOnes) {
  const std::set<std::string> of_products = {"matmul", "attention", "attention_grad", "attention_stats", "vocabulary_loss",
                                             "vocabulary_loss_grad", "softmax_cross_entropy", "softmax_cross_entropy_grad",
                                             "log_sum_exp"};
  // The one-hot of the targets never enters a product, whatever the size of the logits.
  const std::set<std::string> expected = {"exact_matmul", "exact_attention", "exact_attention_grad", "exact_vocabulary_loss",
                                          "exact_vocabulary_loss_grad"};
  for (const std::int64_t vocab : {std::int64_t{11}, std::int64_t{1} << 20}) {
    const Graph graph = language_model(vocab);
    const Program program = *compile(graph, kExact);
    std::set<std::string> found;
    for (const KernelCall* call : calls_of(program)) {
      EXPECT_FALSE(of_products.contains(call->spec.name)) << call->spec.name;
      if (of_products.contains(call->spec.name.substr(std::min<std::size_t>(6, call->spec.name.size()))))
        found.insert(call->spec.name);
      EXPECT_TRUE(!call->region || call->region->exact);
      EXPECT_EQ(call->spec.attrs.integer("exact", 0), 1) << call->spec.name;
      for (const ValueId id : call->outputs) EXPECT_NE(program.values[id].type.dtype, graph::DType::bf16);
    }
    EXPECT_EQ(found, expected);
  }
}

// What makes a head one op is the graph: a table that does not learn has no dw, and its logits are a product like another.
TEST(CompileExact, AHeadWhoseTableDoesNotLearnIsOfProducts) {
  Graph graph;
  graph::Builder b(graph);
  const auto x = b.param("x", graph::f32({16, 8}), "normal", 0.1);
  const auto logits = b.matmul(x, b.input("table", graph::f32({11, 8})), false, true);
  const auto loss = b.reduce_to(b.apply("softmax_cross_entropy", {logits, b.input("targets", graph::i32({16}))}), {});
  const auto sum = b.micro_sum(loss);
  const auto gradients = graph::differentiate(graph, loss);
  ASSERT_TRUE(gradients.has_value());
  b.set_phase(graph::Phase::update);
  ASSERT_TRUE(graph.add_update(x, b.sub(x, gradients->front().gradient)));
  ASSERT_TRUE(graph.add_output("loss", b.scale(sum, 1.0)));
  ASSERT_TRUE(b.status());
  std::set<std::string> found;
  const Program program = *compile(graph, kExact);
  for (const KernelCall* call : calls_of(program)) found.insert(call->spec.name);
  EXPECT_TRUE(found.contains("exact_softmax_cross_entropy") && found.contains("exact_softmax_cross_entropy_grad"));
  EXPECT_FALSE(found.contains("exact_vocabulary_loss") || found.contains("exact_vocabulary_loss_grad"));
}

TEST(CompileExact, WeightGradientsTakeFourTerms) {
  for (const Recomputation& recompute : {Recomputation{}, Recomputation{.cheap = true, .blocks = 9}}) {
    const Graph graph = language_model(11);
    const Program program = *compile(graph, {.arithmetic = Arithmetic::exact, .recompute = recompute});
    int four = 0, three = 0;
    for (const KernelCall* call : calls_of(program)) {
      if (call->spec.name != "exact_matmul") continue;
      const bool is_weight = call->spec.attrs.integer("ta", 0) != 0;
      EXPECT_EQ(call->spec.attrs.integer("terms", 0), is_weight ? 4 : 3);
      ++(is_weight ? four : three);
    }
    EXPECT_EQ(four, 1) << "of w; that of the table is the vocabulary's kernel";
    EXPECT_GE(three, 2) << "qkv, and its gradient by x";
  }
}

TEST(CompileExact, SumsAreWholeNumbersApartFromTheirTerms) {
  for (const std::int64_t micro_batches : {1, 4}) {
    const Graph graph = *test::small_network(8, micro_batches);
    const Program program = *compile(graph, kExact);
    EXPECT_EQ(program.micro_batches, micro_batches);
    const std::vector<graph::NodeId> sums = graph.nodes_of("micro_sum");
    ASSERT_EQ(program.token_sums.size(), sums.size());
    std::int64_t bytes = 0;
    for (std::size_t i = 0; i < sums.size(); ++i) {
      const Program::TokenSum& sum = program.token_sums[i];
      EXPECT_EQ(sum.origin, sums[i]) << "in the canonical order";
      EXPECT_EQ(program.values[sum.sum].type.dtype, graph::DType::i64);
      EXPECT_EQ(program.values[sum.sum].type.shape, graph.node(sums[i]).type.shape);
      EXPECT_EQ(program.values[sum.value].type, graph.node(sums[i]).type);
      bytes += program.values[sum.sum].type.bytes().value();
      const auto adds = std::ranges::count_if(calls_of(program), [&](const KernelCall* call) {
        return call->spec.name == "exact_token_sum" && call->outputs[0] == sum.sum &&
               call->spec.attrs.integer("index", -1) == static_cast<std::int64_t>(i);
      });
      EXPECT_EQ(adds, 1);
    }
    EXPECT_GE(program.memory.accumulators.value(), bytes);
    EXPECT_EQ(program.update.back().spec.name, "exact_token_sum_exponents");
    EXPECT_LT(program.commit_index, program.update.size());
    EXPECT_EQ(program.memory.state, compile(graph, {})->memory.state + Bytes(4 * static_cast<std::int64_t>(sums.size())));
  }
}

TEST(CompileExact, EveryCanonicalNodeIsComputedOnce) {
  const Graph graph = *test::small_network(8, 1);
  const Program program = *compile(graph, kExact);
  std::multiset<graph::NodeId> computed;
  for (const KernelCall* call : calls_of(program)) computed.insert(call->origins.begin(), call->origins.end());
  const std::vector<bool> live = graph.live();
  for (graph::NodeId id = 0; id < graph.size(); ++id) {
    const graph::Node& node = graph.node(id);
    const bool expected = live[id] && !is_source(node) && node.op->op_class != graph::OpClass::view;
    EXPECT_EQ(computed.count(id), expected ? 1U : 0U) << "%" << id << " " << node.op->name;
  }
}

TEST(CompileExact, ArithmeticsHaveNames) {
  for (const Arithmetic each : kArithmetics) EXPECT_EQ(arithmetic_from_name(name_of(each)), each);
  EXPECT_FALSE(arithmetic_from_name("exactly").has_value());
}

}  // namespace
}  // namespace suanli::engine
