#include "suanli/cli/plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace suanli::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr Terminal kAscii{};
constexpr Terminal kUtf8{.utf8 = true};

Chart falling(int count) {
  Chart chart{"loss", "step", "nats", {{"training", {}, false}, {"validation", {}, true}}};
  for (int i = 1; i <= count; ++i) chart.series[0].points.push_back({double(i), 1 + 4.0 / i});
  chart.series[1].points = {{count / 2.0, 2}, {double(count), 1.5}};
  return chart;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines(1);
  for (const char c : text) {
    if (c == '\n')
      lines.emplace_back();
    else
      lines.back() += c;
  }
  lines.pop_back();
  return lines;
}

TEST(Plot, AsciiNeedsNothingElse) {
  const std::string text = plot(falling(40), kAscii);
  EXPECT_TRUE(std::ranges::all_of(text, [](unsigned char c) {
    return c == '\n' || (c >= 32 && c < 127);
  })) << text;
  EXPECT_THAT(text, HasSubstr("o validation"));
  EXPECT_THAT(text, HasSubstr("step"));
}

TEST(Plot, HasTheSizeThatWasAskedFor) {
  for (const Terminal& terminal : {kAscii, kUtf8}) {
    const auto lines = lines_of(plot(falling(400), terminal, {.columns = 60, .rows = 12}));
    ASSERT_EQ(lines.size(), 1 + 12 + 2u);
    for (std::size_t i = 1; i <= 12; ++i) EXPECT_LE(columns_of(lines[i]), 60u);
  }
}

// The curve falls: its first mark is high on the left, its last one low on the right.
TEST(Plot, PutsPointsWhereTheyBelong) {
  Chart chart{"t", "x", "y", {{"s", {{0, 10}, {1, 0}}, true}}};
  const auto lines = lines_of(plot(chart, kAscii, {.columns = 40, .rows = 10}));
  const auto column = [&](std::size_t line) { return lines[line].find('.'); };
  ASSERT_NE(column(1), std::string::npos) << "the highest row";
  ASSERT_NE(column(10), std::string::npos) << "the lowest row";
  EXPECT_LT(column(1), column(10));
  EXPECT_THAT(lines[1], HasSubstr("10 +"));
}

TEST(Plot, ColoursOnlyIfTheTerminalHasThem) {
  EXPECT_THAT(plot(falling(40), kUtf8), Not(HasSubstr("\x1b[")));
  EXPECT_THAT(plot(falling(40), {.is_tty = true, .colour = true, .utf8 = true}),
              HasSubstr("\x1b[36m"));
}

TEST(Plot, NothingToPlotIsSaid) {
  EXPECT_EQ(plot({"loss", "x", "y", {{"s", {}, false}}}, kUtf8), "loss: nothing to plot yet\n");
  EXPECT_EQ(plot({"loss", "x", "y", {{"s", {{1, std::nan("")}}, false}}}, kUtf8),
            "loss: nothing to plot yet\n");
  EXPECT_THAT(plot({"loss", "x", "y", {{"s", {{1, 2}}, false}}}, kUtf8), HasSubstr("⠤⠤ s"))
      << "one point is enough";
}

}  // namespace
}  // namespace suanli::cli
