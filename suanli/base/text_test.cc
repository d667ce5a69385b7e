#include "suanli/base/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace suanli {
namespace {

using testing::HasSubstr;

const std::vector<std::string> kKeys = {"steps", "learning_rate", "layers", "batch", "lr"};

TEST(Text, NearestFindsTypingErrors) {
  EXPECT_EQ(nearest("step", kKeys), "steps");
  EXPECT_EQ(nearest("setps", kKeys), "steps") << "a swap is one error";
  EXPECT_EQ(nearest("learnig_rate", kKeys), "learning_rate");
  EXPECT_EQ(nearest("learning-rate", kKeys), "learning_rate");
  EXPECT_EQ(nearest("rl", kKeys), "lr");
  EXPECT_EQ(nearest("batch", kKeys), "batch");
}

TEST(Text, NearestIsSilentAboutOtherWords) {
  EXPECT_EQ(nearest("dropout", kKeys), std::nullopt);
  EXPECT_EQ(nearest("xy", kKeys), std::nullopt);
  EXPECT_EQ(nearest("", kKeys), std::nullopt);
  EXPECT_EQ(nearest("x", std::vector<std::string>{"", "y"}), std::nullopt);
  EXPECT_EQ(nearest("steps", {}), std::nullopt);
  EXPECT_EQ(nearest(std::string(1'000'000, 'a'), {{std::string(1'000'001, 'a')}}), std::nullopt);
}

TEST(Text, NearestPrefersTheLeastDistanceThenTheFirst) {
  EXPECT_EQ(nearest("abcd", std::vector<std::string>{"abxd", "abcd"}), "abcd");
  EXPECT_EQ(nearest("abcd", std::vector<std::string>{"abxd", "abyd"}), "abxd");
}

TEST(Text, DidYouMean) {
  EXPECT_EQ(did_you_mean("stesp", kKeys), ", did you mean 'steps'?");
  EXPECT_EQ(did_you_mean("quux", kKeys), "");
}

TEST(Text, ParseScaledKnowsItsSuffixes) {
  const std::pair<const char*, double> cases[] = {
      {"0", 0},      {"90", 90},         {"50G", 5e10},         {"1.5T", 1.5e12}, {"3P", 3e15},
      {"2E", 2e18},  {"1K", 1000},       {"1k", 1000},          {"7M", 7e6},      {".5M", 5e5},
      {"1Ki", 1024}, {"1.5Mi", 1572864}, {"2Gi", 2147483648.0}, {"1Ti", 0x1p40},  {"1e3", 1000},
      {"1e3K", 1e6}, {"2e10", 2e10},     {"1e-3", 1e-3},        {"5.", 5},
  };
  for (const auto& [text, value] : cases) {
    const auto parsed = parse_scaled(text, "--cap");
    ASSERT_TRUE(parsed) << text;
    EXPECT_DOUBLE_EQ(*parsed, value) << text;
  }
}

TEST(Text, ParseScaledRefusesAllElseAndSaysWhat) {
  for (const char* text :
       {"",     "G",   "-1",  "+1",    " 1",     "1 ",     "1 G", "1GB", "1GG", "1X", "1.2.3",
        "0x10", "inf", "nan", "1e999", "1e300E", "1e308K", "1Pi", "1,5", ".",   "1e"}) {
    const auto parsed = parse_scaled(text, "--cap");
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, ErrorCode::usage);
    EXPECT_EQ(parsed.error().place, "--cap");
    EXPECT_THAT(parsed.error().message, HasSubstr("'" + std::string(text) + "'"));
    EXPECT_THAT(parsed.error().next_step, HasSubstr("50G"));
  }
}

TEST(Text, ParseDuration) {
  const std::pair<const char*, double> cases[] = {
      {"90", 90},     {"3m", 180},     {"3min", 180}, {"1.5h", 5400},
      {"2d", 172800}, {"250ms", 0.25}, {"5s", 5},     {"0", 0},
  };
  for (const auto& [text, value] : cases) {
    ASSERT_TRUE(parse_duration(text, "every")) << text;
    EXPECT_DOUBLE_EQ(parse_duration(text, "every")->value(), value) << text;
  }
  for (const char* text : {"", "m", "-3m", "3x", "3 m", "1h30m", "3M", "1e308d"}) {
    const auto parsed = parse_duration(text, "every");
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().place, "every");
    EXPECT_THAT(parsed.error().message, HasSubstr("'" + std::string(text) + "'"));
  }
}

TEST(Text, FormatSi) {
  EXPECT_EQ(format_si(1.53e12, "FLOP/s"), "1.53 TFLOP/s");
  EXPECT_EQ(format_si(0, "FLOP"), "0 FLOP");
  EXPECT_EQ(format_si(7, "FLOP"), "7 FLOP");
  EXPECT_EQ(format_si(7.5, "B/s"), "7.50 B/s");
  EXPECT_EQ(format_si(0.25, "step/s"), "0.25 step/s");
  EXPECT_EQ(format_si(999, "x"), "999 x");
  EXPECT_EQ(format_si(999.6, "x"), "1.00 kx") << "rounding carries into the next prefix";
  EXPECT_EQ(format_si(9.996e6, "x"), "10.0 Mx");
  EXPECT_EQ(format_si(-2e9, "x"), "-2.00 Gx");
  EXPECT_EQ(format_si(3.14e23, "FLOP"), "314 ZFLOP");
  EXPECT_EQ(format_si(1e30, "FLOP"), "1.00e+06 YFLOP");
  EXPECT_EQ(format_si(std::numeric_limits<double>::infinity(), "x"), "inf x");
  EXPECT_EQ(format_flops(Flops(262e9)), "262 GFLOP");
}

TEST(Text, FormatBytes) {
  EXPECT_EQ(format_bytes(Bytes(0)), "0 B");
  EXPECT_EQ(format_bytes(Bytes(1023)), "1023 B");
  EXPECT_EQ(format_bytes(Bytes(1024)), "1.00 KiB");
  EXPECT_EQ(format_bytes(Bytes(3LL << 29)), "1.50 GiB");
  EXPECT_EQ(format_bytes(Bytes((1 << 20) - 1)), "1.00 MiB");
  EXPECT_EQ(format_bytes(Bytes(-2048)), "-2.00 KiB");
  EXPECT_EQ(format_bytes(Bytes(std::numeric_limits<std::int64_t>::max())), "8.00 EiB");
  EXPECT_EQ(format_bytes(Bytes(std::numeric_limits<std::int64_t>::min())), "-8.00 EiB");
}

TEST(Text, FormatDuration) {
  EXPECT_EQ(format_duration(Seconds(0)), "0 s");
  EXPECT_EQ(format_duration(Seconds(12.3e-6)), "12.3 us");
  EXPECT_EQ(format_duration(Seconds(0.34)), "340 ms");
  EXPECT_EQ(format_duration(Seconds(0.99999)), "1.00 s");
  EXPECT_EQ(format_duration(Seconds(59.9)), "59.9 s");
  EXPECT_EQ(format_duration(Seconds(59.99)), "1 min 00 s");
  EXPECT_EQ(format_duration(Seconds(125)), "2 min 05 s");
  EXPECT_EQ(format_duration(Seconds(3599.6)), "1 h 00 min");
  EXPECT_EQ(format_duration(Seconds(3 * 3600 + 12 * 60)), "3 h 12 min");
  EXPECT_EQ(format_duration(Seconds(86399)), "1 d 00 h");
  EXPECT_EQ(format_duration(Seconds(54 * 86400.0)), "54 d 00 h");
  EXPECT_EQ(format_duration(Seconds(-2)), "-2.00 s");
  EXPECT_EQ(format_duration(Seconds(1e300)), "1.16e+295 d");
  EXPECT_EQ(format_duration(Seconds(std::numeric_limits<double>::infinity())), "unknown");
  EXPECT_EQ(format_duration(Seconds(std::nan(""))), "unknown");
}

TEST(Text, FormatCount) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1000), "1,000");
  EXPECT_EQ(format_count(10'788'864), "10,788,864");
  EXPECT_EQ(format_count(-999), "-999");
  EXPECT_EQ(format_count(-123'456), "-123,456");
  EXPECT_EQ(format_count(std::numeric_limits<std::int64_t>::min()), "-9,223,372,036,854,775,808");
}

TEST(Text, FormatIsPrintf) {
  EXPECT_EQ(format("%d of %s, %.3f", 3, "seven", 0.5), "3 of seven, 0.500");
  EXPECT_EQ(format("%s", ""), "");
  EXPECT_EQ(format("%s", std::string(10'000, 'x').c_str()), std::string(10'000, 'x'));
}

TEST(Text, PrintableKeepsTextAndEscapesTheRest) {
  EXPECT_EQ(printable("plain text, \xe7\xae\x97\xe5\x8a\x9b \xf0\x9f\x98\x80"),
            "plain text, \xe7\xae\x97\xe5\x8a\x9b \xf0\x9f\x98\x80");
  EXPECT_EQ(printable("a\nb\tc\rd"), "a\\nb\\tc\\rd");
  EXPECT_EQ(printable(std::string_view("\0\x1b[31m\x7f", 7)), "\\x00\\x1b[31m\\x7f");
  EXPECT_EQ(printable("back\\slash"), "back\\\\slash");
  EXPECT_EQ(printable("\xe2\x80\xae"
                      "abc"),
            "\\xe2\\x80\\xaeabc")
      << "right-to-left override";
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            "\\xc2\\x9b31m")
      << "a control sequence of two bytes";
}

TEST(Text, PrintableEscapesInvalidUtf8) {
  EXPECT_EQ(printable("\x80 \xff"), "\\x80 \\xff");
  EXPECT_EQ(printable("\xe7\xae"), "\\xe7\\xae") << "cut short";
  EXPECT_EQ(printable("\xc0\xaf"), "\\xc0\\xaf") << "overlong";
  EXPECT_EQ(printable("\xe0\x80\xaf"), "\\xe0\\x80\\xaf") << "overlong";
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80") << "surrogate";
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80") << "above U+10FFFF";
  EXPECT_EQ(printable("\xc3("), "\\xc3(") << "the next character survives";
}

TEST(Text, PrintableCutsAtTheLimitOfWhatIsShown) {
  EXPECT_EQ(printable("abcdef", 6), "abcdef");
  EXPECT_EQ(printable("abcdefg", 6), "abcdef...");
  EXPECT_EQ(printable("abcde\x01", 6), "abcde...") << "no half escapes";
  EXPECT_EQ(printable("\xe7\xae\x97\xe5\x8a\x9b", 1), "\xe7\xae\x97...");
  EXPECT_EQ(printable("", 0), "");
  EXPECT_EQ(printable(std::string(1000, 'x')).size(), 83u);
}

}  // namespace
}  // namespace suanli
