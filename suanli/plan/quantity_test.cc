#include "suanli/plan/quantity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace suanli::plan {
namespace {

using ::testing::HasSubstr;
using enum QuantityKind;

TEST(Quantity, IsReadAsPeopleWriteIt) {
  const struct { const char* text; QuantityKind kind; double value; } cases[] = {
      {"405e9", parameters, 405e9},   {"405B", parameters, 405e9},          {"405B params", parameters, 405e9},
      {"1.5 T", parameters, 1.5e12},  {"15.6T", tokens, 15.6e12},           {" 15T tokens ", tokens, 15e12},
      {"15e12 tokens", tokens, 15e12}, {"100k", devices, 1e5},              {"16384 GPUs", devices, 16384},
      {"3.8e25", flops, 3.8e25},      {"21 PFLOP", flops, 21e15},           {"3640 PFLOP/s-days", flops, 3640e15 * 86400},
      {"989T", flops_per_second, 989e12}, {"989 TFLOP/s", flops_per_second, 989e12}, {"0.4", fraction, 0.4},
      {"40 %", fraction, 0.4},        {"40%", fraction, 0.4},               {"100", days, 100},
      {"36h", days, 1.5},             {"2 weeks", days, 14},                {"3h", duration, 10800},
      {"90", duration, 90},           {"0.7 kW", watts, 700},               {"$30k", dollars, 30000},
      {"0.96G USD", dollars, 0.96e9}, {"2 USD/h", dollars_per_hour, 2},     {"$2/h", dollars_per_hour, 2},
      {"83 USD/MWh", dollars_per_kwh, 0.083}, {"8760 kWh/year", household_power, 1000}, {"8760", household_power, 1000},
      {"1.1", number, 1.1}, {"70 %", number, 0.7}, {"900 kWh/month", household_power, 1250}, {"1.2 kW", household_power, 1200},
  };
  for (const auto& each : cases) {
    const Result<double> value = parse_quantity(each.text, each.kind, "--x");
    ASSERT_TRUE(value.has_value()) << each.text << ": " << value.error().message;
    EXPECT_NEAR(*value, each.value, 1e-12 * each.value) << each.text;
  }
}

TEST(Quantity, WhatIsImpossibleIsNamed) {
  const struct { const char* text; QuantityKind kind; const char* message; } cases[] = {
      {"-5", tokens, "'-5' is negative"},
      {"0", devices, "'0' is zero"},
      {"nan", tokens, "not a finite number"},
      {"inf", parameters, "not a finite number"},
      {"1e400", parameters, "beyond all numbers"},
      {"", tokens, "is not a number of tokens"},
      {"many", tokens, "is not a number of tokens"},
      {"1,979", flops_per_second, "has a comma"},
      {"1.2", fraction, "more than 1"},
      {"1e19", parameters, "more than 1e+18"},
      {"0.5", parameters, "less than 1"},
      {"1e-9", fraction, "less than 1e-06"},
      {"2e6", number, "more than 1e+06"},
      {"15T tokens", parameters, "is a number of tokens, where a number of parameters is expected"},
      {"989 TFLOP/s", flops, "is a rate in FLOP/s, where a number of operations is expected"},
      {"3.8e25 FLOP", flops_per_second, "is a number of operations, where a rate in FLOP/s is expected"},
      {"700 W", days, "is a power, where a time in days is expected"},
      {"5 apples", tokens, "ends in 'apples'"},
      {"15 Ttokens", tokens, "ends in 'Ttokens'"},
      {"40B", fraction, "where a fraction is expected"},
      {"1\x1b[2J", tokens, "\\x1b"},
  };
  for (const auto& each : cases) {
    const Result<double> value = parse_quantity(each.text, each.kind, "--x");
    ASSERT_FALSE(value.has_value()) << each.text;
    EXPECT_EQ(value.error().code, ErrorCode::usage);
    EXPECT_EQ(value.error().place, "--x");
    EXPECT_THAT(value.error().message, HasSubstr(each.message)) << each.text;
    EXPECT_FALSE(value.error().next_step.empty());
  }
}

}  // namespace
}  // namespace suanli::plan
