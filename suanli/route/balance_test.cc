#include "suanli/route/balance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "suanli/graph/mlp_for_tests.h"
#include "suanli/route/random_placement_for_test.h"
#include "suanli/route/step_simulation.h"

namespace suanli::route {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::int64_t kMiB = 1 << 20;

// `blocks` alike: 1 GFLOP forward, 2 backward, 16 MiB of state, 1 MiB of stash, 1 MiB over each boundary.
Demand even_demand(std::size_t blocks, std::int64_t micro_batches, const std::vector<double>& gflops) {
  Demand demand;
  demand.blocks.assign(blocks, {Flops(1e9), Flops(2e9), Bytes(16 * kMiB), Bytes(kMiB), Bytes(kMiB), Bytes(kMiB)});
  demand.blocks.back().forward_out = demand.blocks.back().backward_in = Bytes(0);
  demand.legal_cut.assign(blocks - 1, true);
  demand.micro_batches = micro_batches;
  for (double rate : gflops) demand.workers.push_back({FlopsPerSecond(rate * 1e9), Bytes(1024 * kMiB)});
  return demand;
}

Placed must_place(const Demand& demand) {
  auto placed = BalancedPlacer().place(demand);
  if (!placed) ADD_FAILURE() << placed.error().to_string();
  SUANLI_CHECK(placed.has_value());
  return *std::move(placed);
}

// Sound, within memory, and as fast as it says.
void expect_sound(const Placed& placed, const Demand& demand) {
  const Status sound = check(placed.table, demand.workers.size());
  EXPECT_TRUE(sound) << sound.error().to_string();
  ASSERT_EQ(placed.memory_of.size(), demand.workers.size());
  for (std::size_t w = 0; w < demand.workers.size(); ++w) {
    EXPECT_LE(placed.memory_of[w], demand.workers[w].memory) << w;
    EXPECT_EQ(placed.memory_of[w] == Bytes(0), placed.table.stage_of(static_cast<WorkerIndex>(w)) == kNoStage) << w;
  }
  EXPECT_EQ(placed.step_time, simulated_step_time(placed.table, placed.speeds) + placed.exchange);
  for (int block : placed.table.placement.cut.after_blocks) EXPECT_TRUE(demand.legal_cut[static_cast<std::size_t>(block)]);
}

std::size_t standing_by(const Placed& placed) {
  std::size_t count = 0;
  for (std::size_t w = 0; w < placed.table.orders.size(); ++w)
    count += placed.table.stage_of(static_cast<WorkerIndex>(w)) == kNoStage;
  return count;
}

LineSpeed line(double delay, double rate) { return {Seconds(delay), BytesPerSecond(rate)}; }

TEST(BlockCosts, AddUpToTheGraph) {
  const graph::Graph graph = graph::mlp_for_tests(3, 7, 4);
  const std::vector<BlockCost> costs = block_costs(graph);
  ASSERT_EQ(costs.size(), 5U);
  EXPECT_EQ(legal_cuts(graph), std::vector<bool>(4, true));
  Flops forward{0}, backward{0};
  for (const BlockCost& cost : costs) {
    forward += cost.forward;
    backward += cost.backward;
  }
  Flops expected_forward{0}, expected_backward{0};
  const std::vector<bool> live = graph.live();
  for (graph::NodeId id = 0; id < graph.size(); ++id) {
    const graph::Node& node = graph.node(id);
    if (!live[static_cast<std::size_t>(id)] || node.block == graph::kWholeJob) continue;
    if (node.phase == graph::Phase::forward) expected_forward += Flops(graph::node_cost(graph, id).flops);
    if (node.phase == graph::Phase::backward) expected_backward += Flops(graph::node_cost(graph, id).flops);
  }
  EXPECT_EQ(forward, expected_forward);
  EXPECT_EQ(backward, expected_backward);
  // Layer 1: `up` and `down` with a moment and a gradient sum each; it keeps its input and the values around gelu.
  const std::int64_t params = 2 * graph::kTestWidth * 7, rows = graph::kTestBatch;
  EXPECT_EQ(costs[1].state, Bytes(params * 3 * 4));
  EXPECT_EQ(costs[1].stash, Bytes((rows * graph::kTestWidth + 2 * rows * 7) * 4));
  EXPECT_EQ(costs[1].forward_out, Bytes(rows * graph::kTestWidth * 4));
  EXPECT_EQ(costs[1].backward_in, costs[1].forward_out);
  EXPECT_EQ(costs[4].forward_out, Bytes(0));
  // The matrix of the head is tied to the input's: the head's block holds it and its gradient, the moment stays with the owner.
  EXPECT_EQ(costs[4].state, Bytes(graph::kTestInputs * graph::kTestWidth * 2 * 4));
  EXPECT_EQ(costs[0].state, Bytes(graph::kTestInputs * graph::kTestWidth * 3 * 4));
}

TEST(BlockCosts, AViewIsKeptWithWhatItViews) {
  graph::Graph graph;
  graph::Builder b(graph);
  const graph::NodeId h = b.exp(b.input("x", graph::f32({4, 6})));
  const graph::NodeId flat = b.reshape(h, {24});
  b.set_phase(graph::Phase::backward);
  const graph::NodeId first = b.mul(h, h), second = b.mul(flat, flat);
  ASSERT_TRUE(graph.add_output("first", first) && graph.add_output("second", second) && b.status());
  const std::vector<BlockCost> costs = block_costs(graph);
  ASSERT_EQ(costs.size(), 1U);
  EXPECT_EQ(costs[0].stash, Bytes(24 * 4));
  EXPECT_TRUE(legal_cuts(graph).empty());
}

TEST(BalancedPlacer, OneWorkerIsOneStage) {
  const Demand demand = even_demand(6, 4, {10});
  const Placed placed = must_place(demand);
  expect_sound(placed, demand);
  EXPECT_EQ(placed.table.placement.stages, (std::vector<std::vector<WorkerIndex>>{{0}}));
  EXPECT_DOUBLE_EQ(placed.step_time.value(), 6 * 3 * 4 / 10.0);
}

// Two fast and one slow worker on lines too slow to exchange gradients over: a pipeline in which each gets blocks by its speed.
TEST(BalancedPlacer, TwoFastAndOneSlowBecomeAPipelineOverSlowLines) {
  Demand demand = even_demand(10, 40, {20, 10, 20});
  demand.line = [](WorkerIndex, WorkerIndex) { return line(0.001, 4e6); };
  const Placed placed = must_place(demand);
  expect_sound(placed, demand);
  ASSERT_EQ(placed.table.stage_count(), 3U);
  EXPECT_EQ(standing_by(placed), 0U);
  const std::size_t slow_stage = placed.table.stage_of(1);
  std::vector<int> bounds = {-1};
  for (int cut : placed.table.placement.cut.after_blocks) bounds.push_back(cut);
  bounds.push_back(9);
  for (std::size_t s = 0; s < 3; ++s) EXPECT_EQ(bounds[s + 1] - bounds[s], s == slow_stage ? 2 : 4) << s;
  EXPECT_EQ(placed.exchange, Seconds(0));
}

// Lanes exchange no gradients, so slow lines between them cost nothing.
TEST(BalancedPlacer, LanesAreRowsOfEqualStages) {
  for (const std::vector<double>& rates : {std::vector<double>{10, 10}, {10, 10, 10, 10}, {20, 10, 10, 20, 10, 10, 20}}) {
    for (const std::int64_t mebibytes : {1024, 160}) {  // 160: no worker holds all of it
      Demand demand = even_demand(10, 12, rates);
      demand.line = [](WorkerIndex, WorkerIndex) { return line(0.05, 1e6); };
      demand.lanes = true;
      for (WorkerPower& worker : demand.workers) worker.memory = Bytes(mebibytes * kMiB);
      const Placed placed = must_place(demand);
      expect_sound(placed, demand);
      const auto& stages = placed.table.placement.stages;
      for (const auto& holders : stages) EXPECT_EQ(holders.size(), stages.front().size());
      for (const std::vector<WorkerIndex>& route : placed.table.routes) {
        const auto rank_in = [&](std::size_t s) { return std::ranges::find(stages[s], route[s]) - stages[s].begin(); };
        for (std::size_t s = 0; s < stages.size(); ++s) EXPECT_EQ(rank_in(s), rank_in(0));
      }
      EXPECT_GT(stages.front().size(), mebibytes == 1024 ? 1U : 0U);
      EXPECT_EQ(placed.exchange, Seconds(0));
    }
  }
}

// The same three over lines that cost nothing: replicas of the whole, without a bubble, with shares by speed.
TEST(BalancedPlacer, NearWorkersBecomeReplicas) {
  const Demand demand = even_demand(10, 40, {20, 10, 20});
  const Placed placed = must_place(demand);
  expect_sound(placed, demand);
  ASSERT_EQ(placed.table.stage_count(), 1U);
  EXPECT_EQ(placed.table.orders[0].work.size(), 2 * 16U);
  EXPECT_EQ(placed.table.orders[1].work.size(), 2 * 8U);
  EXPECT_EQ(placed.table.orders[2].work.size(), 2 * 16U);
}

TEST(BalancedPlacer, MemoryForcesACut) {
  Demand demand = even_demand(10, 8, {10, 10});
  ASSERT_EQ(must_place(demand).table.stage_count(), 1U);
  for (WorkerPower& worker : demand.workers) worker.memory = Bytes(110 * kMiB);  // the whole job asks for 170 and more
  const Placed placed = must_place(demand);
  expect_sound(placed, demand);
  EXPECT_THAT(placed.table.placement.cut.after_blocks, ElementsAre(4));
}

TEST(BalancedPlacer, LittleMemoryTakesSlotsAway) {
  Demand demand = even_demand(8, 16, {10, 10, 10, 10});
  demand.line = [](WorkerIndex, WorkerIndex) { return line(0, 2e6); };
  for (BlockCost& block : demand.blocks) block.stash = Bytes(8 * kMiB);
  for (WorkerPower& worker : demand.workers) worker.memory = Bytes((2 * 16 + 2 * 2 * 8 + 4) * kMiB);  // two blocks, two slots
  const Placed placed = must_place(demand);
  expect_sound(placed, demand);
  for (const WorkerOrder& order : placed.table.orders) EXPECT_LE(order.slots, 2);
}

TEST(BalancedPlacer, IllegalBoundariesStayWhole) {
  Demand demand = even_demand(6, 8, {10, 10, 10});
  demand.line = [](WorkerIndex, WorkerIndex) { return line(0, 1e8); };
  for (WorkerPower& worker : demand.workers) worker.memory = Bytes(70 * kMiB);
  demand.legal_cut = {false, false, true, false, false};
  const Placed placed = must_place(demand);
  expect_sound(placed, demand);
  EXPECT_THAT(placed.table.placement.cut.after_blocks, ElementsAre(2));
}

// Two sites: inside each the lines are fast, between them gradients would take longer than the step. Activations are small, so a
// cut lies between the sites and replicas inside them.
TEST(BalancedPlacer, FarSitesBecomeStagesNotReplicas) {
  Demand demand = even_demand(8, 64, {10, 10, 10, 10, 10, 10, 10, 10});
  for (BlockCost& block : demand.blocks) block.forward_out = block.backward_in = Bytes(10'000);
  const auto site = [](WorkerIndex worker) { return worker % 2; };
  demand.line = [site](WorkerIndex a, WorkerIndex b) { return site(a) == site(b) ? line(1e-4, 1e10) : line(0.05, 1e6); };
  const Placed placed = must_place(demand);
  expect_sound(placed, demand);
  EXPECT_EQ(standing_by(placed), 0U);
  EXPECT_GE(placed.table.stage_count(), 2U);
  for (const std::vector<WorkerIndex>& holders : placed.table.placement.stages)
    for (WorkerIndex worker : holders) EXPECT_EQ(site(worker), site(holders[0]));
  int crossings = 0;
  for (std::size_t s = 0; s + 1 < placed.table.stage_count(); ++s)
    crossings += site(placed.table.placement.stages[s][0]) != site(placed.table.placement.stages[s + 1][0]);
  EXPECT_EQ(crossings, 1);
}

TEST(BalancedPlacer, AWorkerThatOnlySlowsThingsDownStandsBy) {
  // Ten seconds away: a single micro-batch there and back takes longer than the whole step without it.
  Demand far = even_demand(8, 8, {10, 10, 10, 10, 10, 10, 10});
  far.line = [](WorkerIndex a, WorkerIndex b) { return a == 3 || b == 3 ? line(10, 1e6) : line(0, 1e9); };
  const Placed without_far = must_place(far);
  expect_sound(without_far, far);
  EXPECT_EQ(without_far.table.stage_of(3), kNoStage);
  EXPECT_EQ(standing_by(without_far), 1U);

  Demand slow = even_demand(4, 4, {10, 10, 0.001});
  const Placed without_slow = must_place(slow);
  expect_sound(without_slow, slow);
  EXPECT_EQ(without_slow.table.stage_of(2), kNoStage);
}

TEST(BalancedPlacer, AJobTooLargeIsToldByHowMuch) {
  Demand demand = even_demand(10, 4, {10, 10, 10});
  for (WorkerPower& worker : demand.workers) worker.memory = Bytes(40 * kMiB);  // two blocks each
  auto placed = BalancedPlacer().place(demand);
  ASSERT_FALSE(placed.has_value());
  EXPECT_EQ(placed.error().code, ErrorCode::no_memory);
  EXPECT_EQ(placed.error().message,
            "state and one micro-batch take 170 MiB, 3 workers together have 120 MiB: 50.0 MiB are missing");
  EXPECT_EQ(placed.error().next_step, "give every worker 72.0 MiB, or add 2 workers of 40.0 MiB");
  // What it asks for is enough, and nothing less is.
  for (WorkerPower& worker : demand.workers) worker.memory = Bytes(72 * kMiB);
  expect_sound(must_place(demand), demand);
  for (WorkerPower& worker : demand.workers) worker.memory = Bytes(72 * kMiB - 1);
  EXPECT_FALSE(BalancedPlacer().place(demand).has_value());
  for (WorkerPower& worker : demand.workers) worker.memory = Bytes(40 * kMiB);
  demand.workers.resize(5, demand.workers[0]);
  expect_sound(must_place(demand), demand);
}

// Digits that are not shown are never missing from what it asks for.
TEST(BalancedPlacer, TheMemoryItAsksForIsEnough) {
  Demand demand = even_demand(10, 4, {10, 10, 10});
  for (BlockCost& block : demand.blocks) block.state = Bytes(17 * kMiB + 12'345);
  for (WorkerPower& worker : demand.workers) worker.memory = Bytes(40 * kMiB);
  const auto placed = BalancedPlacer().place(demand);
  ASSERT_FALSE(placed.has_value());
  ASSERT_THAT(placed.error().next_step, HasSubstr("give every worker 76.1 MiB"));  // of 76.047
  for (WorkerPower& worker : demand.workers) worker.memory = Bytes(static_cast<std::int64_t>(76.1 * kMiB));
  expect_sound(must_place(demand), demand);
}

TEST(BalancedPlacer, ABlockTooLargeIsNotHelpedByMoreWorkers) {
  Demand demand = even_demand(3, 4, {10, 10, 10, 10});
  for (WorkerPower& worker : demand.workers) worker.memory = Bytes(20 * kMiB);
  demand.blocks[1].state = Bytes(30 * kMiB);
  const auto placed = BalancedPlacer().place(demand);
  ASSERT_FALSE(placed.has_value());
  EXPECT_THAT(placed.error().message, HasSubstr("no cut between blocks fits: the largest worker has 20.0 MiB, 15.0 MiB short"));
  EXPECT_EQ(placed.error().next_step, "give every worker 35.0 MiB");
}

TEST(BalancedPlacer, UnevenMemoryIsUsed) {
  // Only the last worker can hold the large last block, and the first must hold little.
  Demand demand = even_demand(7, 6, {10, 10, 10});
  demand.blocks[6].state = Bytes(300 * kMiB);
  demand.workers[0].memory = Bytes(320 * kMiB);
  demand.workers[1].memory = Bytes(45 * kMiB);
  demand.workers[2].memory = Bytes(80 * kMiB);
  const Placed placed = must_place(demand);
  expect_sound(placed, demand);
  EXPECT_EQ(placed.table.stage_of(0), placed.table.stage_count() - 1);
}

TEST(BalancedPlacer, RandomPoolsAreSoundAndNeverWorseThanTheBestWorkerAlone) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    RandomDraw draw(seed);
    std::vector<double> rates(static_cast<std::size_t>(draw.whole(1, 12)));
    for (double& rate : rates) rate = std::exp(draw.real(0, 4));
    Demand demand = even_demand(static_cast<std::size_t>(draw.whole(1, 12)), draw.whole(1, 24), rates);
    for (BlockCost& block : demand.blocks) block.forward = Flops(draw.real(1e8, 3e9));
    std::vector<LineSpeed> lines;
    for (std::size_t i = 0; i < rates.size() * rates.size(); ++i)
      lines.push_back(line(draw.real(0, 0.1), std::exp(draw.real(std::log(1e6), std::log(1e9)))));
    demand.line = [lines, count = rates.size()](WorkerIndex a, WorkerIndex b) {
      return lines[static_cast<std::size_t>(a) * count + static_cast<std::size_t>(b)];
    };
    const Placed placed = must_place(demand);
    expect_sound(placed, demand);
    Flops whole{0};
    for (const BlockCost& block : demand.blocks) whole += block.forward + block.backward;
    const Seconds alone = whole * static_cast<double>(demand.micro_batches) /
                          FlopsPerSecond(*std::max_element(rates.begin(), rates.end()) * 1e9);
    EXPECT_LE(placed.step_time, alone * (1 + 1e-9)) << seed;
    EXPECT_EQ(must_place(demand).table.digest(), placed.table.digest()) << seed;
  }
}

TEST(BalancedPlacer, WhatMakesNoSenseIsRefused) {
  const auto message = [](auto change) {
    Demand demand = even_demand(4, 4, {10, 10});
    change(demand);
    const auto placed = BalancedPlacer().place(demand);
    SUANLI_CHECK(!placed.has_value());
    EXPECT_EQ(placed.error().code, ErrorCode::config);
    return placed.error().message;
  };
  EXPECT_THAT(message([](Demand& d) { d.blocks.clear(); }), HasSubstr("0 blocks"));
  EXPECT_THAT(message([](Demand& d) { d.legal_cut.pop_back(); }), HasSubstr("4 blocks have 2 boundaries"));
  EXPECT_THAT(message([](Demand& d) { d.micro_batches = 0; }), HasSubstr("0 micro-batches"));
  EXPECT_THAT(message([](Demand& d) { d.workers.clear(); }), HasSubstr("0 workers"));
  EXPECT_THAT(message([](Demand& d) { d.workers[1].rate = FlopsPerSecond(0); }), HasSubstr("worker 1 has no possible rate"));
  EXPECT_THAT(message([](Demand& d) { d.workers[0].memory = Bytes(-1); }), HasSubstr("worker 0 has no possible"));
  EXPECT_THAT(message([](Demand& d) { d.blocks[0].state = Bytes(INT64_MAX); }), HasSubstr("number of bytes"));
  EXPECT_THAT(message([](Demand& d) { d.blocks[0].forward = Flops(NAN); }), HasSubstr("number of operations"));
}

TEST(BalancedPlacer, MakesSoManyStagesAsAreAskedFor) {
  for (const std::size_t workers : {4, 9, 40}) {
    Demand demand = even_demand(24, 8, std::vector<double>(workers, 100));
    for (demand.stages = 1; demand.stages <= std::min<std::size_t>(workers, 24); ++demand.stages) {
      SCOPED_TRACE(std::to_string(workers) + " workers, " + std::to_string(demand.stages) + " stages");
      const Placed placed = must_place(demand);
      EXPECT_EQ(placed.table.stage_count(), demand.stages);
      expect_sound(placed, demand);
    }
  }
}

TEST(BalancedPlacer, MakesSoManyReplicasAsAreAskedFor) {
  for (const std::size_t workers : {4, 9, 40}) {
    // A line over which nobody would exchange gradients unasked.
    Demand demand = even_demand(24, 8, std::vector<double>(workers, 100));
    demand.line = [](WorkerIndex, WorkerIndex) { return LineSpeed{Seconds(10), BytesPerSecond(1e3)}; };
    for (demand.stages = 0; demand.stages <= 2; ++demand.stages) {
      for (demand.replicas = 1; demand.replicas <= std::min<std::size_t>(workers / std::max<std::size_t>(demand.stages, 1), 8);
           ++demand.replicas) {
        SCOPED_TRACE(std::to_string(workers) + " workers, " + std::to_string(demand.replicas) + " replicas");
        const Placed placed = must_place(demand);
        for (const auto& holders : placed.table.placement.stages) EXPECT_EQ(holders.size(), demand.replicas);
        EXPECT_TRUE(demand.stages == 0 || placed.table.stage_count() == demand.stages);
        expect_sound(placed, demand);
      }
    }
  }
}

TEST(BalancedPlacer, SaysWhichWishesAreNotPossible) {
  Demand demand = even_demand(6, 3, {1, 1, 1, 1});
  demand.stages = 2;
  demand.replicas = 3;
  const auto too_many = BalancedPlacer().place(demand);
  ASSERT_FALSE(too_many);
  EXPECT_THAT(too_many.error().message, HasSubstr("3 replicas of each of 2 stages are asked for; 4 workers and 3 micro-batches"));
  EXPECT_THAT(too_many.error().next_step, HasSubstr("pool.replicas to at most 2"));
  for (WorkerPower& worker : demand.workers) worker.memory = Bytes(1);
  for (BlockCost& block : demand.blocks) {
    block = BlockCost();
    block.forward = block.backward = Flops(1);
  }
  demand.blocks[0].state = demand.blocks[5].state = Bytes(1);
  demand.stages = 1;
  demand.replicas = 0;
  const auto too_small = BalancedPlacer().place(demand);
  ASSERT_FALSE(too_small);
  EXPECT_EQ(too_small.error().code, ErrorCode::no_memory);
  EXPECT_THAT(too_small.error().message, HasSubstr("holds the job, but not with pool.stages = 1 and pool.replicas = 0"));
}

TEST(BalancedPlacer, SaysHowManyStagesArePossible) {
  Demand demand = even_demand(3, 2, {1, 1, 1, 1});
  demand.stages = 4;
  const auto too_many = BalancedPlacer().place(demand);
  ASSERT_FALSE(too_many);
  EXPECT_EQ(too_many.error().code, ErrorCode::config);
  EXPECT_THAT(too_many.error().message, HasSubstr("4 stages are asked for; 4 workers are there, and the job can be cut into 3"));
  EXPECT_THAT(too_many.error().next_step, HasSubstr("at most 3"));
}

}  // namespace
}  // namespace suanli::route
