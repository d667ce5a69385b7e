// The engine against the reference on random graphs: fusion, buffer sharing and the arena must not
// change what a graph means, however its nodes are knit together.

#include "suanli/engine/random_graph_test_util.h"

namespace suanli::engine::test {
namespace {

TEST(RandomGraph, TheEngineComputesWhatTheReferenceDoes) {
  constexpr std::uint64_t kGraphs = 60;
  for (std::uint64_t seed = 0; seed < kGraphs && !testing::Test::HasFailure(); ++seed)
    for (const std::int64_t micro_batches : {1, 3}) {
      const Graph graph = RandomGraph(seed, micro_batches).draw();
      SCOPED_TRACE("seed " + std::to_string(seed) + ", " + std::to_string(micro_batches) +
                   " micro-batches\n" + graph::to_text(graph));
      const Results expected = run_reference(graph);
      for (const int slots : {1, 2}) {
        SCOPED_TRACE(std::to_string(slots) + " slots");
        const Trained actual = run_engine(graph, {.slots = slots});
        expect_close(values_of(actual.outputs), expected.outputs);
        expect_close(values_of(actual.state), expected.state);
        // Made again or kept: the same bits.
        for (const Recomputation& what : {Recomputation{.cheap = true}, Recomputation{.cheap = true, .blocks = 9}}) {
          EXPECT_EQ(differing(run_engine(graph, {.slots = slots, .recompute = what}), actual), "");
        }
      }
    }
}

}  // namespace
}  // namespace suanli::engine::test
