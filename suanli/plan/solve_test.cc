#include "suanli/plan/solve.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace suanli::plan {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

double expected(const Report& report, std::string_view key) {
  const Figure* figure = report.find(key);
  EXPECT_NE(figure, nullptr) << key;
  return figure ? figure->value.expected : NAN;
}

SolveQuestion question(Unknown unknown) {
  SolveQuestion asked;
  asked.unknown = unknown;
  asked.run.cluster.device = AcceleratorTable::built_in().find("H100").value();
  asked.run.price_per_hour = 2;
  return asked;
}

// Each unknown of one run is found again from the others.
TEST(Solve, IsTheInverseOfThePlan) {
  LargeRun run = question(Unknown::days).run;
  run.model.parameters = 70e9;
  run.tokens = 2e12;
  run.cluster.devices = 1024;
  run.mfu = 0.4;
  const Report plan = plan_large_run(run).value().report;
  const double days = expected(plan, "time_s") / 86400, money = expected(plan, "money_usd");

  SolveQuestion asked = question(Unknown::parameters);
  asked.run = run;
  asked.run.model.parameters = 0;
  asked.days = days;
  EXPECT_NEAR(expected(solve(asked).value(), "parameters"), 70e9, 0.7e9);
  asked.days.reset();
  asked.money = money;
  EXPECT_NEAR(expected(solve(asked).value(), "parameters"), 70e9, 0.7e9);

  asked.unknown = Unknown::tokens;
  asked.run = run;
  asked.run.tokens = 0;
  EXPECT_NEAR(expected(solve(asked).value(), "tokens"), 2e12, 0.02e12);

  asked.unknown = Unknown::devices;
  asked.run = run;
  asked.run.cluster.devices = 0;
  asked.money.reset();
  asked.days = days;
  EXPECT_NEAR(expected(solve(asked).value(), "devices"), 1024, 12);

  asked.unknown = Unknown::money;
  EXPECT_NEAR(expected(solve(asked).value(), "money_usd"), money, 0.01 * money);

  asked.unknown = Unknown::days;
  asked.run = run;
  asked.days.reset();
  EXPECT_NEAR(expected(solve(asked).value(), "days"), days, 1e-6 * days);
}

TEST(Solve, WithoutAMfuTheAnswerIsOneThatPlansTheSame) {
  SolveQuestion asked = question(Unknown::devices);
  asked.run.model.parameters = 70e9;
  asked.run.tokens = 2e12;
  asked.days = 30;
  const double devices = expected(solve(asked).value(), "devices");
  LargeRun run = asked.run;
  run.cluster.devices = std::llround(std::ceil(devices / 64)) * 64;
  const double days = expected(plan_large_run(run).value().report, "time_s") / 86400;
  EXPECT_NEAR(days * static_cast<double>(run.cluster.devices), 30 * devices, 0.05 * 30 * devices);
}

TEST(Solve, UncertaintyOfTheMfuIsUncertaintyOfTheAnswer) {
  SolveQuestion asked = question(Unknown::parameters);
  asked.run.tokens = 2e12;
  asked.run.cluster.devices = 1024;
  asked.days = 30;
  const Interval parameters = solve(asked).value().find("parameters")->value;
  EXPECT_LT(parameters.low, 0.9 * parameters.expected);
  EXPECT_GT(parameters.high, 1.1 * parameters.expected);
}

// C = 6 N D with D = 20 N: N = sqrt(C / 120). Chinchilla itself: 5.76e23 FLOP, 70e9 parameters, 1.4e12 tokens.
TEST(Solve, SplitsAsChinchilla) {
  SolveQuestion asked = question(Unknown::split);
  asked.run.counts_attention = false;
  asked.flops = 6 * 70e9 * 1.4e12;
  const Report report = solve(asked).value();
  EXPECT_NEAR(expected(report, "parameters"), 70e9, 1e6);
  EXPECT_NEAR(expected(report, "tokens"), 1.4e12, 1e8);
  EXPECT_EQ(report.find("days"), nullptr) << "no devices are given";
  asked.tokens_per_parameter = 80;
  EXPECT_NEAR(expected(solve(asked).value(), "parameters"), 35e9, 1e6);
  asked.flops.reset();
  asked.run.cluster.devices = 1024;
  asked.days = 30;
  const Report by_time = solve(asked).value();
  EXPECT_NEAR(expected(by_time, "tokens"), 80 * expected(by_time, "parameters"), 1e6);
  EXPECT_NEAR(expected(by_time, "days"), 30, 1e-6);
}

TEST(Solve, NamesWhatIsMissingOrTooMuch) {
  SolveQuestion asked = question(Unknown::parameters);
  asked.run.tokens = 1e12;
  Error error = solve(asked).error();
  EXPECT_EQ(error.code, ErrorCode::usage);
  EXPECT_THAT(error.message, AllOf(HasSubstr("devices (--count)"), HasSubstr("days (--days)"), HasSubstr("must be given")));
  EXPECT_THAT(error.next_step, HasSubstr("--tokens, --count and --days"));
  asked.run.cluster.devices = 8;
  asked.days = 3;
  asked.money = 1e6;
  EXPECT_THAT(solve(asked).error().message, HasSubstr("must not be given"));
  asked = question(Unknown::days);
  asked.run.model.parameters = 1e9;
  asked.run.tokens = 1e9;
  asked.run.cluster.devices = 8;
  asked.days = 1;
  EXPECT_THAT(solve(asked).error().message, HasSubstr("days (--days) follow from the rest"));
}

TEST(Solve, SaysWhatHasNoSolution) {
  SolveQuestion asked = question(Unknown::devices);
  asked.run.model.parameters = 405e9;
  asked.run.tokens = 15e12;
  asked.days = 1e-4;
  const Error error = solve(asked).error();
  EXPECT_EQ(error.code, ErrorCode::usage);
  EXPECT_THAT(error.message, HasSubstr("no number of devices"));
  asked = question(Unknown::money);
  asked.run.cluster.device = AcceleratorTable::built_in().find("TPU v5p").value();
  asked.run.price_per_hour.reset();
  asked.run.model.parameters = 1e9;
  asked.run.tokens = 1e10;
  asked.run.cluster.devices = 8;
  EXPECT_THAT(solve(asked).error().message, HasSubstr("no price"));
}

TEST(Solve, AnAnswerThatDoesNotFitIsWarnedOf) {
  SolveQuestion asked = question(Unknown::parameters);
  asked.run.cluster.device = AcceleratorTable::built_in().find("RTX 4090").value();
  asked.run.tokens = 1e8;
  asked.run.cluster.devices = 8;
  asked.days = 100;
  const Report report = solve(asked).value();
  ASSERT_FALSE(report.warnings.empty());
  EXPECT_EQ(report.warnings[0].code, ErrorCode::no_memory);
}

// At the bad end of an assumption there is no answer: no bound of a search may stand for one.
TEST(Solve, AnEndWithoutASolutionIsNoNumberOfTrillions) {
  SolveQuestion asked = question(Unknown::devices);
  asked.run.model.parameters = 405e9;
  asked.run.tokens = 15.6e12;
  asked.days = 60;
  const Report report = solve(asked).value();
  EXPECT_LT(report.find("devices")->value.high, 1e7);
  EXPECT_TRUE(report.find("days")->value.is_exact()) << "it is given";
  bool is_said = false;
  for (const Error& each : report.warnings) is_said |= each.message.find("no number of devices keeps 60 days if") == 0;
  EXPECT_TRUE(is_said);
}

// Time falls with devices and rises again: the answer lies on the falling side.
TEST(Solve, FindsTheFewestWhereMoreTakeLonger) {
  SolveQuestion asked = question(Unknown::devices);
  asked.run.model.parameters = 1e9;
  asked.run.tokens = 2e10;
  asked.run.mfu = 0.4;
  asked.run.fault_preset = "preemptible";
  asked.days = 0.25;
  const double devices = expected(solve(asked).value(), "devices");
  const auto days = [&](double count) {
    LargeRun run = asked.run;
    run.cluster.devices = std::llround(count);
    return expected(plan_large_run(run).value().report, "time_s") / 86400;
  };
  EXPECT_LT(devices, 5000);
  EXPECT_NEAR(days(std::ceil(devices)), 0.25, 0.02);
}

// The layout that the search settles for fails; 56 devices, laid out for themselves, take 0.234 days.
TEST(Solve, LaysOutOtherNumbersBeforeItGivesUp) {
  SolveQuestion asked = question(Unknown::devices);
  asked.run.model.parameters = 1e9;
  asked.run.tokens = 2e10;
  asked.run.fault_preset = "preemptible";
  asked.days = 0.25;
  const auto report = solve(asked);
  ASSERT_TRUE(report) << report.error().to_string();
  EXPECT_LE(report->find("goodput")->value.high, 1);
  const std::string tried = "of the numbers tried, each a quarter larger, ";
  const auto told = std::ranges::find_if(report->warnings, [&](const Error& each) { return each.message.starts_with(tried); });
  ASSERT_NE(told, report->warnings.end());
  LargeRun run = asked.run;
  run.cluster.devices = std::stoll(told->message.substr(tried.size()));
  EXPECT_LE(expected(plan_large_run(run).value().report, "time_s") / 86400, 0.25);
}

}  // namespace
}  // namespace suanli::plan
