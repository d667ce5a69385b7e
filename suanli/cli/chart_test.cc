#include "suanli/cli/chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace suanli::cli {
namespace {

using ::testing::DoubleEq;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

Chart chart_of(std::vector<Point> points) {
  return {"t", "x", "y", {{"s", std::move(points), false}}};
}

TEST(Chart, RangesLeaveOutWhatIsNotFinite) {
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  const Chart chart = chart_of({{1, 5}, {2, nan}, {3, infinity}, {4, 2}, {nan, 100}});
  EXPECT_EQ(x_range(chart).low, 1);
  EXPECT_EQ(x_range(chart).high, 4);
  EXPECT_EQ(y_range(chart).low, 2);
  EXPECT_EQ(y_range(chart).high, 5);
}

TEST(Chart, RangesAlwaysHaveWidth) {
  for (const double value : {0.0, 3.0, -1e12, 1e-20})
    EXPECT_GT(y_range(chart_of({{1, value}})).size(), 0) << value;
  EXPECT_EQ(y_range(chart_of({})).size(), 1);
}

TEST(Chart, TicksAreRoundAndInside) {
  EXPECT_THAT(ticks({0, 10}, 5), ElementsAre(0, 2, 4, 6, 8, 10));
  EXPECT_THAT(ticks({2.3, 5.5}, 4), ElementsAre(3, 4, 5));
  EXPECT_THAT(ticks({-0.25, 0.25}, 5), ElementsAre(DoubleEq(-0.2), DoubleEq(-0.1), DoubleEq(0),
                                                   DoubleEq(0.1), DoubleEq(0.2)));
  EXPECT_THAT(ticks({0, 60'000}, 6),
              ElementsAre(0, 10'000, 20'000, 30'000, 40'000, 50'000, 60'000));
}

TEST(Chart, TickLabelsTellNeighboursApart) {
  EXPECT_THAT(tick_labels(std::vector{0.0, 0.5, 1.0}), ElementsAre("0.0", "0.5", "1.0"));
  EXPECT_THAT(tick_labels(std::vector{1.25, 1.3, 1.35}), ElementsAre("1.25", "1.30", "1.35"));
  EXPECT_THAT(tick_labels(std::vector{-200.0, -0.0, 200.0}), ElementsAre("-200", "0", "200"));
  EXPECT_THAT(tick_labels(std::vector{0.0, 2e6}), ElementsAre("0", "2e+06"));
  EXPECT_THAT(tick_labels({}), IsEmpty());
}

TEST(Chart, ThinningKeepsMeans) {
  std::vector<Point> points;
  for (int i = 0; i < 1000; ++i) points.push_back({static_cast<double>(i), i < 500 ? 1.0 : 3.0});
  const auto few = thinned(points, {0, 999}, 10);
  ASSERT_EQ(few.size(), 10u);
  EXPECT_DOUBLE_EQ(few.front().y, 1);
  EXPECT_DOUBLE_EQ(few.back().y, 3);
  EXPECT_NEAR(few.front().x, 49.5, 1);
  EXPECT_EQ(thinned(points, {0, 999}, 2000).size(), 1000u) << "few enough already";
}

}  // namespace
}  // namespace suanli::cli
