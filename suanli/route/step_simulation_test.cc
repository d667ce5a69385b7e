#include "suanli/route/step_simulation.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "suanli/route/random_placement_for_test.h"
#include "suanli/route/schedule.h"

namespace suanli::route {
namespace {

using graph::Phase;

// The rule of credits as route_table.h words it, by looking at everything again after every work.
class PlainGame {
 public:
  explicit PlainGame(const RouteTable& table) : table_(table), position_(table.orders.size()) {}

  bool ends() {
    for (bool moved = true; moved;) {
      moved = false;
      for (WorkerIndex w = 0; w < static_cast<WorkerIndex>(position_.size()); ++w) {
        if (!may_run(w)) continue;
        ++position_[at(w)];
        moved = true;
      }
    }
    for (std::size_t w = 0; w < position_.size(); ++w)
      if (position_[w] < table_.orders[w].work.size()) return false;
    return true;
  }

 private:
  static std::size_t at(WorkerIndex worker) { return static_cast<std::size_t>(worker); }
  const std::vector<Work>& order(WorkerIndex w) const { return table_.orders[at(w)].work; }
  // The other end of what the work takes (`from`) or gives; -1: nobody.
  WorkerIndex other(WorkerIndex w, const Work& work, bool from) const {
    const auto stage = static_cast<std::int64_t>(table_.stage_of(w)) + ((work.phase == Phase::forward) == from ? -1 : 1);
    const auto& route = table_.routes[static_cast<std::size_t>(work.micro_batch)];
    return stage < 0 || stage >= static_cast<std::int64_t>(route.size()) ? -1 : route[static_cast<std::size_t>(stage)];
  }
  bool ran(WorkerIndex w, const Work& work) const {
    const auto found = std::ranges::find(order(w), work);
    return found - order(w).begin() < static_cast<std::ptrdiff_t>(position_[at(w)]);
  }
  bool delivered(WorkerIndex to, const Work& work) const {
    if (ran(to, work)) return true;
    int seen = 0;
    for (std::size_t i = position_[at(to)]; i < order(to).size() && seen < table_.credits; ++i) {
      if (order(to)[i] == work) return true;
      seen += other(to, order(to)[i], true) >= 0;
    }
    return false;
  }
  bool may_run(WorkerIndex w) const {
    if (position_[at(w)] == order(w).size()) return false;
    const Work& next = order(w)[position_[at(w)]];
    const WorkerIndex from = other(w, next, true);
    if (from >= 0 && (!ran(from, next) || !delivered(w, next))) return false;
    int held = 0;
    for (std::size_t i = 0; i < position_[at(w)]; ++i) {
      const WorkerIndex to = other(w, order(w)[i], false);
      held += to >= 0 && !delivered(to, order(w)[i]);
    }
    return held < table_.credits;
  }

  const RouteTable& table_;
  std::vector<std::size_t> position_;
};

// Works of a sound table in another order of each worker, by swaps that keep forwards before backwards.
void stir(RouteTable& table, RandomDraw& draw, std::int64_t swaps) {
  for (WorkerOrder& order : table.orders) {
    for (std::int64_t i = 0; i < swaps && order.work.size() > 1; ++i) {
      const auto k = static_cast<std::size_t>(draw.whole(0, static_cast<std::int64_t>(order.work.size()) - 2));
      if (order.work[k].micro_batch != order.work[k + 1].micro_batch) std::swap(order.work[k], order.work[k + 1]);
    }
    order.slots = peak_slots(order.work);
  }
}

TEST(StepSimulation, PlaysByTheRule) {
  int ended = 0, stopped = 0;
  for (std::uint64_t seed = 0; seed < 600; ++seed) {
    RandomPool pool = random_pool(seed);
    RandomDraw draw(seed + 9'000'000);
    pool.micro_batches = std::min<std::int64_t>(pool.micro_batches, 10);
    auto table = make_route_table(pool.placement, pool.micro_batches, pool.speeds,
                                  {.most_slots = static_cast<int>(draw.whole(0, 6)), .credits = 3});
    ASSERT_TRUE(table.has_value());
    stir(*table, draw, draw.whole(0, 4));
    table->credits = static_cast<int>(draw.whole(1, 3));
    const bool ends = PlainGame(*table).ends();
    EXPECT_EQ(play_step(*table).ended, ends) << seed;
    EXPECT_EQ(play_step(*table, &pool.speeds).ended, ends) << seed;
    EXPECT_EQ(check(*table, pool.workers).has_value(), ends) << seed;
    (ends ? ended : stopped) += 1;
  }
  EXPECT_GT(ended, 100);
  EXPECT_GT(stopped, 100);
}

TEST(StepSimulation, WorksFollowTheirInputsAndOneAnother) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const RandomPool pool = random_pool(seed);
    const auto table = make_route_table(pool.placement, pool.micro_batches, pool.speeds);
    ASSERT_TRUE(table.has_value());
    const PlayedStep step = play_step(*table, &pool.speeds);
    ASSERT_TRUE(step.ended);
    const auto span = [&](WorkerIndex w, const Work& work) {
      const auto& order = table->orders[static_cast<std::size_t>(w)].work;
      return step.spans[static_cast<std::size_t>(w)][static_cast<std::size_t>(std::ranges::find(order, work) - order.begin())];
    };
    for (std::size_t w = 0; w < pool.workers; ++w)
      for (std::size_t i = 0; i + 1 < step.spans[w].size(); ++i) EXPECT_LE(step.spans[w][i].end, step.spans[w][i + 1].begin);
    for (std::size_t m = 0; m < table->routes.size(); ++m) {
      const auto number = static_cast<std::int64_t>(m);
      for (std::size_t s = 0; s + 1 < table->stage_count(); ++s) {
        const WorkerIndex here = table->routes[m][s], next = table->routes[m][s + 1];
        EXPECT_GE(span(next, {Phase::forward, number}).begin,
                  span(here, {Phase::forward, number}).end + pool.speeds.hop(here, next, true));
        EXPECT_GE(span(here, {Phase::backward, number}).begin,
                  span(next, {Phase::backward, number}).end + pool.speeds.hop(next, here, false));
      }
    }
  }
}

// An output that its receiver is not ready for travels when it is: with one credit, from the end of the work before.
TEST(StepSimulation, AnOutputWaitsForACredit) {
  RouteTable table;
  table.placement = {{{0}}, {{0}, {1}}};
  table.routes = {{0, 1}, {0, 1}};
  const std::vector<Work> works = {{Phase::forward, 0}, {Phase::forward, 1}, {Phase::backward, 0}, {Phase::backward, 1}};
  table.orders = {{works, 2}, {works, 2}};
  const std::vector<Seconds> each = {Seconds(1), Seconds(10)};
  const Speeds speeds{each, each, [](WorkerIndex, WorkerIndex, bool) { return Seconds(3); }};
  for (int credits : {1, 2}) {
    table.credits = credits;
    const PlayedStep step = play_step(table, &speeds);
    EXPECT_EQ(step.spans[0][1].begin, Seconds(credits == 1 ? 4 : 1));  // F1 of the first, while F0 travels
    EXPECT_EQ(step.spans[1][0].begin, Seconds(4));
    EXPECT_EQ(step.spans[1][1].begin, Seconds(credits == 1 ? 17 : 14));
  }
}

}  // namespace
}  // namespace suanli::route
