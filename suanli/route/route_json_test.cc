#include "suanli/route/route_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "suanli/base/file.h"
#include "suanli/route/random_placement_for_test.h"
#include "suanli/route/schedule.h"

namespace suanli::route {
namespace {

using ::testing::HasSubstr;

// The example of docs/formats/route-table.md.
RouteTable example() {
  using enum graph::Phase;
  RouteTable table;
  table.epoch = 3;
  table.placement = {{{2}}, {{0}, {2, 1}}};
  table.routes = {{0, 2}, {0, 1}};
  table.orders = {{{{forward, 0}, {forward, 1}, {backward, 0}, {backward, 1}}, 2},
                  {{{forward, 1}, {backward, 1}}, 1},
                  {{{forward, 0}, {backward, 0}}, 1},
                  {}};
  return table;
}

std::string replaced(std::string text, std::string_view what, std::string_view with) {
  const std::size_t at = text.find(what);
  SUANLI_CHECK(at != std::string::npos);
  return text.replace(at, what.size(), with);
}

Error error_of(std::string_view what, std::string_view with) {
  const auto table = parse_route_table(replaced(print_route_table(example()), what, with), "t.json");
  SUANLI_CHECK(!table.has_value());
  return table.error();
}

TEST(RouteJson, ComesBackUnchanged) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const RandomPool pool = random_pool(seed);
    const auto table = make_route_table(pool.placement, pool.micro_batches, pool.speeds);
    ASSERT_TRUE(table.has_value());
    const auto again = parse_route_table(print_route_table(*table), "copy");
    ASSERT_TRUE(again.has_value()) << again.error().to_string();
    EXPECT_EQ(*again, *table);
    EXPECT_EQ(again->digest(), table->digest());
  }
}

TEST(RouteJson, ThePageShowsWhatIsPrinted) {
  const auto page = read_file(std::string(SUANLI_SOURCE_DIR) + "/docs/formats/route-table.md");
  ASSERT_TRUE(page.has_value());
  EXPECT_TRUE(check(example(), 4));
  EXPECT_THAT(*page, HasSubstr("```json\n" + print_route_table(example()) + "```"));
  EXPECT_THAT(*page, HasSubstr(example().digest().hex()));
}

TEST(RouteJson, OtherWhiteSpaceIsTheSameTable) {
  std::string text = print_route_table(example());
  std::erase(text, '\n');
  const auto table = parse_route_table(text, "t.json");
  ASSERT_TRUE(table.has_value());
  EXPECT_EQ(*table, example());
}

struct Damage {
  const char *what, *with;  // in the example's text
  ErrorCode code;
  const char *place, *message;
};

class RouteJsonDamage : public ::testing::TestWithParam<Damage> {};

TEST_P(RouteJsonDamage, IsRefusedWithItsPlace) {
  const Damage& damage = GetParam();
  const Error error = error_of(damage.what, damage.with);
  EXPECT_EQ(error.code, damage.code) << error.to_string();
  EXPECT_EQ(error.place, damage.place) << error.to_string();
  EXPECT_THAT(error.message, HasSubstr(damage.message));
}

constexpr ErrorCode kCorrupt = ErrorCode::corrupt;
INSTANTIATE_TEST_SUITE_P(
    All, RouteJsonDamage,
    ::testing::Values(
        Damage{"\"epoch\": 3", "\"epoch\": 0", kCorrupt, "t.json: epoch", "0 where a whole number from 1 to 18446744073"},
        Damage{"\"epoch\": 3", "\"epoch\": 18446744073709551616", kCorrupt, "t.json: epoch", "whole number"},
        Damage{"\"epoch\": 3", "\"epoch\": 3.0", kCorrupt, "t.json: epoch", "3.0 where a whole number"},
        Damage{"\"epoch\": 3", "\"epoch\": \"3\"", kCorrupt, "t.json: epoch", "\"3\" where a whole number"},
        Damage{"\"epoch\": 3", "\"epoch\": 3, \"epoch\": 3", kCorrupt, "t.json", "'epoch' stands twice"},
        Damage{"\"epoch\": 3,", "", kCorrupt, "t.json", "'epoch' is missing"},
        Damage{"\"epoch\"", "\"era\": 1, \"epoch\"", kCorrupt, "t.json", "'era' is unknown"},
        Damage{"\"credits\": 2", "\"credits\": 1025", kCorrupt, "t.json: credits", "1025 where"},
        Damage{"\"credits\": 2", "\"credits\": -1", kCorrupt, "t.json: credits", "-1 where"},
        Damage{"[2]", "[2147483648]", kCorrupt, "t.json: cuts[0]", "2147483648 where"},
        Damage{"[2, 1]", "[2, 4096]", kCorrupt, "t.json: stages[1][1]", "4096 where a whole number from 0 to 4095"},
        Damage{"[2, 1]", "[2, [1]]", kCorrupt, "t.json", "nested deeper"},
        Damage{"[2, 1]", "7", kCorrupt, "t.json: stages[1]", "7 where a list"},
        Damage{"[0, 2]", "[0, null]", kCorrupt, "t.json: routes[0][1]", "null where"},
        Damage{"\"F1 B1\"", "\"F1 B1 \"", kCorrupt, "t.json: orders[1].work", "no work such as"},
        Damage{"\"F1 B1\"", "\"F1  B1\"", kCorrupt, "t.json: orders[1].work", "'' at 3 is no work"},
        Damage{"\"F1 B1\"", "\"F01 B1\"", kCorrupt, "t.json: orders[1].work", "'F01' at 0 is no work"},
        Damage{"\"F1 B1\"", "\"F1 U1\"", kCorrupt, "t.json: orders[1].work", "'U1' at 3"},
        Damage{"\"F1 B1\"", "\"F1 B-1\"", kCorrupt, "t.json: orders[1].work", "'B-1' at 3"},
        Damage{"\"F1 B1\"", "\"F1 B\"", kCorrupt, "t.json: orders[1].work", "'B' at 3"},
        Damage{"\"F1 B1\"", "\"F1 B1048576\"", kCorrupt, "t.json: orders[1].work", "'B1048576' at 3"},
        Damage{"\"F1 B1\"", "7", kCorrupt, "t.json: orders[1].work", "7 where text"},
        Damage{"{\"slots\": 2", "{\"slots\": 0", kCorrupt, "t.json: orders[0].slots", "0 where"},
        Damage{"{\"slots\": 2", "{\"slot\": 2", kCorrupt, "t.json: orders[0]", "'slot' is unknown"},
        Damage{"\"version\": 1", "\"version\": 2", ErrorCode::version, "t.json: version", "version 2"},
        Damage{"route table", "menu", ErrorCode::foreign, "t.json", "no route table"},
        Damage{"{\n", "", kCorrupt, "t.json", "no JSON"}));

TEST(RouteJson, ALongTextIsRefusedUnread) {
  const auto table = parse_route_table(std::string(static_cast<std::size_t>(kMostRouteText.value()) + 1, ' '), "t.json");
  ASSERT_FALSE(table.has_value());
  EXPECT_THAT(table.error().message, HasSubstr("at most 16.0 MiB"));
}

TEST(RouteJson, TheDigestKnowsEveryField) {
  const RouteTable table = example();
  std::vector<RouteTable> others(9, table);
  others[0].epoch = 4;
  others[1].credits = 3;
  others[2].placement.cut.after_blocks = {1};
  others[3].placement.stages[1] = {1, 2};
  others[4].routes[1][1] = 2;
  std::swap(others[5].orders[0].work[1], others[5].orders[0].work[2]);
  others[6].orders[0].slots = 1;
  others[7].orders.pop_back();
  others[8].orders[1].work[0].phase = graph::Phase::backward;
  for (std::size_t i = 0; i < others.size(); ++i) EXPECT_NE(others[i].digest(), table.digest()) << i;
}

}  // namespace
}  // namespace suanli::route
