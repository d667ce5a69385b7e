#include "suanli/cli/svg.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <regex>

namespace suanli::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// Tags close in the order in which they opened.
void expect_well_formed(const std::string& xml) {
  std::vector<std::string> open;
  const std::regex tag("<(/?)([a-z]+)[^<>]*?(/?)>");
  for (auto it = std::sregex_iterator(xml.begin(), xml.end(), tag); it != std::sregex_iterator();
       ++it) {
    const std::string name = (*it)[2];
    if ((*it)[3].length() > 0) continue;
    if ((*it)[1].length() == 0) {
      open.push_back(name);
      continue;
    }
    ASSERT_FALSE(open.empty()) << name;
    EXPECT_EQ(open.back(), name);
    open.pop_back();
  }
  EXPECT_TRUE(open.empty());
}

Chart two_series() {
  return {"loss",
          "step",
          "nats",
          {{"train", {{1, 5}, {2, 4}, {3, 3.5}}, false}, {"valid", {{3, 3.7}}, true}}};
}

TEST(Svg, IsAWholeDocument) {
  const std::string svg = line_chart_svg(two_series());
  expect_well_formed(svg);
  EXPECT_THAT(svg, HasSubstr("viewBox=\"0 0 800 450\""));
  EXPECT_THAT(svg, HasSubstr(">train<"));
  EXPECT_THAT(svg, HasSubstr(">valid<"));
  EXPECT_THAT(svg, HasSubstr(">step<"));
  EXPECT_THAT(svg, HasSubstr("<circle"));
  EXPECT_THAT(svg, HasSubstr("prefers-color-scheme:dark"));
  EXPECT_EQ(svg, line_chart_svg(two_series())) << "the same chart gives the same bytes";
}

TEST(Svg, PointsLieInThePicture) {
  const std::string svg = line_chart_svg(two_series());
  const std::size_t start = svg.find("points=\"") + 8;
  const std::string points = svg.substr(start, svg.find('"', start) - start);
  const std::regex pair("([-0-9.]+),([-0-9.]+)");
  int count = 0;
  double last_x = -1, last_y = -1;
  for (auto it = std::sregex_iterator(points.begin(), points.end(), pair);
       it != std::sregex_iterator(); ++it) {
    const double x = std::stod((*it)[1]), y = std::stod((*it)[2]);
    EXPECT_TRUE(x >= 0 && x <= 800 && y >= 0 && y <= 450) << points;
    EXPECT_TRUE(x > last_x && y > last_y) << "a falling loss goes down the page: " << points;
    last_x = x;
    last_y = y;
    ++count;
  }
  EXPECT_EQ(count, 3);
}

TEST(Svg, EscapesText) {
  EXPECT_EQ(xml_escaped("<a href=\"x\">&'</a>"),
            "&lt;a href=&quot;x&quot;&gt;&amp;&#39;&lt;/a&gt;");
  EXPECT_EQ(xml_escaped(std::string("a\0b\x1b", 4)),
            "a\xEF\xBF\xBD"
            "b\xEF\xBF\xBD");
  Chart chart = two_series();
  chart.title = "<script>";
  const std::string svg = line_chart_svg(chart);
  EXPECT_THAT(svg, Not(HasSubstr("<script>")));
  expect_well_formed(svg);
}

TEST(Svg, ManyPointsStayASmallFile) {
  Chart chart{"t", "x", "y", {{"s", {}, false}}};
  for (int i = 0; i < 100'000; ++i)
    chart.series[0].points.push_back({double(i), std::sin(i * 0.001)});
  EXPECT_LT(line_chart_svg(chart).size(), 20'000u);
}

TEST(Svg, EmptyChartIsADocumentToo) {
  const std::string svg = line_chart_svg({"nothing", "x", "y", {{"s", {}, false}}});
  expect_well_formed(svg);
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
}

TEST(Svg, LogarithmicAxesSpreadDecadesEvenlyAndLeaveOutWhatIsNotAboveZero) {
  Chart chart{.title = "roofline", .x_label = "FLOP/B", .y_label = "FLOP/s", .log_x = true, .log_y = true};
  chart.series = {{"points", {{0.01, 1}, {1, 100}, {100, 10'000}, {0, 5}, {-3, 5}}, true, false}};
  const std::string svg = line_chart_svg(chart, {.width = 800, .height = 450});
  EXPECT_EQ(svg.find("polyline"), std::string::npos);  // a scatter
  std::vector<double> at;
  for (std::size_t next = svg.find("<circle cx=\""); next != std::string::npos; next = svg.find("<circle cx=\"", next + 1))
    at.push_back(std::stod(svg.substr(next + 12)));
  ASSERT_EQ(at.size(), 3U);
  EXPECT_NEAR(at[1] - at[0], at[2] - at[1], 0.2);
  EXPECT_NE(svg.find(">0.01<"), std::string::npos) << svg;
  EXPECT_NE(svg.find(">100<"), std::string::npos);
}

}  // namespace
}  // namespace suanli::cli
