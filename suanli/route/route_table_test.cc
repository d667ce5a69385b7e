#include "suanli/route/route_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "suanli/route/random_placement_for_test.h"
#include "suanli/route/route_json.h"
#include "suanli/route/schedule.h"

namespace suanli::route {
namespace {

using ::testing::HasSubstr;
using enum graph::Phase;

// "F0 F1 B0".
std::vector<Work> works(const std::string& text) {
  std::vector<Work> result;
  for (std::size_t at = 0; at < text.size(); at = text.find_first_of("FB", at + 1))
    result.push_back({text[at] == 'F' ? forward : backward, std::stoll(text.substr(at + 1))});
  return result;
}

// Two stages on workers 0 and 1, worker 2 stands by.
RouteTable pair_table(const std::string& first, const std::string& second, int credits) {
  RouteTable table;
  table.credits = credits;
  table.placement = {{{0}}, {{0}, {1}}};
  for (const Work& work : works(first))
    if (work.phase == forward) table.routes.push_back({0, 1});
  for (const std::string& text : {first, second, std::string()}) table.orders.push_back({works(text), peak_slots(works(text))});
  return table;
}

Error error_of(const RouteTable& table, std::size_t workers = 3) {
  const Status status = check(table, workers);
  SUANLI_CHECK(!status);
  EXPECT_EQ(status.error().code, ErrorCode::graph);
  return status.error();
}

TEST(RouteTable, KnowsWhoHoldsWhat) {
  const RouteTable table = pair_table("F0 B0", "F0 B0", 1);
  EXPECT_EQ(table.stage_of(0), 0U);
  EXPECT_EQ(table.stage_of(1), 1U);
  EXPECT_EQ(table.stage_of(2), kNoStage);
  EXPECT_TRUE(check(table, 3));
}

TEST(RouteTable, PeakSlotsCountWhatIsOpen) {
  EXPECT_EQ(peak_slots({}), 1);
  EXPECT_EQ(peak_slots(works("F0 B0 F1 B1")), 1);
  EXPECT_EQ(peak_slots(works("F0 F1 B0 F2 F3 B1 B2 B3")), 3);
}

// Worker 0 makes F0 to F3 before it takes a gradient, worker 1 wants F3 first. With one credit worker 1 is ready for F3 alone, so
// F0 stays unsent and worker 0 may not begin F1. With two it is ready for F3 and F2, so F0 and F1 stay. With three it ends.
TEST(RouteTable, AnOrderThatStopsUnderCreditsIsFound) {
  const std::string first = "F0 F1 F2 F3 B3 B2 B1 B0", second = "F3 B3 F2 B2 F1 B1 F0 B0";
  for (int credits : {1, 2}) {
    const Error error = error_of(pair_table(first, second, credits));
    EXPECT_THAT(error.message, HasSubstr("with credits " + std::to_string(credits) + " the step never ends"));
    EXPECT_THAT(error.message, HasSubstr(credits == 1 ? "worker 0 stands at F1, waiting for worker 1 to take an output "
                                                        "(1 of its outputs is not delivered)"
                                                      : "worker 0 stands at F2, waiting for worker 1 to take an output "
                                                        "(2 of its outputs are not delivered)"))
        << credits;
    EXPECT_THAT(error.message, HasSubstr("worker 1 stands at F3, waiting for its input from worker 0"));
    EXPECT_EQ(error.place, "route table of epoch 1");
  }
  EXPECT_TRUE(check(pair_table(first, second, 3), 3));
}

// One swap in a sound order of one credit.
TEST(RouteTable, ASwapThatStopsWithOneCreditIsFound) {
  EXPECT_TRUE(check(pair_table("F0 F1 B0 B1", "F0 F1 B0 B1", 1), 3));
  EXPECT_TRUE(check(pair_table("F0 F1 B0 B1", "F1 F0 B0 B1", 2), 3));
  EXPECT_THAT(error_of(pair_table("F0 F1 B0 B1", "F1 F0 B0 B1", 1)).message, HasSubstr("never ends"));
  // An order that no number of credits helps: the gradient of 0 is asked for before its activation is made.
  EXPECT_THAT(error_of(pair_table("F0 B0 F1 B1", "F1 F0 B0 B1", 9)).message,
              HasSubstr("worker 0 stands at B0, waiting for its input from worker 1"));
}

TEST(RouteTable, DamageIsNamed) {
  const RouteTable good = pair_table("F0 F1 B0 B1", "F0 B0 F1 B1", 1);
  ASSERT_TRUE(check(good, 3));
  const auto message_after = [&](auto change) {
    RouteTable table = good;
    change(table);
    const Error error = error_of(table);
    return error.place + ": " + error.message;
  };
  using T = RouteTable;
  EXPECT_THAT(message_after([](T& t) { t.epoch = 0; }), HasSubstr("epochs begin at 1"));
  EXPECT_THAT(message_after([](T& t) { t.credits = 0; }), HasSubstr("credits are 0"));
  EXPECT_THAT(message_after([](T& t) { t.placement.stages.clear(); }), HasSubstr("0 stages"));
  EXPECT_THAT(message_after([](T& t) { t.placement.cut.after_blocks = {0, 1}; }), HasSubstr("2 cuts do not make 2 stages"));
  EXPECT_THAT(message_after([](T& t) { t.placement.cut.after_blocks = {-1}; }), HasSubstr("not ascending"));
  EXPECT_THAT(message_after([](T& t) { t.placement.stages[1].clear(); }), HasSubstr("stage 1: nobody holds it"));
  EXPECT_THAT(message_after([](T& t) { t.placement.stages[1] = {3}; }), HasSubstr("worker 3 is none of the job's 3"));
  EXPECT_THAT(message_after([](T& t) { t.placement.stages[1] = {1, 0}; }), HasSubstr("worker 0 already holds stage 0"));
  EXPECT_THAT(message_after([](T& t) { t.orders.pop_back(); }), HasSubstr("orders for 2 workers, the job has 3"));
  EXPECT_THAT(message_after([](T& t) { t.routes.clear(); }), HasSubstr("0 micro-batches"));
  EXPECT_THAT(message_after([](T& t) { t.routes[1].pop_back(); }), HasSubstr("micro-batch 1: its route has 1 workers"));
  EXPECT_THAT(message_after([](T& t) { t.routes[1][1] = 2; }), HasSubstr("worker 2 does not hold stage 1"));
  EXPECT_THAT(message_after([](T& t) { t.routes[1][1] = -1; }), HasSubstr("worker -1 does not hold stage 1"));
  EXPECT_THAT(message_after([](T& t) { t.orders[2] = t.orders[1]; }), HasSubstr("worker 2: F0 stands in its order, but"));
  EXPECT_THAT(message_after([](T& t) { t.orders[0].work.pop_back(); }), HasSubstr("worker 0: B1 is missing"));
  EXPECT_THAT(message_after([](T& t) { t.orders[1].work.clear(); }), HasSubstr("worker 1: F0 is missing"));
  EXPECT_THAT(message_after([](T& t) { t.orders[0].work[1] = {forward, 0}; }), HasSubstr("F0 stands twice"));
  EXPECT_THAT(message_after([](T& t) { t.orders[0].work[1] = {backward, 1}; }), HasSubstr("B1 comes before its forward"));
  EXPECT_THAT(message_after([](T& t) { t.orders[0].work[1].micro_batch = 2; }), HasSubstr("the step has 2 micro-batches"));
  EXPECT_THAT(message_after([](T& t) { t.orders[0].work[1].phase = update; }), HasSubstr("an update"));
  EXPECT_THAT(message_after([](T& t) { t.orders[0].slots = 1; }), HasSubstr("needs 2 slots, not 1"));
  EXPECT_THAT(message_after([](T& t) { t.orders[0].slots = 3; }), HasSubstr("needs 2 slots, not 3"));
}

// Any one change of a sound table is refused, or is an order that is sound, too: then it is one of works that was swapped.
TEST(RouteTable, RandomDamageIsRefused) {
  int swaps_that_hold = 0;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    const RandomPool pool = random_pool(seed);
    const auto made = make_route_table(pool.placement, pool.micro_batches, pool.speeds);
    ASSERT_TRUE(made.has_value());
    RandomDraw draw(seed + 1'000'000);
    RouteTable table = *made;
    std::vector<WorkerOrder*> busy;
    for (WorkerOrder& order : table.orders)
      if (!order.work.empty()) busy.push_back(&order);
    WorkerOrder& order = *busy[static_cast<std::size_t>(draw.whole(0, static_cast<std::int64_t>(busy.size()) - 1))];
    const auto any = [&] { return static_cast<std::size_t>(draw.whole(0, static_cast<std::int64_t>(order.work.size()) - 1)); };
    const std::int64_t kind = draw.whole(0, 3);
    if (kind == 0) order.work.erase(order.work.begin() + static_cast<std::ptrdiff_t>(any()));
    if (kind == 1) order.work.push_back(order.work[any()]);
    if (kind == 2) order.slots += static_cast<int>(draw.whole(1, 3));
    if (kind == 3) std::swap(order.work[any()], order.work[any()]);
    const Status status = check(table, pool.workers);
    if (kind != 3) {
      EXPECT_FALSE(status) << seed;
    } else if (status) {
      ++swaps_that_hold;
      EXPECT_EQ(order.slots, peak_slots(order.work));
    }
  }
  EXPECT_LT(swaps_that_hold, 60);
}

// If a table holds with some credits it holds with more.
TEST(RouteTable, MoreCreditsNeverHurt) {
  int stuck = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const RandomPool pool = random_pool(seed);
    auto table = make_route_table(pool.placement, pool.micro_batches, pool.speeds, {.most_slots = 8, .credits = 16});
    ASSERT_TRUE(table.has_value());
    bool held = false;
    for (int credits : {1, 2, 3, 4, 8, 16}) {
      table->credits = credits;
      const bool holds = check(*table, pool.workers).has_value();
      EXPECT_TRUE(holds || !held) << seed << " credits " << credits;
      held = holds;
      stuck += !holds;
    }
    EXPECT_TRUE(held);
  }
  EXPECT_GT(stuck, 20);  // some of these tables do stop with few
}

}  // namespace
}  // namespace suanli::route
