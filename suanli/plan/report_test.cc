#include "suanli/plan/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace suanli::plan {
namespace {

Report time_of(Interval rate, Interval work) {
  return estimate({{"rate", "of the machine", rate, "FLOP/s", "given"}, {"work", "to do", work, "FLOP", "given"}},
                  [](const Values& v) {
                    return Figures{{"time_s", v["work"] / v["rate"], "work / rate"}, {"flops", v["work"], "work"}};
                  });
}

TEST(Estimate, ExactAssumptionsGiveExactFigures) {
  const Report report = time_of(Interval::exactly(2), Interval::exactly(10));
  ASSERT_NE(report.find("time_s"), nullptr);
  EXPECT_EQ(report.find("time_s")->value, Interval::exactly(5));
  EXPECT_TRUE(report.find("time_s")->influences.empty());
  EXPECT_EQ(report.find("money_usd"), nullptr);
}

TEST(Estimate, OneUncertainAssumptionCarriesItsIntervalOver) {
  const Report report = time_of({1, 2, 4}, Interval::exactly(10));
  const Interval time = report.find("time_s")->value;
  EXPECT_DOUBLE_EQ(time.low, 2.5);
  EXPECT_DOUBLE_EQ(time.expected, 5);
  EXPECT_DOUBLE_EQ(time.high, 10);
  EXPECT_EQ(report.find("flops")->value, Interval::exactly(10));
}

TEST(Estimate, IndependentDeviationsAddUpAsSquares) {
  const Report report = time_of({1, 2, 4}, {5, 10, 20});  // both a factor of two each way
  const Interval time = report.find("time_s")->value;
  EXPECT_NEAR(time.high, 5 * std::pow(2, std::sqrt(2.0)), 1e-12);
  EXPECT_NEAR(time.low, 5 / std::pow(2, std::sqrt(2.0)), 1e-12);
  ASSERT_EQ(report.find("time_s")->influences.size(), 2U);
  EXPECT_DOUBLE_EQ(report.find("time_s")->influences[0].share, 0.5);
}

TEST(Estimate, AFigureThatMayBeZeroIsMovedAsItIs) {
  const Report report = estimate({{"rate", "", {-1, 0, 3}, "1", ""}},
                                 [](const Values& v) { return Figures{{"time_s", 2 * v["rate"], ""}}; });
  EXPECT_EQ(report.find("time_s")->value, (Interval{-2, 0, 6}));
}

TEST(Figures, EachHasOneRowWithAUnitAndAMeaning) {
  std::set<std::string_view> keys;
  for (const FigureKind& kind : figure_kinds()) {
    EXPECT_TRUE(keys.insert(kind.key).second) << kind.key;
    EXPECT_FALSE(kind.title.empty() || kind.unit.empty() || kind.meaning.empty()) << kind.key;
    EXPECT_THAT(plan_reference_markdown(), testing::HasSubstr("`" + std::string(kind.key) + "`"));
  }
}

}  // namespace
}  // namespace suanli::plan
