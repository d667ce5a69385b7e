// Exact arithmetic on random graphs: neither fusion, buffer sharing and recomputation nor threads, instruction sets and the order
// of micro-batches change a bit.
#include "suanli/engine/cpu/exact/isa.h"
#include "suanli/engine/random_graph_test_util.h"

namespace suanli::engine::test {
namespace {

// How `graph` may be computed in exact arithmetic without a bit that shows it.
void expect_the_same_bits(const Graph& graph, Size size, const Trained& expected) {
  const auto exact = [](int slots, Recomputation what) {
    return Target{.arithmetic = Arithmetic::exact, .slots = slots, .recompute = what};
  };
  const auto expect_same = [&](const Trained& actual, const std::string& how) {
    EXPECT_EQ(differing(actual, expected), "") << how;
  };
  for (const int threads : {2, 3, 4})
    expect_same(run_engine(graph, exact(1, {}), threads, size), std::to_string(threads) + " threads");
  for (const bool is_cheap : {false, true})
    expect_same(run_engine(graph, {.arithmetic = Arithmetic::exact, .recompute = {.cheap = is_cheap}, .fuse = false}, 2, size),
                is_cheap ? "not fused, recomputed" : "not fused");
  for (const int slots : {2, 3})
    expect_same(run_engine(graph, exact(slots, {.cheap = true}), 2, size), std::to_string(slots) + " slots");
  for (int blocks = 0; blocks <= 3; ++blocks)
    for (const bool cheap : {false, true})
      expect_same(run_engine(graph, exact(1, {.cheap = cheap, .blocks = blocks}), 1, size),
                  std::to_string(blocks) + " blocks made again" + (cheap ? ", and what is cheap" : ""));
  std::vector<int> reversed = in_sequence(graph.micro_batches());
  std::ranges::reverse(reversed);
  EXPECT_EQ(run_engine(graph, exact(1, {}), 1, size, reversed).state, expected.state);
  EXPECT_EQ(run_engine(graph, exact(2, {.cheap = true, .blocks = 1}), 3, size, reversed).state, expected.state);
}

class ExactRandomGraph : public testing::TestWithParam<exact::Isa> {
 protected:
  void SetUp() override {
    if (GetParam() > exact::best_isa()) GTEST_SKIP() << "this CPU has nothing above " << name_of(exact::best_isa());
  }
  void TearDown() override { exact::clear_isa_limit(); }

  void expect_the_same_bits_of(std::uint64_t seed, std::int64_t micro_batches, Size size) {
    const Graph graph = RandomGraph(seed, micro_batches, size).draw();
    SCOPED_TRACE("seed " + std::to_string(seed) + ", " + std::to_string(micro_batches) + " micro-batches\n" +
                 graph::to_text(graph));
    exact::clear_isa_limit();
    const Trained expected = run_engine(graph, {.arithmetic = Arithmetic::exact, .recompute = {}}, 1, size);
    exact::set_isa_limit(GetParam());
    expect_the_same_bits(graph, size, expected);
  }
};

TEST_P(ExactRandomGraph, BitsAreTheSameHoweverTheyAreComputed) {
  for (std::uint64_t seed = 0; seed < 12; ++seed)
    for (const std::int64_t micro_batches : {1, 3}) expect_the_same_bits_of(seed, micro_batches, {});
}

std::int64_t longest_product(const Graph& graph) {
  std::int64_t longest = 0;
  for (NodeId id : graph.nodes_of("matmul")) {
    const graph::Node& node = graph.node(id);
    longest = std::max(longest, graph.node(node.inputs[0]).type.shape[node.attrs.integer("ta") != 0 ? 0 : 1]);
  }
  return longest;
}

// Work for several tasks, and products of more than one block of 512.
TEST_P(ExactRandomGraph, BitsOfLargerOnesAreTheSameToo) {
  constexpr Size kLarge{37, 530};
  int graphs = 0;
  for (std::uint64_t seed = 100; graphs < 3; ++seed) {
    if (longest_product(RandomGraph(seed, 2, kLarge).draw()) <= 512) continue;
    expect_the_same_bits_of(seed, 2, kLarge);
    ++graphs;
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, ExactRandomGraph, testing::ValuesIn(exact::kAllIsas),
                         [](const auto& isa) { return std::string(name_of(isa.param)); });

TEST(ExactRandomGraphs, ComputeWhatTheReferenceDoes) {
  for (std::uint64_t seed = 0; seed < 60 && !testing::Test::HasFailure(); ++seed) {
    const Graph graph = RandomGraph(seed, 3).draw();
    SCOPED_TRACE("seed " + std::to_string(seed) + "\n" + graph::to_text(graph));
    const Results expected = run_reference(graph);
    const Trained actual = run_engine(graph, {.arithmetic = Arithmetic::exact});
    expect_close(values_of(actual.outputs), expected.outputs);
    expect_close(values_of(actual.state), expected.state);
  }
}

}  // namespace
}  // namespace suanli::engine::test
