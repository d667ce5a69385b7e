#include "suanli/graph/text_form.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>

#include <cmath>
#include <limits>

#include "suanli/base/text.h"
#include "suanli/graph/digest.h"
#include "suanli/graph/mlp_for_tests.h"

namespace suanli::graph {
namespace {

using ::testing::HasSubstr;

constexpr char kSmall[] = R"(suanli-graph/1
micro_batches 2
%0 = input x : f32[4x3] @forward block 0
%1 = param w {decay=1, init="normal", std=0.02} : f32[3x5] @forward block 0
%2 = matmul(%0, %1) {ta=0, tb=0} : f32[4x5] @forward block 0
%3 = reduce_to(%2) {shape=[]} : f32[] @forward block 1
%4 = fill() {shape=[3, 5], value=1.0} : f32[3x5] @update block 0
%5 = step_input rate : f32[] @update block all
%6 = mul(%4, %5) : f32[3x5] @update block 0
output loss %3
update %1 <- %6
)";

// kSmall with one line replaced; lines count from 1.
std::string with_line(int number, const std::string& line) {
  std::string result;
  std::string_view rest = kSmall;
  for (int i = 1; !rest.empty(); ++i) {
    const std::size_t length = rest.find('\n');
    result += (i == number ? line : std::string(rest.substr(0, length))) + "\n";
    rest.remove_prefix(length + 1);
  }
  return result;
}

Error error_of(std::string_view text) {
  const Result<Graph> graph = parse_text(text, "job.graph");
  EXPECT_FALSE(graph.has_value()) << text;
  return graph ? Error{} : graph.error();
}

TEST(TextForm, WritesWhatTheDocumentShows) {
  const Result<Graph> graph = parse_text(kSmall, "small");
  ASSERT_TRUE(graph.has_value()) << graph.error().to_string();
  EXPECT_EQ(to_text(*graph), kSmall);
  EXPECT_EQ(graph->micro_batches(), 2);
  EXPECT_EQ(graph->node(5).block, kWholeJob);
  EXPECT_EQ(graph->node(4).phase, Phase::update);
  EXPECT_EQ(graph->node(1).attrs.real("std"), 0.02);
  EXPECT_EQ(graph->updates().at(0).value, 6);
}

TEST(TextForm, RoundTripsATrainingStep) {
  const Graph graph = mlp_for_tests(2, 6, 3);
  const std::string text = to_text(graph);
  const Result<Graph> back = parse_text(text, "mlp");
  ASSERT_TRUE(back.has_value()) << back.error().to_string();
  EXPECT_EQ(to_text(*back), text);
  EXPECT_EQ(digest(*back), digest(graph));
  EXPECT_EQ(back->size(), graph.size());
}

TEST(TextForm, KeepsEveryBitOfReals) {
  const double values[] = {0.1,
                           1.0 / 3,
                           1e300,
                           -2.5e-310,
                           5e-324,
                           1e22,
                           123456789.0,
                           -0.0,
                           std::numeric_limits<double>::infinity(),
                           -std::numeric_limits<double>::infinity()};
  Graph graph;
  Builder b(graph);
  for (double value : values) b.fill({}, value);
  b.fill({}, std::nan(""));
  ASSERT_TRUE(b.status().has_value());
  const Result<Graph> back = parse_text(to_text(graph), "reals");
  ASSERT_TRUE(back.has_value()) << back.error().to_string();
  for (std::size_t i = 0; i < std::size(values); ++i) {
    const double value = back->node(static_cast<NodeId>(i)).attrs.real("value");
    EXPECT_EQ(value, values[i]);
    EXPECT_EQ(std::signbit(value), std::signbit(values[i]));
  }
  EXPECT_TRUE(std::isnan(back->nodes().back().attrs.real("value")));
  EXPECT_EQ(to_text(*back), to_text(graph));
}

TEST(TextForm, KeepsOddWords) {
  const std::string word = std::string("a \"b\" \\ \n\t", 10) + '\0' + "\xff# {,}";
  Graph graph;
  Builder(graph).state("s", f32({2}), word);
  const std::string text = to_text(graph);
  EXPECT_THAT(text, HasSubstr(R"(init="a \"b\" \\ \x0a\x09\x00\xff# {,}")"));
  const Result<Graph> back = parse_text(text, "words");
  ASSERT_TRUE(back.has_value()) << back.error().to_string();
  EXPECT_EQ(back->node(0).attrs.word("init"), word);
}

TEST(TextForm, IgnoresCommentsBlankLinesAndSpacing) {
  const Result<Graph> graph = parse_text(
      "suanli-graph/1\r\n\n# made by hand\n  %0=input x:f32[ 4x3 ]@forward block 0\r\n"
      "\t%1 = gelu( %0 ) : f32[4x3] @ forward block all",
      "hand");
  ASSERT_TRUE(graph.has_value()) << graph.error().to_string();
  EXPECT_EQ(graph->size(), 2);
  EXPECT_EQ(graph->micro_batches(), 1);
}

TEST(TextForm, AnEmptyGraphIsAGraph) {
  const Result<Graph> graph = parse_text(to_text(Graph()), "none");
  ASSERT_TRUE(graph.has_value());
  EXPECT_EQ(graph->size(), 0);
}

TEST(TextForm, RefusesForeignText) {
  EXPECT_EQ(error_of("").code, ErrorCode::empty);
  EXPECT_EQ(error_of("").place, "job.graph");
  const Error foreign = error_of(
      "\x7f"
      "ELF\x02\n");
  EXPECT_EQ(foreign.code, ErrorCode::foreign);
  EXPECT_EQ(foreign.place, "job.graph:1");
  EXPECT_THAT(foreign.message, HasSubstr("ELF"));
  EXPECT_THAT(foreign.next_step, HasSubstr("suanli-graph/1"));
  const Error version = error_of("suanli-graph/2\n");
  EXPECT_EQ(version.code, ErrorCode::version);
  EXPECT_THAT(version.message, HasSubstr("suanli-graph/2"));
}

struct BadLine {
  int number;
  const char* line;
  const char* message;
};

void PrintTo(const BadLine& bad, std::ostream* out) { *out << "line " << bad.number; }

class TextFormErrors : public ::testing::TestWithParam<BadLine> {};

TEST_P(TextFormErrors, NameThePlaceAndTheToken) {
  const BadLine& bad = GetParam();
  const Error error = error_of(with_line(bad.number, bad.line));
  EXPECT_EQ(error.code, ErrorCode::graph);
  EXPECT_THAT(error.place, ::testing::StartsWith("job.graph:" + std::to_string(bad.number)));
  EXPECT_THAT(error.message, HasSubstr(bad.message));
}

INSTANTIATE_TEST_SUITE_P(
    All, TextFormErrors,
    ::testing::Values(
        BadLine{2, "micro_batches four", "expected a number of micro-batches, got 'four'"},
        BadLine{2, "micro_batches 0", "micro_batches = 0"},
        BadLine{2, "micro_batches 2 2", "expected the end of the line, got '2'"},
        BadLine{2, "micro_batch 2", "'micro_batch' is not %, output, update or micro_batches"},
        BadLine{3, "micro_batches 3", "written twice"},
        BadLine{3, "?", "expected a node (%), output, update or micro_batches, got '?'"},
        BadLine{4, "%7 = input y : f32[] @forward block 0", "expected %1 (nodes are numbered"},
        BadLine{4, "%99999999999 = input y : f32[] @forward block 0", "%99999999999"},
        BadLine{4, "%-1 = input y : f32[] @forward block 0", "expected a node such as %0"},
        BadLine{4, "%1 = input x : f32[] @forward block 0", "the name is used twice"},
        BadLine{4, "%1 = input : f32[] @forward block 0",
                "expected the name of the input, got ':'"},
        BadLine{5, "%2 = matmull(%0, %1) : f32[] @forward block 0", "did you mean 'matmul'?"},
        BadLine{5, "%2 = matmul(%0 %1) : f32[] @forward block 0", "expected ')', got '%1'"},
        BadLine{5, "%2 = matmul(%0) {ta=0, tb=0} : f32[] @forward block 0",
                "takes 2 inputs, got 1"},
        BadLine{5, "%2 = matmul(%0, %5) {ta=0, tb=0} : f32[] @forward block 0",
                "input %5 is not an earlier node"},
        BadLine{5, "%2 = matmul(%0, %1) {ta=0, tb=0} : f32[4x6] @forward block 0",
                "type f32[4x6] is written, but this matmul gives f32[4x5]"},
        BadLine{5, "%2 = matmul(%0, %1) {ta=0, ta=0} : f32[4x5] @forward block 0",
                "attribute 'ta' is written twice"},
        BadLine{5, "%2 = matmul(%0, %1) {ta=0.0, tb=0} : f32[4x5] @forward block 0",
                "attribute 'ta' is of the wrong kind"},
        BadLine{5, "%2 = matmul(%0, %1) {ta=0, tb=} : f32[4x5] @forward block 0",
                "expected a value (1, 1.0, [1, 2] or \"word\"), got '}'"},
        BadLine{5, "%2 = matmul(%0, %1) {ta=0, tb=0", "expected '}', got the end of the line"},
        BadLine{5, "%2 = matmul(%0, %1) {ta=0, tb=12345678901234567890} : f32[] @forward block 0",
                "got '12345678901234567890'"},
        BadLine{4, "%1 = state s {init=\"zeros} : f32[] @forward block 0", "no closing quote"},
        BadLine{4, "%1 = state s {init=\"\\q\"} : f32[] @forward block 0", "is not an escape"},
        BadLine{6, "%3 = reduce_to(%2) {shape=[1, x]} : f32[] @forward block 1",
                "expected an integer, got 'x'"},
        BadLine{4, "%1 = input y : f16[2] @forward block 0", "'f16' is not an element type"},
        BadLine{4, "%1 = input y : f32[2x-3] @forward block 0", "negative dimension"},
        BadLine{4, "%1 = input y : f32[9999999x9999999x9999999] @forward block 0", "too many"},
        BadLine{4, "%1 = input y : f32[1x1x1x1x1x1x1x1x1] @forward block 0", "more than 8"},
        BadLine{4, "%1 = input y : f32[2] @forwards block 0",
                "'forwards' is not forward, backward"},
        BadLine{4, "%1 = input y : f32[2] @forward blocks 0", "expected 'block', got 'blocks'"},
        BadLine{4, "%1 = input y : f32[2] @forward block -1", "block -1 is not between 0 and"},
        BadLine{4, "%1 = input y : f32[2] @forward block 16385", "block 16385 is not between"},
        BadLine{9, "%6 = mul(%4, %3) : f32[3x5] @update block 0", "may not read %3"},
        BadLine{10, "output loss %30", "%30 is not a node"},
        BadLine{10, "output %3", "expected the output's name, got '%3'"},
        BadLine{11, "update %1 < %6", "expected '<-', got '<'"},
        BadLine{11, "update %0 <- %6", "%0 is not a param or state"}));

TEST(TextForm, BoundsWhatItReads) {
  EXPECT_THAT(error_of("suanli-graph/1\n#" + std::string(70000, '-') + "\n").message,
              HasSubstr("the line is longer than"));
  std::string list = "suanli-graph/1\n%0 = fill() {shape=[1";
  for (int i = 0; i < kMaxTextList; ++i) list += ", 1";
  EXPECT_THAT(error_of(list + "], value=0.0} : f32[] @forward block 0\n").message,
              HasSubstr("more than 64 numbers"));

  std::string outputs =
      "suanli-graph/1\n%0 = fill() {shape=[], value=0.0} : f32[] @forward block 0\n";
  for (int i = 0; i <= kMaxTextOutputs; ++i) outputs += "output o" + std::to_string(i) + " %0\n";
  EXPECT_THAT(error_of(outputs).message, HasSubstr("more than 1024 outputs"));

  std::string sources = "suanli-graph/1\n";
  for (int i = 0; i <= kMaxTextSources; ++i)
    sources += format("%%%d = input s%d : f32[] @forward block 0\n", i, i);
  EXPECT_THAT(error_of(sources).message, HasSubstr("more than 16384 sources"));

  std::string nodes = "suanli-graph/1\n";
  for (NodeId i = 0; i <= kMaxTextNodes; ++i)
    nodes += "%" + std::to_string(i) + " = fill() {shape=[], value=0.0} : f32[] @forward block 0\n";
  const Error error = error_of(nodes);
  EXPECT_EQ(error.place, "job.graph:" + std::to_string(kMaxTextNodes + 2));
  EXPECT_THAT(error.message, HasSubstr("131072"));
}

TEST(TextForm, RefusesTextOfMoreThanItsLimit) {
  std::string text(static_cast<std::size_t>(kMaxGraphText.value()) + 1, '\n');
  text.replace(0, 14, "suanli-graph/1");
  EXPECT_THAT(error_of(text).message, HasSubstr("more than"));
}

}  // namespace
}  // namespace suanli::graph
