#include "suanli/plan/fleet.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "suanli/base/test_folder.h"

namespace suanli::plan {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* kFleet = R"([[link]]
between = ["desk", "attic"]
delay = "2ms"
rate = "1 Gbit/s"

[[link]]
delay = "20ms"
rate = "100 Mbit/s"

[[machine]]
name = "desk"
profile = "desk.json"
memory = "24Gi"
share = 0.5

[[machine]]
name = "attic"
device = "RTX 4090"
count = 3
price_per_hour = 0.4
watts = 450
)";

std::string error_of(const std::string& text) {
  const auto fleet = parse_fleet(text, "f.toml");
  if (fleet) return "";
  EXPECT_EQ(fleet.error().code, ErrorCode::config);
  EXPECT_FALSE(fleet.error().next_step.empty()) << fleet.error().to_string();
  return fleet.error().to_string();
}

std::string machine(const std::string& keys) { return "[[machine]]\nname = \"a\"\nprofile = \"a.json\"\n" + keys; }
std::string link(const std::string& keys) { return machine("") + "[[link]]\n" + keys; }
std::string rate(const std::string& text) { return link("delay = \"1ms\"\nrate = \"" + text + "\"\n"); }

TEST(Fleet, IsReadAsItStands) {
  const auto fleet = parse_fleet(kFleet, "f.toml");
  ASSERT_TRUE(fleet) << fleet.error().to_string();
  ASSERT_EQ(fleet->machines.size(), 2U);
  EXPECT_EQ(fleet->machines[0].memory, Bytes(std::int64_t{24} << 30));
  EXPECT_EQ(fleet->machines[0].share, 0.5);
  EXPECT_EQ(fleet->machines[0].count, 1);
  EXPECT_EQ(fleet->machines[0].place, "f.toml:11");
  EXPECT_EQ(fleet->machines[1].device, "RTX 4090");
  EXPECT_EQ(fleet->machines[1].count, 3);
  EXPECT_EQ(fleet->machines[1].price_per_hour, Dollars(0.4));
  EXPECT_EQ(fleet->machines[1].power, Watts(450));
}

TEST(Fleet, ALinkOfItsOwnGoesBeforeTheGeneralOne) {
  const auto fleet = parse_fleet(kFleet, "f.toml");
  ASSERT_TRUE(fleet);
  EXPECT_EQ(fleet->between("attic", "desk")->rate, BytesPerSecond(1.25e8));
  EXPECT_EQ(fleet->between("desk", "attic")->delay, Seconds(2e-3));
  EXPECT_EQ(fleet->between("attic", "attic")->rate, BytesPerSecond(1.25e7));
  EXPECT_EQ(parse_fleet(machine(""), "f.toml")->between("a", "a"), nullptr);
}

TEST(Fleet, ProfilesAreBesideTheFile) {
  const TestFolder folder;
  std::ofstream(folder / "f.toml") << kFleet;
  const auto fleet = load_fleet(folder / "f.toml");
  ASSERT_TRUE(fleet) << fleet.error().to_string();
  EXPECT_EQ(fleet->machines[0].profile, folder / "desk.json");
  EXPECT_EQ(load_fleet(folder / "none.toml").error().code, ErrorCode::not_found);
}

TEST(Fleet, WhatIsWrongIsNamedWithItsLine) {
  EXPECT_THAT(error_of(""), HasSubstr("the fleet has no machine"));
  EXPECT_THAT(error_of("[[machne]]\n"), AllOf(HasSubstr("f.toml:1"), HasSubstr("did you mean 'machine'?")));
  EXPECT_THAT(error_of("machine = 3\n"), HasSubstr("write [[machine]]"));
  EXPECT_THAT(error_of(machine("wats = 3\n")), AllOf(HasSubstr("f.toml:4"), HasSubstr("did you mean 'watts'?")));
  EXPECT_THAT(error_of("[[machine]]\nname = \"a\"\n"), HasSubstr("'machine.profile' is missing, and so is 'device'"));
  EXPECT_THAT(error_of(machine("device = \"H100\"\n")), HasSubstr("exclude one another"));
  EXPECT_THAT(error_of(machine("") + machine("")), HasSubstr("'machine.name' 'a' stands there twice"));
  EXPECT_THAT(error_of("[[machine]\n"), HasSubstr("f.toml:1: the file is not TOML"));
}

TEST(Fleet, QuantitiesThatCannotBeAreRefused) {
  EXPECT_THAT(error_of(machine("count = 0\n")), AllOf(HasSubstr("f.toml:4: 'machine.count' is 0"), HasSubstr("from 1")));
  EXPECT_THAT(error_of(machine("count = -2\n")), HasSubstr("'machine.count' is -2"));
  EXPECT_THAT(error_of(machine("count = 1.5\n")), HasSubstr("a whole number"));
  EXPECT_THAT(error_of(machine("count = 100001\n")), HasSubstr("to 100,000"));
  EXPECT_THAT(error_of(machine("share = 0\n")), HasSubstr("a number above 0 and at most 1"));
  EXPECT_THAT(error_of(machine("share = 1.1\n")), HasSubstr("'machine.share' is 1.1"));
  EXPECT_THAT(error_of(machine("watts = -5\n")), HasSubstr("'machine.watts' is -5"));
  EXPECT_THAT(error_of(machine("watts = nan\n")), HasSubstr("'machine.watts' is nan"));
  EXPECT_THAT(error_of(machine("watts = \"450 W\"\n")), HasSubstr("is '450 W' but should be a number"));
  EXPECT_THAT(error_of(machine("memory = 24\n")), HasSubstr("'machine.memory' is 24 but should be a text"));
  EXPECT_THAT(error_of(machine("memory = \"24 apples\"\n")), HasSubstr("'machine.memory' is wrong"));
  EXPECT_THAT(error_of(machine("memory = \"0\"\n")), HasSubstr("which no machine has"));
}

TEST(Fleet, MoreEntriesThanAFleetMayHaveAreRefused) {
  std::string text;
  for (int i = 0; i < 1001; ++i) text += "[[machine]]\nname = \"m" + std::to_string(i) + "\"\nprofile = \"a.json\"\n";
  EXPECT_THAT(error_of(text), AllOf(HasSubstr("'m1000' is one [[machine]] more than the 1,000"), HasSubstr("'count'")));
}

TEST(Fleet, RatesOfLinksAreInBits) {
  EXPECT_EQ(error_of(rate("10 Gbit/s")), "");
  EXPECT_THAT(error_of(rate("5 GB")),
              AllOf(HasSubstr("f.toml:6: 'link.rate'"), HasSubstr("are bytes"), HasSubstr("'40.0 Gbit/s'")));
  EXPECT_THAT(error_of(rate("5 MB/s")), HasSubstr("'40.0 Mbit/s'"));
  for (const char* wrong : {"5", "Gbit/s", "-1 Gbit/s", "1e3 Gbit/s", "0 Gbit/s", "nan", "5 Gbps", "20ms", "99999999999 Gbit/s"})
    EXPECT_NE(error_of(rate(wrong)), "") << wrong;
  EXPECT_THAT(error_of(link("delay = \"1 Gbit/s\"\nrate = \"1 Gbit/s\"\n")), HasSubstr("'link.delay' is wrong"));
  EXPECT_THAT(error_of(link("delay = \"2h\"\nrate = \"1 Gbit/s\"\n")), HasSubstr("more than an hour"));
  EXPECT_THAT(error_of(link("delay = \"1ms\"\n")), HasSubstr("'link.rate' is missing"));
}

TEST(Fleet, LinksJoinMachinesOfTheFile) {
  const std::string rest = "delay = \"1ms\"\nrate = \"1 Gbit/s\"\n";
  EXPECT_EQ(error_of(link("between = [\"a\", \"a\"]\n" + rest)), "");
  EXPECT_THAT(error_of(link("between = [\"a\"]\n" + rest)), HasSubstr("names 1 machines"));
  EXPECT_THAT(error_of(link("between = [\"a\", 3]\n" + rest)), HasSubstr("holds 3"));
  EXPECT_THAT(error_of(link("between = [\"a\", \"b\"]\n" + rest)), HasSubstr("names 'b', which is no machine"));
  EXPECT_THAT(error_of(link(rest) + "[[link]]\n" + rest), HasSubstr("second link"));
}

TEST(Fleet, EveryTruncationIsReadOrRefused) {
  const std::string whole = kFleet;
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const auto fleet = parse_fleet(std::string_view(whole).substr(0, length), "f.toml");
    if (fleet) continue;
    EXPECT_EQ(fleet.error().code, ErrorCode::config) << length;
  }
}

}  // namespace
}  // namespace suanli::plan
