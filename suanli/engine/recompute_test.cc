// What recomputation does to a graph (that it changes no bit: random_graph_test.cc, model/gpt_recompute_test.cc).
#include "suanli/engine/recompute.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "suanli/engine/engine_test_support.h"

namespace suanli::engine {
namespace {

using test::Bench;
using test::host;
using test::random_floats;

// Block 0 makes a product that only backward reads, and block 1 one that forward reads too.
graph::Graph two_products() {
  graph::Graph graph;
  SUANLI_CHECK(graph.set_micro_batches(2).has_value());
  graph::Builder b(graph);
  const auto x = b.input("x", graph::f32({4, 6}));
  const auto w = b.param("w", graph::f32({6, 6}), "normal", 0.5);
  const auto early = b.gelu(b.matmul(x, w));
  b.set_block(1);
  const auto late = b.matmul(x, w, false, true);
  const auto loss = b.micro_sum(b.reduce_to(late, {}));
  b.set_phase(graph::Phase::backward);
  const auto both = b.micro_sum(b.mul(early, late));
  b.set_phase(graph::Phase::update);
  SUANLI_CHECK(graph.add_output("loss", loss).has_value() && graph.add_output("both", both).has_value());
  SUANLI_CHECK(graph.add_update(w, b.scale(w, 0.5)).has_value());
  SUANLI_CHECK(b.status().has_value());
  return graph;
}

std::ptrdiff_t products_of(const std::vector<KernelCall>& calls) {
  return std::ranges::count_if(calls, [](const KernelCall& call) { return call.spec.name.ends_with("matmul"); });
}

TEST(Recompute, WhatOnlyBackwardReadsIsMadeThereAlone) {
  for (const Arithmetic arithmetic : {Arithmetic::f32, Arithmetic::exact})
    for (const int blocks : {0, 1}) {
      Result<Bench> bench = Bench::make(two_products(), {.arithmetic = arithmetic, .recompute = {.blocks = blocks}}, 1);
      ASSERT_TRUE(bench.has_value()) << bench.error().to_string();
      const Program& program = bench->executor->program();
      EXPECT_EQ(products_of(program.forward), 2 - blocks);
      EXPECT_EQ(products_of(program.backward), blocks);
      bench->executor->begin_step();
      for (const std::uint64_t seed : {1U, 2U}) {
        const auto x = random_floats(24, seed);
        const HostTensor inputs[] = {host("x", x)};
        ASSERT_TRUE(bench->executor->forward(0, inputs));
        ASSERT_TRUE(bench->executor->backward(0));
      }
      ASSERT_TRUE(bench->executor->update({}));
      std::vector<float> both(24);
      ASSERT_TRUE(bench->executor->read("both", std::as_writable_bytes(std::span(both))));
      static std::map<Arithmetic, std::vector<float>> kept;
      if (blocks == 0) kept[arithmetic] = both;
      EXPECT_EQ(both, kept[arithmetic]);
      EXPECT_NE(both, std::vector<float>(24));
    }
}

}  // namespace
}  // namespace suanli::engine
