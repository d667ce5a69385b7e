#include "suanli/cli/table.h"

#include <gtest/gtest.h>

namespace suanli::cli {
namespace {

TEST(Table, AlignsByTheWidestCell) {
  Table table({{"name", Align::left}, {"size", Align::right}});
  table.add_row({"a", "1,000"});
  table.add_row({"longer", "2"});
  EXPECT_EQ(table.to_string(),
            "name     size\n"
            "-------------\n"
            "a       1,000\n"
            "longer      2\n");
}

TEST(Table, CountsCharactersNotBytes) {
  Table table({{"", Align::left}, {"", Align::left}});
  table.add_row({"算力", "x"});
  table.add_row({"ab", "y"});
  EXPECT_EQ(table.to_string(), "算力  x\nab  y\n");
}

TEST(Table, WithoutTitlesHasNoTitleLineAndNoSpacesAtLineEnds) {
  Table table({{"", Align::left}, {"", Align::left}});
  table.add_row({"key", "value"});
  table.add_row({"other"});
  table.add_rule();
  EXPECT_EQ(table.to_string(2), "  key    value\n  other\n  ------------\n");
}

TEST(TableDeathTest, TooManyCellsAreABug) {
  Table table({{"one", Align::left}});
  EXPECT_DEATH(table.add_row({"1", "2"}), "columns_");
}

}  // namespace
}  // namespace suanli::cli
