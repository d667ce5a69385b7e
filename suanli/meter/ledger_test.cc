#include "suanli/meter/ledger.h"

#include <gtest/gtest.h>

#include "suanli/graph/builder.h"

namespace suanli::meter {
namespace {

TEST(Ledger, BooksEverySecondOnTheInnermostTimer) {
  ManualClock clock;
  clock.advance(Seconds(1000));  // the origin of a clock means nothing
  Ledger ledger(clock);
  clock.advance(Seconds(1));
  {
    const Ledger::Timer outer(ledger, Cause::evaluate);
    clock.advance(Seconds(2));
    {
      const Ledger::Timer inner(ledger, Cause::data);
      clock.advance(Seconds(4));
    }
    clock.advance(Seconds(8));
  }
  clock.advance(Seconds(16));
  const Usage& usage = ledger.usage();
  EXPECT_EQ(usage.of(Cause::evaluate), Seconds(10));
  EXPECT_EQ(usage.of(Cause::data), Seconds(4));
  EXPECT_EQ(usage.of(Cause::other), Seconds(17));
  EXPECT_EQ(usage.total_seconds(), Seconds(31));
}

TEST(Ledger, CountsOnFromAnEarlierSession) {
  ManualClock clock;
  Usage before;
  before.steps = 7;
  before.tokens = Tokens(700);
  before.of(Cause::forward) = Seconds(3);
  before.work.total = Flops(10);
  before.work.by_op["matmul"] = Flops(10);
  before.work.moved = Bytes(36);
  before.runs_of(Part::forward) = 7;
  Ledger ledger(clock, before);
  {
    const Ledger::Timer timer(ledger, Cause::forward);
    clock.advance(Seconds(2));
  }
  ledger.book(Part::forward, {Flops(5), {{"gelu", Flops(1)}, {"matmul", Flops(4)}}, Bytes(64)});
  ledger.book_step(Tokens(100));
  const Usage& usage = ledger.usage();
  EXPECT_EQ(usage.steps, 8);
  EXPECT_EQ(usage.tokens, Tokens(800));
  EXPECT_EQ(usage.of(Cause::forward), Seconds(5));
  EXPECT_EQ(usage.work.total, Flops(15));
  EXPECT_EQ(usage.work.by_op.at("matmul"), Flops(14));
  EXPECT_EQ(usage.work.by_op.at("gelu"), Flops(1));
  EXPECT_EQ(usage.work.moved, Bytes(100));
  EXPECT_EQ(usage.runs_of(Part::forward), 8);
  EXPECT_EQ(usage.runs_of(Part::backward), 0);
}

TEST(Ledger, MovesNoMoreSecondsThanThereAre) {
  ManualClock clock;
  Ledger ledger(clock);
  const Ledger::Timer timer(ledger, Cause::forward);
  clock.advance(Seconds(5));
  ledger.move(Cause::forward, Cause::waiting, Seconds(2));
  EXPECT_EQ(ledger.usage().of(Cause::forward), Seconds(3));
  EXPECT_EQ(ledger.usage().of(Cause::waiting), Seconds(2));
  ledger.move(Cause::forward, Cause::waiting, Seconds(100));
  EXPECT_EQ(ledger.usage().of(Cause::forward), Seconds(0));
  EXPECT_EQ(ledger.usage().of(Cause::waiting), Seconds(5));
}

TEST(Ledger, NamesOfCausesReadBack) {
  for (Cause cause : kCauses) EXPECT_EQ(cause_from_name(name_of(cause)), cause);
  EXPECT_EQ(cause_from_name("sleep"), std::nullopt);
}

TEST(Ledger, WorkOfAPhaseIsWhatItsLiveNodesDo) {
  graph::Graph graph;
  graph::Builder b(graph);
  const graph::NodeId x = b.input("x", graph::f32({4, 8}));
  const graph::NodeId w = b.param("w", graph::f32({8, 2}), "zeros");
  const graph::NodeId y = b.matmul(x, w);
  const graph::NodeId dead = b.matmul(x, w, false, false);
  ASSERT_TRUE(b.status()) << b.status().error().to_string();
  (void)dead;
  ASSERT_TRUE(graph.add_output("y", y));
  const Work work = work_of(graph, graph::Phase::forward);
  EXPECT_EQ(work.total, Flops(2 * 4 * 8 * 2));
  EXPECT_EQ(work.by_op.at("matmul"), work.total);
  EXPECT_EQ(work.total, Flops(graph::step_cost(graph).flops));
  EXPECT_EQ(work_of(graph, graph::Phase::backward).total, Flops(0));
}

}  // namespace
}  // namespace suanli::meter
