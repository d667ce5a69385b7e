#include "suanli/cli/terminal.h"

#include <gtest/gtest.h>

namespace suanli::cli {
namespace {

constexpr Terminal kPlain{};
constexpr Terminal kRich{.is_tty = true, .colour = true, .utf8 = true};

TEST(Terminal, LocalesByTheirPrecedence) {
  EXPECT_TRUE(is_utf8_locale(nullptr, nullptr, "en_GB.UTF-8"));
  EXPECT_TRUE(is_utf8_locale("C.utf8", "C", "C"));
  EXPECT_FALSE(is_utf8_locale("C", "en_GB.UTF-8", "en_GB.UTF-8")) << "LC_ALL wins";
  EXPECT_FALSE(is_utf8_locale("", "POSIX", "en_GB.UTF-8")) << "an empty LC_ALL is unset";
  EXPECT_FALSE(is_utf8_locale(nullptr, nullptr, nullptr));
  EXPECT_FALSE(is_utf8_locale(nullptr, nullptr, "de_DE.ISO-8859-1"));
}

TEST(Terminal, PaintsOnlyWhereColourIsShown) {
  EXPECT_EQ(paint(kPlain, Paint::red, "text"), "text");
  EXPECT_EQ(paint(kRich, Paint::red, "text"), "\x1b[31mtext\x1b[0m");
}

TEST(Terminal, ColumnsAreCodePoints) {
  EXPECT_EQ(columns_of("算力 é"), 4u);
  EXPECT_EQ(cut_to("算力 é!", 4), "算力 é");
  EXPECT_EQ(cut_to("算力", 1), "算");
  EXPECT_EQ(cut_to("算力", 9), "算力");
  EXPECT_EQ(cut_to("abc", 0), "");
}

TEST(Terminal, WrapsAtSpacesAndKeepsLongWords) {
  EXPECT_EQ(wrapped("one two three", 7), "one two\nthree");
  EXPECT_EQ(wrapped("one two three", 8, 2), "one two\n  three");
  EXPECT_EQ(wrapped("a verylongword b", 4), "a\nverylongword\nb");
  EXPECT_EQ(wrapped("", 4), "");
}

TEST(Terminal, BarsGrowInEighths) {
  EXPECT_EQ(bar(kPlain, 0.5, 10), "#####");
  EXPECT_EQ(bar(kRich, 0.5, 3), "█▌");
  EXPECT_EQ(bar(kRich, 0, 3), "");
  EXPECT_EQ(bar(kRich, 7, 2), "██") << "more than all is all";
}

}  // namespace
}  // namespace suanli::cli
