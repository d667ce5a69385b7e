#include "suanli/data/jsonl.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>

#include "suanli/base/file.h"
#include "suanli/base/test_folder.h"

namespace suanli::data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A line with the padding that the parser asks for.
Result<std::string> text_of(const std::string& line, const std::string& field = "text") {
  JsonLineParser parser(field);
  const std::string padded = line + std::string(JsonLineParser::kPadding, '\0');
  SUANLI_ASSIGN_OR_RETURN(const std::string_view text,
                          parser.text(std::string_view(padded).substr(0, line.size())));
  return std::string(text);
}

TEST(JsonLineParser, TakesTheField) {
  EXPECT_EQ(text_of(R"({"id": 1, "text": "a b", "tags": ["x"]})").value(), "a b");
  EXPECT_EQ(text_of(R"({"body":"c"})", "body").value(), "c");
  EXPECT_EQ(text_of(R"({"text":""})").value(), "");
  EXPECT_EQ(text_of("{\"text\":\"a\"}\r").value(), "a");
  EXPECT_EQ(text_of("\xEF\xBB\xBF{\"text\":\"a\"}").value(), "a");
}

TEST(JsonLineParser, UndoesEscapes) {
  EXPECT_EQ(text_of(R"({"text": "line\n\ttab \"q\" \u00e9 \ud83d\ude00 \/"})").value(),
            "line\n\ttab \"q\" \xC3\xA9 \xF0\x9F\x98\x80 /");
  EXPECT_EQ(text_of(R"({"text": "a\u0000b"})").value(), std::string("a\0b", 3));
}

struct BadLine {
  std::string line;
  ErrorCode code;
  const char* says;
};

void PrintTo(const BadLine& bad, std::ostream* out) { *out << bad.says; }

class JsonLineParserBad : public ::testing::TestWithParam<BadLine> {};

TEST_P(JsonLineParserBad, IsOneClearError) {
  const auto text = text_of(GetParam().line);
  ASSERT_FALSE(text) << GetParam().line;
  EXPECT_EQ(text.error().code, GetParam().code) << text.error().to_string();
  EXPECT_THAT(text.error().message, HasSubstr(GetParam().says));
  EXPECT_NE(text.error().next_step, "");
}

INSTANTIATE_TEST_SUITE_P(
    Cases, JsonLineParserBad,
    ::testing::Values(BadLine{R"({"text": "cut)", ErrorCode::corrupt, "cut"},
                      BadLine{R"({"text": "a"} trailing)", ErrorCode::corrupt, "trailing"},
                      BadLine{R"({"text": "a")", ErrorCode::corrupt, "not valid JSON"},
                      BadLine{"plain words", ErrorCode::corrupt, "plain words"},
                      BadLine{"{\"text\": \"\xff\"}", ErrorCode::corrupt, "UTF-8"},
                      BadLine{R"({"text": "\ud800"})", ErrorCode::corrupt, "ud800"},
                      BadLine{R"(["text"])", ErrorCode::foreign, "a list"},
                      BadLine{"7", ErrorCode::foreign, "a number"},
                      BadLine{R"({"body": "a", "id": 3})", ErrorCode::foreign, "body, id"},
                      BadLine{R"({"text": 7})", ErrorCode::foreign, "a number, not a text"},
                      BadLine{R"({"text": null})", ErrorCode::foreign, "null"}));

Result<std::vector<std::string>> lines_of(const std::string& content) {
  TestFolder folder;
  SUANLI_RETURN_IF_ERROR(write_file_atomic(folder / "x.jsonl", as_bytes(content)));
  SUANLI_ASSIGN_OR_RETURN(const auto source, open_source(folder / "x.jsonl"));
  LineReader reader(*source, "x.jsonl");
  std::vector<std::string> lines;
  while (true) {
    SUANLI_ASSIGN_OR_RETURN(const bool more, reader.next());
    if (!more) return lines;
    lines.emplace_back(reader.line());
    EXPECT_EQ(reader.place(), "x.jsonl:" + std::to_string(lines.size()));
  }
}

TEST(LineReader, SplitsAtNewlines) {
  EXPECT_THAT(*lines_of("a\nbc\n\nd"), ElementsAre("a", "bc", "", "d"));
  EXPECT_THAT(*lines_of("a\n"), ElementsAre("a"));
  EXPECT_THAT(*lines_of("\n"), ElementsAre(""));
  EXPECT_THAT(*lines_of(""), ElementsAre());
}

TEST(LineReader, LinesMayBeLongerThanItsBuffer) {
  std::string content;
  std::vector<std::string> expected;
  for (const std::size_t size : {10, 3'000'000, 0, 1'048'575, 1'048'576, 1'048'577, 5}) {
    expected.emplace_back(size, static_cast<char>('a' + expected.size()));
    content += expected.back() + "\n";
  }
  EXPECT_EQ(*lines_of(content), expected);
}

}  // namespace
}  // namespace suanli::data
