#include "suanli/model/strict_json.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

namespace suanli::model {
namespace {

using ::testing::HasSubstr;

std::string error_of(std::string_view text) {
  auto result = parse_strict_json(text, "file.json", 3);
  if (result) return "";
  EXPECT_EQ(result.error().code, ErrorCode::corrupt);
  EXPECT_EQ(result.error().place, "file.json");
  return result.error().message;
}

TEST(StrictJson, ReadsValidJson) {
  auto result = parse_strict_json(R"({"a": {"k": 1}, "b": {"k": [18446744073709551615]}})", "f", 3);
  ASSERT_TRUE(result) << result.error().to_string();
  EXPECT_EQ((*result)["b"]["k"][0].get<std::uint64_t>(), 18446744073709551615u);
}

TEST(StrictJson, RefusesAKeyGivenTwiceInOneObject) {
  EXPECT_THAT(error_of(R"({"a": 1, "b": {"x": 1, "x": 2}})"), HasSubstr("key 'x' twice"));
  EXPECT_THAT(error_of(R"([{"a": 1}, {"a": 1, "a": 1}])"), HasSubstr("key 'a' twice"));
  EXPECT_EQ(error_of(R"([{"a": 1}, {"a": 1}])"), "");
}

TEST(StrictJson, SeesEscapedKeysAsTheSameKey) {
  EXPECT_THAT(error_of(R"({"a": 1, "\u0061": 2})"), HasSubstr("key 'a' twice"));
}

TEST(StrictJson, RefusesDeepNesting) {
  EXPECT_EQ(error_of("[[[1]]]"), "");
  EXPECT_THAT(error_of("[[[[1]]]]"), HasSubstr("deeper than 3 levels"));
  EXPECT_THAT(error_of(std::string(1 << 20, '[')), HasSubstr("deeper than 3 levels"));
}

TEST(StrictJson, RefusesBadSyntaxAndBadUtf8) {
  EXPECT_THAT(error_of("{\"a\": }"), HasSubstr("line 1, column 7"));
  EXPECT_THAT(error_of(""), HasSubstr("cannot be read"));
  EXPECT_THAT(error_of("{} x"), HasSubstr("cannot be read"));
  EXPECT_THAT(error_of("\"\xff\""), HasSubstr("cannot be read"));
  EXPECT_THAT(error_of("[1e999]"), HasSubstr("cannot be read"));
}

}  // namespace
}  // namespace suanli::model
