#include "suanli/plan/csv.h"

#include <gmock/gmock.h>

namespace suanli::plan {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Csv, QuotedFieldsHoldCommasQuotesAndLineEnds) {
  const auto table = parse_csv("a,\"b\"\r\n\"x, \"\"y\"\"\",\"two\nlines\"\n\nlast,\n", "t.csv");
  ASSERT_TRUE(table) << table.error().to_string();
  EXPECT_THAT(table->header, ElementsAre("a", "b"));
  ASSERT_EQ(table->records.size(), 2u);
  EXPECT_THAT(table->records[0].fields, ElementsAre("x, \"y\"", "two\nlines"));
  EXPECT_EQ(table->records[0].line, 2u);
  EXPECT_THAT(table->records[1].fields, ElementsAre("last", ""));
  EXPECT_EQ(table->records[1].line, 5u) << "line ends inside quotes and the empty line are counted";
}

TEST(Csv, TheLastLineNeedsNoEndAndAByteOrderMarkIsSkipped) {
  const auto table = parse_csv("\xEF\xBB\xBFname,b\n1,\"\"", "t.csv");
  ASSERT_TRUE(table);
  EXPECT_THAT(table->header, ElementsAre("name", "b"));
  EXPECT_THAT(table->records.at(0).fields, ElementsAre("1", ""));
}

struct Bad {
  const char* text;
  const char* message;
  const char* place;
};

TEST(Csv, WhatIsWrongIsSaidWithItsLine) {
  const Bad cases[] = {
      {"", "no line", "t.csv"},
      {"\n\n", "no line", "t.csv"},
      {"a,b\n1,2\n1\n", "1 fields where the header has 2", "t.csv:3"},
      {"a,b\n1,2,3\n", "3 fields where the header has 2", "t.csv:2"},
      {"a,b\n\"x,2\n", "a quoted field does not end", "t.csv:2"},
      {"a,b\n\"x\"y,2\n", "text after the closing quote of 'x'", "t.csv:2"},
      {"a,b\nx\"y,2\n", "a quote inside the field 'x'", "t.csv:2"},
      {"a,a\n", "column 'a' stands twice", "t.csv:1"},
      {"a,,b\n", "column 2 has no name", "t.csv:1"},
  };
  for (const Bad& bad : cases) {
    const auto table = parse_csv(bad.text, "t.csv");
    ASSERT_FALSE(table) << bad.text;
    EXPECT_THAT(table.error().message, HasSubstr(bad.message)) << bad.text;
    EXPECT_EQ(table.error().place, bad.place) << bad.text;
  }
}

}  // namespace
}  // namespace suanli::plan
