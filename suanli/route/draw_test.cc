#include "suanli/route/draw.h"

#include <gtest/gtest.h>

#include <sstream>

#include "suanli/route/random_placement_for_test.h"
#include "suanli/route/schedule.h"

namespace suanli::route {
namespace {

TEST(Draw, ShowsAStep) {
  Placement placement{{{0}}, {{0}, {1}}};
  const Speeds speeds{{Seconds(1), Seconds(1), Seconds(9)}, {Seconds(2), Seconds(2), Seconds(9)}};
  const auto table = make_route_table(placement, 3, speeds);
  ASSERT_TRUE(table.has_value());
  // Twelve seconds; four columns each.
  EXPECT_EQ(draw(*table, speeds, 17 + 48),
            "3 micro-batches in 12.0 s; one column is 250 ms\n"
            "worker 0 stage 0 F0ffF1ff........B0bbbbbbF2ffB1bbbbbb....B2bbbbbb\n"
            "worker 1 stage 1 ....F0ffB0bbbbbbF1ffB1bbbbbbF2ffB2bbbbbb........\n"
            "worker 2 stands by\n");
}

TEST(Draw, NoLineIsLongerThanAsked) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const RandomPool pool = random_pool(seed);
    const auto table = make_route_table(pool.placement, pool.micro_batches, pool.speeds);
    ASSERT_TRUE(table.has_value());
    for (int columns : {40, 80, 120}) {
      std::istringstream lines(draw(*table, pool.speeds, columns));
      std::size_t count = 0;
      for (std::string line; std::getline(lines, line); ++count)
        EXPECT_LE(count == 0 ? 0 : line.size(), static_cast<std::size_t>(columns)) << line;
      EXPECT_EQ(count, pool.workers + 1);
    }
  }
}

TEST(Draw, AStepWithoutTimeHasAPicture) {
  const Speeds speeds{{Seconds(0)}, {Seconds(0)}};
  const auto table = make_route_table({{}, {{0}}}, 2, speeds);
  ASSERT_TRUE(table.has_value());
  EXPECT_NE(draw(*table, speeds).find("worker 0 stage 0 ...."), std::string::npos);
}

}  // namespace
}  // namespace suanli::route
