#include "suanli/route/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "suanli/route/random_placement_for_test.h"

namespace suanli::route {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string text_of(const WorkerOrder& order) {
  std::string text;
  for (const Work& work : order.work) text += (text.empty() ? "" : " ") + to_string(work);
  return text;
}

// One worker for each stage; a forward takes 1 s and a backward 2 s, lines no time.
Placement line_of_stages(int stages) {
  Placement placement;
  for (int s = 0; s < stages; ++s) {
    placement.stages.push_back({s});
    if (s > 0) placement.cut.after_blocks.push_back(s - 1);
  }
  return placement;
}

Speeds equal_speeds(std::size_t workers) {
  return {std::vector<Seconds>(workers, Seconds(1)), std::vector<Seconds>(workers, Seconds(2))};
}

TEST(Schedule, EqualStagesRunOneForwardOneBackward) {
  const auto table = make_route_table(line_of_stages(3), 5, equal_speeds(3));
  ASSERT_TRUE(table.has_value());
  EXPECT_EQ(text_of(table->orders[0]), "F0 F1 F2 B0 F3 B1 F4 B2 B3 B4");
  EXPECT_EQ(text_of(table->orders[1]), "F0 F1 B0 F2 B1 F3 B2 F4 B3 B4");
  EXPECT_EQ(text_of(table->orders[2]), "F0 B0 F1 B1 F2 B2 F3 B3 F4 B4");
  EXPECT_EQ(table->orders[0].slots, 3);
  EXPECT_EQ(table->orders[1].slots, 2);
  EXPECT_EQ(table->orders[2].slots, 1);
}

// Of 1F1B the step time is (micro-batches + stages - 1) (forward + backward), whatever the credits.
TEST(Schedule, TheStepOfEqualStagesTakesWhatTheFormulaSays) {
  for (int stages = 1; stages <= 8; ++stages) {
    for (int micro_batches : {1, 2, 5, 16}) {
      for (int credits : {1, 2, 4}) {
        const Speeds speeds = equal_speeds(static_cast<std::size_t>(stages));
        const auto table = make_route_table(line_of_stages(stages), micro_batches, speeds, {.credits = credits});
        ASSERT_TRUE(table.has_value());
        EXPECT_DOUBLE_EQ(simulated_step_time(*table, speeds).value(), 3 * (micro_batches + stages - 1))
            << stages << " stages, " << micro_batches << " micro-batches, credits " << credits;
      }
    }
  }
}

// The slowest worker of a lane says how many micro-batches the lane gets, one at least; none leaves its lane.
TEST(Schedule, LanesKeepTheirMicroBatches) {
  Placement placement = line_of_stages(2);
  placement.stages = {{0, 1, 2}, {3, 4, 5}};
  Speeds speeds = equal_speeds(6);
  speeds.forward[4] = Seconds(4);  // lane 1: 6 s instead of 3 s
  speeds.forward[2] = Seconds(500);
  const auto table = make_route_table(placement, 10, speeds, {.lanes = true});
  ASSERT_TRUE(table.has_value()) << table.error().to_string();
  std::vector<int> count(3);
  for (const std::vector<WorkerIndex>& route : table->routes) {
    EXPECT_EQ(route[1], route[0] + 3);
    ++count[static_cast<std::size_t>(route[0])];
  }
  EXPECT_THAT(count, ElementsAre(6, 3, 1));
  placement.stages[1].pop_back();
  EXPECT_FALSE(make_route_table(placement, 10, speeds, {.lanes = true}));
  placement.stages[1].push_back(5);
  EXPECT_FALSE(make_route_table(placement, 2, speeds, {.lanes = true})) << "a lane without a micro-batch";
}

TEST(Schedule, SlowLinesGetMoreSlots) {
  Speeds speeds = equal_speeds(2);
  speeds.hop = [](WorkerIndex, WorkerIndex, bool) { return Seconds(6); };
  const auto busy = make_route_table(line_of_stages(2), 32, speeds, {.credits = 8});
  const auto short_of_slots = make_route_table(line_of_stages(2), 32, speeds, {.most_slots = 2, .credits = 8});
  ASSERT_TRUE(busy && short_of_slots);
  EXPECT_EQ(busy->orders[0].slots, 6);  // 3 + 6 + 3 + 6 seconds of round trip, one forward in 3
  EXPECT_DOUBLE_EQ(simulated_step_time(*busy, speeds).value(), 32 * 3 + 15);
  EXPECT_GT(simulated_step_time(*short_of_slots, speeds), simulated_step_time(*busy, speeds) * 2.0);
}

TEST(Schedule, ALineThatIsOccupiedMakesOthersWait) {
  Speeds speeds = equal_speeds(2);
  speeds.hop = [](WorkerIndex, WorkerIndex, bool) { return Seconds(5); };
  const auto table = make_route_table(line_of_stages(2), 10, speeds, {.most_slots = 10, .credits = 8});
  ASSERT_TRUE(table.has_value());
  const Seconds free = simulated_step_time(*table, speeds);
  speeds.occupied = speeds.hop;  // an activation each 5 s, which is slower than the 3 s of compute
  const Seconds busy = simulated_step_time(*table, speeds);
  EXPECT_DOUBLE_EQ(free.value(), 10 * 3 + 13);
  EXPECT_DOUBLE_EQ(busy.value(), 1 + 10 * 5 + 3 + 5 + 2);
}

TEST(Schedule, SharesFollowSpeeds) {
  EXPECT_THAT(shares(12, {Seconds(1), Seconds(2), Seconds(4)}), ElementsAre(7, 3, 2));
  EXPECT_THAT(shares(12, {Seconds(1), Seconds(1), Seconds(1), Seconds(1)}), ElementsAre(3, 3, 3, 3));
  EXPECT_THAT(shares(5, {Seconds(1), Seconds(100)}), ElementsAre(5, 0));
  EXPECT_THAT(shares(5, {Seconds(0), Seconds(0)}), ElementsAre(3, 2));
  EXPECT_THAT(shares(5, {Seconds(0), Seconds(1)}), ElementsAre(5, 0));
}

TEST(Schedule, NoOtherSharesEndEarlier) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    RandomDraw draw(seed);
    const std::int64_t count = draw.whole(1, 30);
    const std::vector<Seconds> each = {Seconds(draw.real(0.1, 3)), Seconds(draw.real(0.1, 3)), Seconds(draw.real(0.1, 3))};
    const auto end_of = [&](const std::vector<std::int64_t>& share) {
      double end = 0;
      for (std::size_t k = 0; k < 3; ++k) end = std::max(end, each[k].value() * static_cast<double>(share[k]));
      return end;
    };
    const std::vector<std::int64_t> share = shares(count, each);
    EXPECT_EQ(std::accumulate(share.begin(), share.end(), std::int64_t{0}), count);
    for (std::int64_t a = 0; a <= count; ++a)
      for (std::int64_t b = 0; a + b <= count; ++b) EXPECT_LE(end_of(share), end_of({a, b, count - a - b}) + 1e-9) << seed;
  }
}

TEST(Schedule, MicroBatchesOfASlowReplicaComeEvenly) {
  EXPECT_THAT(interleave({6, 2}), ElementsAre(0, 0, 1, 0, 0, 0, 1, 0));
  EXPECT_THAT(interleave({2, 2}), ElementsAre(0, 1, 0, 1));
  EXPECT_THAT(interleave({0, 3}), ElementsAre(1, 1, 1));
  EXPECT_THAT(interleave({1, 1, 1}), ElementsAre(0, 1, 2));
}

TEST(Schedule, RandomPlacementsGiveSoundTables) {
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    const RandomPool pool = random_pool(seed);
    RandomDraw draw(seed + 7'000'000);
    ScheduleOptions options{.most_slots = static_cast<int>(draw.whole(0, 5)), .credits = static_cast<int>(draw.whole(1, 4))};
    for (std::size_t w = 0; w < pool.workers; ++w) options.most_slots_of.push_back(static_cast<int>(draw.whole(0, 4)));
    const auto table = make_route_table(pool.placement, pool.micro_batches, pool.speeds, options);
    ASSERT_TRUE(table.has_value()) << seed << ": " << table.error().to_string();
    const Status sound = check(*table, pool.workers);
    EXPECT_TRUE(sound) << seed << ": " << sound.error().to_string();
    double busiest = 0;
    for (std::size_t w = 0; w < pool.workers; ++w) {
      const WorkerOrder& order = table->orders[w];
      EXPECT_EQ(order.slots, peak_slots(order.work));
      for (int limit : {options.most_slots, options.most_slots_of[w]}) EXPECT_TRUE(limit == 0 || order.slots <= limit) << seed;
      const double each = (pool.speeds.forward[w] + pool.speeds.backward[w]).value();
      busiest = std::max(busiest, each * static_cast<double>(order.work.size()) / 2);
    }
    const double step = simulated_step_time(*table, pool.speeds).value();
    EXPECT_GE(step, busiest * (1 - 1e-12)) << seed;
    EXPECT_EQ(table->digest(), make_route_table(pool.placement, pool.micro_batches, pool.speeds, options)->digest());
  }
}

// With one slot everywhere no schedule can stop, so one credit is always enough to end.
TEST(Schedule, OneCreditIsEnough) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    const RandomPool pool = random_pool(seed);
    const auto table = make_route_table(pool.placement, pool.micro_batches, pool.speeds, {.most_slots = 8, .credits = 1});
    ASSERT_TRUE(table.has_value()) << seed << ": " << table.error().to_string();
  }
}

TEST(Schedule, WhatCannotBeScheduledIsRefused) {
  const auto message = [](Placement placement, std::int64_t micro_batches, const Speeds& speeds, int credits) {
    const auto table = make_route_table(std::move(placement), micro_batches, speeds, {.credits = credits});
    SUANLI_CHECK(!table.has_value());
    return table.error().to_string();
  };
  const Placement good = line_of_stages(2);
  EXPECT_THAT(message(good, 0, equal_speeds(2), 2), HasSubstr("0 micro-batches"));
  EXPECT_THAT(message(good, 4, equal_speeds(2), 0), HasSubstr("credits are 0"));
  EXPECT_THAT(message(good, 4, equal_speeds(1), 2), HasSubstr("worker 1 holds a stage but has no speed"));
  Speeds odd = equal_speeds(2);
  odd.backward[1] = Seconds(-1);
  EXPECT_THAT(message(good, 4, odd, 2), HasSubstr("worker 1 takes -1"));
  Placement twice = good;
  twice.stages[1] = {0};
  EXPECT_THAT(message(twice, 4, equal_speeds(2), 2), HasSubstr("worker 0 already holds stage 0"));
  twice.stages[1] = {};
  EXPECT_THAT(message(twice, 4, equal_speeds(2), 2), HasSubstr("nobody holds it"));
}

}  // namespace
}  // namespace suanli::route
