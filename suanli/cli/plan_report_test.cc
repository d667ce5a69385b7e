#include "suanli/cli/plan_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace suanli::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

plan::Report report_of(plan::Interval mfu) {
  plan::Report report = plan::estimate(
      {{"mfu_given", "utilisation", mfu, "fraction", "arXiv:2407.21783 Table 4"},
       {"work", "to do", plan::Interval::exactly(1e20), "FLOP", "given"}},
      [](const plan::Values& v) {
        return plan::Figures{{"time_s", v["work"] / (1e15 * v["mfu_given"]), "work / (peak x MFU)"},
                             {"mfu", v["mfu_given"], ""}};
      });
  report.warnings.push_back({ErrorCode::usage, "this looks odd", "--peak", "look again"});
  report.notes.push_back("a note");
  return report;
}

TEST(ValueText, EachUnitIsReadAsPeopleReadIt) {
  EXPECT_EQ(value_text(90'000, "s"), "1 d 01 h");
  EXPECT_EQ(value_text(0.4, "fraction"), "40.0 %");
  EXPECT_EQ(value_text(0.0025, "fraction"), "0.25 %");
  EXPECT_EQ(value_text(405e9, "1"), "405 billion");
  EXPECT_EQ(value_text(15.6e12, "token"), "15.6 trillion tokens");
  EXPECT_EQ(value_text(16'384, "1"), "16384");
  EXPECT_EQ(value_text(24'033.4, "1"), "24033");
  EXPECT_EQ(value_text(1431.08, "token/s"), "1431 token/s");
  EXPECT_EQ(value_text(960e6, "USD"), "960 million USD");
  EXPECT_EQ(value_text(3.645e25, "FLOP"), "3.645e+25 FLOP");
  EXPECT_EQ(value_text(29.03e9 * 3600, "J"), "29.0 GWh");
  EXPECT_EQ(value_text(1.5, "J"), "1.50 J");
  EXPECT_EQ(value_text(double(std::int64_t{3} << 29), "B"), "1.50 GiB");
  EXPECT_EQ(value_text(0.083, "USD/kWh"), "0.083 USD/kWh");
  EXPECT_EQ(value_text(-2e6, "USD"), "-2 million USD");
  EXPECT_EQ(value_text(1e300, "1"), "1e+300");
  EXPECT_EQ(value_text(std::nan(""), "s"), "unknown");
}

TEST(PlanText, ShowsIntervalsAndWithWhyTheirReasons) {
  const plan::Report report = report_of({0.2, 0.4, 0.5});
  const std::string brief = plan_text(report, false), full = plan_text(report, true);
  EXPECT_THAT(brief, HasSubstr("40.0 %"));
  EXPECT_THAT(brief, Not(HasSubstr("Table 4")));
  EXPECT_THAT(full, HasSubstr("work / (peak x MFU)"));
  EXPECT_THAT(full, HasSubstr("uncertain because of mfu_given (100 %)"));
  EXPECT_THAT(full, HasSubstr("arXiv:2407.21783 Table 4"));
  EXPECT_THAT(full, HasSubstr("a note"));
  EXPECT_THAT(full, HasSubstr("40.0 % (20.0 % to 50.0 %)"));
}

TEST(PlanJson, HoldsFiguresByKeyWithUnitsAndReasons) {
  const Json json = plan_json(report_of({0.2, 0.4, 0.5}));
  EXPECT_DOUBLE_EQ(json["figures"]["time_s"]["expected"].get<double>(), 250'000);
  EXPECT_DOUBLE_EQ(json["figures"]["time_s"]["low"].get<double>(), 200'000);
  EXPECT_DOUBLE_EQ(json["figures"]["time_s"]["high"].get<double>(), 500'000);
  EXPECT_EQ(json["figures"]["time_s"]["unit"], "s");
  EXPECT_EQ(json["figures"]["time_s"]["influences"][0]["assumption"], "mfu_given");
  EXPECT_EQ(json["assumptions"][1]["source"], "given");
  EXPECT_EQ(json["warnings"][0]["place"], "--peak");
}

}  // namespace
}  // namespace suanli::cli
