#include "suanli/net/link_map.h"

#include <gmock/gmock.h>

namespace suanli::net {
namespace {

using testing::HasSubstr;

const std::string kPlaces = "[[place]]\nname = \"a\"\n[[place]]\nname = \"b\"\nworkers = 2\n[[place]]\nname = \"c\"\n";

TEST(LinkMap, TheExampleIsGood) {
  const auto map = LinkMap::load(std::string(SUANLI_SOURCE_DIR) + "/examples/links/worldwide.toml");
  ASSERT_TRUE(map) << map.error().to_string();
  ASSERT_EQ(map->places().size(), 8U);
  for (std::size_t from = 0; from < 8; ++from)
    for (std::size_t to = 0; to < 8; ++to) {
      EXPECT_GT(map->line(from, to).rate, BytesPerSecond(1e7));
      EXPECT_GT(map->line(from, to).delay, Seconds(0));
    }
  EXPECT_EQ(map->line(0, 1).delay, Seconds(0.033));
  EXPECT_EQ(map->line(1, 0).rate, BytesPerSecond(1e8));
  EXPECT_EQ(map->places()[map->place_of_coordinator()].name, "oregon");
  for (std::size_t place = 0; place < 8; ++place) EXPECT_LT(map->line(place, place).delay, Seconds(0.001));
}

TEST(LinkMap, DirectionsDefaultsAndOutages) {
  const auto map =
      LinkMap::parse(kPlaces +
                         "[[link]]\nfrom = \"a\"\nto = \"b\"\ndelay = \"10ms\"\nrate = \"80 Mbit/s\"\n"
                         "[[link]]\nfrom = \"b\"\nto = \"a\"\ndelay = \"20ms\"\nrate = \"8 Mbit/s\"\njitter = \"1ms\"\n"
                         "[[link]]\ndelay = \"1s\"\nrate = \"8 kbit/s\"\n"
                         "[[outage]]\nbetween = [\"b\", \"c\"]\nat = \"5s\"\nlasts = \"1s\"\n"
                         "[[outage]]\nat = \"9s\"\nlasts = \"1s\"\nevery = \"1m\"\ncut = true\n",
                     "f")
          .value();
  EXPECT_EQ(map.line(0, 1).rate, BytesPerSecond(1e7));
  EXPECT_EQ(map.line(1, 0).rate, BytesPerSecond(1e6));
  EXPECT_EQ(map.line(1, 0).jitter, Seconds(0.001));
  EXPECT_EQ(map.line(2, 2).delay, Seconds(1)) << "the entry without names";
  EXPECT_EQ(map.line(0, 1).outages.size(), 1U);
  EXPECT_EQ(map.line(2, 1).outages.size(), 2U);
  EXPECT_EQ(map.line(2, 1).outages[1], (Outage{Seconds(9), Seconds(1), Seconds(60), true}));
  EXPECT_NE(map.line(0, 1).seed, map.line(1, 0).seed);
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < 6; ++i) places.push_back(map.place_of_worker(i));
  EXPECT_THAT(places, testing::ElementsAre(0, 1, 1, 2, 0, 1));
}

TEST(LinkMap, TheCoordinatorLiesWhereTheFileSays) {
  EXPECT_EQ(LinkMap::parse(kPlaces, "f")->place_of_coordinator(), 0U);
  const auto map = LinkMap::parse("coordinator = \"c\"\n" + kPlaces, "f").value();
  EXPECT_EQ(map.place_of_coordinator(), 2U);
  EXPECT_EQ(map.find("b"), 1U);
  EXPECT_EQ(map.find("x"), std::nullopt);
}

TEST(LinkMap, WhatTheFileDoesNotNameHasNoLimit) {
  const auto map = LinkMap::parse(kPlaces, "f").value();
  EXPECT_EQ(map.line(0, 1).rate, BytesPerSecond(0));
  EXPECT_EQ(map.line(0, 1).delay, Seconds(0));
}

TEST(LinkMap, ErrorsNameTheLineAndWhatToDo) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "names no place"},
      {"[[place]]\nname = 5\n", "is no text"},
      {"[[place]]\n", "'name' is missing"},
      {kPlaces + "[[place]]\nname = \"a\"\n", "stands there twice"},
      {kPlaces + "[[place]]\nname = \"d\"\nworkers = 0\n", "a count"},
      {kPlaces + "[[lnik]]\n", "did you mean 'link'"},
      {"coordinator = \"x\"\n" + kPlaces, "no place 'x'"},
      {"coordinator = 1\n" + kPlaces, "named by a text"},
      {"coordinatr = \"a\"\n" + kPlaces, "did you mean 'coordinator'"},
      {kPlaces + "[[link]]\nbetween = [\"a\", \"x\"]\n", "no place 'x'"},
      {kPlaces + "[[link]]\nbetween = [\"a\"]\n", "two places"},
      {kPlaces + "[[link]]\nfrom = \"a\"\n", "'from' and 'to'"},
      {kPlaces + "[[link]]\nrate = \"1 Gbit/s\"\n", "'delay' is missing"},
      {kPlaces + "[[link]]\ndelay = \"1ms\"\n", "'rate' is missing"},
      {kPlaces + "[[link]]\ndelay = \"1ms\"\nrate = \"5 GB/s\"\n", "is no rate"},
      {kPlaces + "[[link]]\ndelay = \"1ms\"\nrate = \"0 bit/s\"\n", "is no rate"},
      {kPlaces + "[[link]]\ndelay = \"-1ms\"\nrate = \"1 bit/s\"\n", "not a duration"},
      {kPlaces + "[[link]]\ndelay = \"1ms\"\nrate = \"1 bit/s\"\nqueue = \"0s\"\n", "without a queue"},
      {kPlaces + "[[link]]\ndelay = \"1ms\"\nrate = \"1 bit/s\"\n[[link]]\ndelay = \"1ms\"\nrate = \"1 bit/s\"\n", "already"},
      {kPlaces + "[[outage]]\nat = \"1s\"\nlasts = \"2s\"\nevery = \"2s\"\n", "begin again"},
      {kPlaces + "[[outage]]\nat = \"1s\"\nlasts = \"2s\"\ncut = 1\n", "true or false"},
      {"place = 3", "not a list"},
      {"a = [", "not TOML"}};
  for (const auto& [text, expected] : cases) {
    const auto map = LinkMap::parse(text, "links.toml");
    ASSERT_FALSE(map) << text;
    EXPECT_EQ(map.error().code, ErrorCode::config) << text;
    EXPECT_THAT(map.error().message, HasSubstr(expected)) << text;
    EXPECT_THAT(map.error().place, testing::StartsWith("links.toml")) << text;
    EXPECT_FALSE(map.error().next_step.empty()) << text;
  }
}

}  // namespace
}  // namespace suanli::net
