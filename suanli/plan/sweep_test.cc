#include "suanli/plan/sweep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace suanli::plan {
namespace {

using ::testing::HasSubstr;

SweepQuestion question(std::vector<std::string> names, std::vector<std::int64_t> counts) {
  SweepQuestion asked;
  asked.run.model.parameters = 70e9;
  asked.run.tokens = 2e12;
  const AcceleratorTable table = AcceleratorTable::built_in();
  for (const std::string& name : names) asked.devices.push_back(table.find(name).value());
  asked.counts = std::move(counts);
  return asked;
}

SweepPoint point(double time, double money) {
  SweepPoint made;
  made.time_s = Interval::exactly(time);
  made.money_usd = Interval::exactly(money);
  return made;
}

TEST(Frontier, IsWhatNothingElseBeats) {
  std::vector<SweepPoint> points = {point(1, 5), point(2, 4), point(2, 6), point(3, 4), point(4, 1), point(4, 1)};
  mark_frontier(points);
  std::vector<bool> marked;
  for (const SweepPoint& each : points) marked.push_back(each.is_on_frontier);
  EXPECT_EQ(marked, (std::vector<bool>{true, true, false, false, true, true}));
}

TEST(Sweep, EachPointIsThePlanOfItsRun) {
  const SweepQuestion asked = question({"A100", "H100"}, {512, 1024});
  const Sweep found = sweep(asked).value();
  ASSERT_EQ(found.points.size(), 4U);
  EXPECT_TRUE(found.is_rented) << "a rent is known for both";
  LargeRun run = asked.run;
  run.cluster.device = asked.devices[1];
  run.cluster.devices = 1024;
  const Report report = plan_large_run(run).value().report;
  EXPECT_EQ(found.points[3].time_s, report.find("time_s")->value);
  EXPECT_EQ(found.points[3].money_usd, report.find("renting_usd")->value);
  EXPECT_LT(found.points[1].time_s.expected, found.points[0].time_s.expected) << "more devices take less time";
}

TEST(Sweep, MoneyIsOfOneKind) {
  const Sweep found = sweep(question({"H100", "B200"}, {1024})).value();  // no rent of a B200 is known
  EXPECT_FALSE(found.is_rented);
  const auto nothing_known = sweep(question({"H100", "TPU v5p"}, {1024}));
  ASSERT_FALSE(nothing_known.has_value());
  EXPECT_THAT(nothing_known.error().message, HasSubstr("TPU-v5p"));
}

TEST(Sweep, WhatDoesNotFitIsLeftOutWithItsReason) {
  const Sweep found = sweep(question({"A100"}, {1, 8, 512})).value();
  ASSERT_EQ(found.points.size(), 1U);
  ASSERT_EQ(found.left_out.size(), 2U);
  EXPECT_EQ(found.left_out[0].reason.code, ErrorCode::no_memory);
  const auto nothing = sweep(question({"A100"}, {1}));
  ASSERT_FALSE(nothing.has_value());
  EXPECT_EQ(nothing.error().code, ErrorCode::no_memory);
}

}  // namespace
}  // namespace suanli::plan
