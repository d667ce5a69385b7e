#include "suanli/engine/compile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "suanli/engine/engine_test_support.h"
#include "suanli/engine/memory_plan.h"

namespace suanli::engine {
namespace {

using graph::Graph;
using testing::HasSubstr;

TEST(Compile, APlanAboveTheLimitSaysByHowMuch) {
  const Graph graph = *test::small_network(64, 1);
  const Result<Program> free = compile(graph, {});
  ASSERT_TRUE(free.has_value());
  const Bytes needed = free->memory.total(1);
  EXPECT_TRUE(compile(graph, {.memory_limit = needed}).has_value());
  const Program smallest = *compile(graph, {.recompute = {.cheap = true, .blocks = 9}});
  const Bytes least = std::min(needed, smallest.memory.total(1));
  const Result<Program> refused = compile(graph, {.memory_limit = least - Bytes(1024)});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::no_memory);
  EXPECT_THAT(refused.error().to_string(), HasSubstr("more than the limit"));
}

TEST(Compile, EveryCanonicalNodeIsComputedOnce) {
  for (const std::int64_t micro_batches : {1, 4}) {
    const Graph graph = *test::small_network(8, micro_batches);
    const Result<Program> program = compile(graph, {.arithmetic = Arithmetic::bf16});
    ASSERT_TRUE(program.has_value());
    std::multiset<graph::NodeId> computed;
    for (const auto* calls : {&program->forward, &program->backward, &program->update})
      for (const KernelCall& call : *calls) computed.insert(call.origins.begin(), call.origins.end());
    const std::vector<bool> live = graph.live();
    for (graph::NodeId id = 0; id < graph.size(); ++id) {
      const graph::Node& node = graph.node(id);
      const bool aliased = node.op->op_class == graph::OpClass::view ||
                           (node.op->name == "micro_sum" && micro_batches == 1);
      const bool expected = live[id] && !is_source(node) && !aliased;
      EXPECT_EQ(computed.count(id), expected ? 1U : 0U) << "%" << id << " " << node.op->name;
    }
  }
}

// Whatever is alive at a call lies apart from all else that is alive, except where a region works in place.
TEST(Compile, ValuesThatAreReadLaterAreNeverOverwritten) {
  const Graph graph = *test::small_network(16, 1);
  const Program program = *compile(graph, {});
  std::vector<const KernelCall*> calls;
  for (const auto* list : {&program.forward, &program.backward, &program.update})
    for (const KernelCall& call : *list) calls.push_back(&call);
  const auto range = [&](ValueId id) {
    const Value& value = program.values[id];
    return std::pair(value.offset, value.offset + value.type.bytes().value());
  };
  for (std::size_t at = 0; at < calls.size(); ++at)
    for (const ValueId output : calls[at]->outputs) {
      if (program.values[output].place != Place::work) continue;
      // Every other work value written before and read after this call must not overlap the output.
      for (std::size_t before = 0; before < at; ++before)
        for (const ValueId other : calls[before]->outputs) {
          if (other == output || program.values[other].place != Place::work) continue;
          const bool needed = std::any_of(calls.begin() + static_cast<std::ptrdiff_t>(at) + 1, calls.end(),
                                          [&](const KernelCall* call) {
                                            return std::count(call->inputs.begin(), call->inputs.end(), other);
                                          });
          const auto [a, b] = range(output);
          const auto [c, d] = range(other);
          EXPECT_FALSE(needed && a < d && c < b) << "call " << at << " overwrites value " << other;
        }
    }
}

TEST(Compile, OneBufferIsTakenOverByOneOutputOnly) {
  // h comes in twice, once through a view; both y and z could work in its place.
  Graph graph;
  graph::Builder b(graph);
  const auto h = b.broadcast_to(b.input("x", graph::f32({8})), {4, 8});
  const auto y = b.scale(h, 2), z = b.add(y, b.reshape(h, {4, 8}));
  ASSERT_TRUE(graph.add_output("y", y) && graph.add_output("z", z));
  const Program program = *compile(graph, {});
  const auto offset = [&](std::size_t output) { return program.values[program.outputs[output].value].offset; };
  EXPECT_NE(offset(0), offset(1));

  // A buffer that is also read as a scalar is not worked on in place.
  Graph scalar;
  graph::Builder c(scalar);
  const auto one = c.reduce_to(c.input("x", graph::f32({4})), {1});
  ASSERT_TRUE(scalar.add_output("sum", c.add(one, c.reshape(one, {}))));
  EXPECT_TRUE(test::Bench::make(scalar, {}, 1).has_value());
}

TEST(Compile, MorePlacesForMoreSlots) {
  const Graph graph = *test::small_network(8, 2);
  const Program one = *compile(graph, {.slots = 1}), three = *compile(graph, {.slots = 3});
  EXPECT_EQ(one.memory.stash_per_slot, Bytes(0));
  EXPECT_GT(three.memory.stash_per_slot, Bytes(0));
  EXPECT_LT(three.memory.work, one.memory.work);
  EXPECT_EQ(three.memory.inputs, one.memory.inputs * std::int64_t{3});
}

}  // namespace
}  // namespace suanli::engine
