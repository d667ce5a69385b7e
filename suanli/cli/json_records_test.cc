#include "suanli/cli/json_records.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace suanli::cli {
namespace {

TEST(JsonRecords, FieldsOfARecordStandTogetherAndDiffer) {
  std::set<std::string_view> closed;
  std::set<std::string_view> names;
  std::string_view record;
  for (const JsonField& field : json_fields()) {
    if (field.record != record) {
      EXPECT_TRUE(closed.insert(field.record).second) << field.record << " comes twice";
      record = field.record;
      names.clear();
    }
    EXPECT_TRUE(names.insert(field.name).second) << record << " has " << field.name << " twice";
    EXPECT_FALSE(field.type.empty()) << field.name;
  }
}

TEST(JsonRecords, MarkdownHasEveryField) {
  const std::string page = json_reference_markdown();
  for (const JsonField& field : json_fields()) {
    EXPECT_THAT(page, ::testing::HasSubstr("## " + std::string(field.record) + "\n"));
    EXPECT_THAT(page, ::testing::HasSubstr("| `" + std::string(field.name) + "` |"));
  }
}

TEST(JsonRecordsDeathTest, UndocumentedOutputIsABug) {
  check_fields("version", {{"version", "1"}});
  EXPECT_DEATH(check_fields("version", {{"versoin", "1"}}), "field.name");
  EXPECT_DEATH(check_fields("version", {{"version", "1"}, {"more", 2}}), "item");
  EXPECT_DEATH(check_fields("no such record", Json::object()), "empty");
}

}  // namespace
}  // namespace suanli::cli
