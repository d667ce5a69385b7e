#include "suanli/plan/prices.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace suanli::plan {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string entry(const std::string& section, const std::string& change = "") {
  return "[[" + section + "]]\nname = \"a\"\ntext = \"b\"\nlow = 1\nexpected = 2\nhigh = 3\nyear = 2024\nsource = \"c\"\n" +
         change;
}

std::string error_of(const std::string& text) {
  const auto table = PriceTable::parse(text, "p.toml");
  return table ? "" : table.error().to_string();
}

TEST(Prices, TheLibrarysOwnAreFoundByNameAndAlias) {
  EXPECT_DOUBLE_EQ(prices().electricity(kUsualElectricity)->value.expected, 0.0815);
  EXPECT_EQ(prices().renting("h100")->name, "H100-SXM-80GB");
  EXPECT_EQ(prices().renting("A100-PCIe-80GB")->name, "A100-SXM-80GB");
  EXPECT_EQ(prices().overhead(kNoOverhead)->value, Interval::exactly(1));
  EXPECT_GT(prices().overhead(kUsualOverhead)->value.expected, 1);
  for (const auto* presets : {&prices().electricity(), &prices().renting(), &prices().overhead()})
    for (const PricePreset& each : *presets) EXPECT_THAT(each.source, StartsWith(std::to_string(each.year))) << each.name;
}

TEST(Prices, AnUnknownNameIsToldWithTheNearest) {
  const auto wrong = prices().overhead("hyperscal");
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code, ErrorCode::usage);
  EXPECT_THAT(wrong.error().message, HasSubstr("did you mean 'hyperscale'?"));
}

TEST(Prices, WhatIsWrongIsNamedWithItsLine) {
  EXPECT_EQ(error_of(entry("electricity")), "");
  EXPECT_THAT(error_of(entry("electricty")), AllOf(HasSubstr("p.toml:1"), HasSubstr("did you mean 'electricity'?")));
  EXPECT_THAT(error_of(entry("renting", "hihg = 3\n")), AllOf(HasSubstr("p.toml:9"), HasSubstr("did you mean 'high'?")));
  EXPECT_THAT(error_of(entry("overhead") + entry("overhead")), HasSubstr("'a' stands there twice"));
  EXPECT_THAT(error_of("[[electricity]]\nname = \"a\"\ntext = \"b\"\nlow = -1\n"),
              HasSubstr("p.toml:4: 'electricity.low' is -1"));
  EXPECT_THAT(error_of("[[electricity]]\nname = \"a\"\ntext = \"b\"\nlow = nan\n"), HasSubstr("'electricity.low' is nan"));
  EXPECT_THAT(error_of("[[electricity]]\nname = 3\n"), HasSubstr("'electricity.name' is 3"));
  EXPECT_THAT(error_of("[[electricity]]\nname = \"a\"\n"), HasSubstr("'electricity.text' is missing"));
  EXPECT_THAT(error_of("[electricity]\nname = \"a\"\n"), HasSubstr("write [[electricity]]"));
  EXPECT_THAT(error_of("[[electricity\n"), HasSubstr("p.toml:1: the file is not TOML"));
}

TEST(Prices, AnIntervalIsInOrder) {
  const std::string text =
      "[[overhead]]\nname = \"a\"\ntext = \"b\"\nlow = 2\nexpected = 1\nhigh = 3\nyear = 2024\nsource = \"c\"\n";
  EXPECT_THAT(error_of(text), HasSubstr("'overhead.expected' is 1, which is not between low and high"));
}

TEST(Prices, ABuildingUsesAtLeastWhatIsInIt) {
  const std::string text =
      "[[overhead]]\nname = \"a\"\ntext = \"b\"\nlow = 0.5\nexpected = 1\nhigh = 3\nyear = 2024\nsource = \"c\"\n";
  EXPECT_THAT(error_of(text), HasSubstr("'overhead.low' is 0.5"));
}

}  // namespace
}  // namespace suanli::plan
