#include "suanli/model/sampling.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

namespace suanli::model {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Probabilities 1/2, 1/4, 1/8, 1/16, 1/16 at temperature 1, for tokens 3, 0, 4, 1, 2.
const std::vector<float> kLogits = {std::log(0.25F), std::log(0.0625F), std::log(0.0625F),
                                    std::log(0.5F), std::log(0.125F)};

// How often each token comes in `count` positions.
std::vector<int> frequencies(const SamplingOptions& options, int count) {
  std::vector<int> result(kLogits.size(), 0);
  for (int position = 0; position < count; ++position)
    ++result[sample_token(kLogits, options, position)];
  return result;
}

std::set<std::int32_t> tokens_seen(const SamplingOptions& options) {
  std::set<std::int32_t> seen;
  for (int position = 0; position < 2000; ++position)
    seen.insert(sample_token(kLogits, options, position));
  return seen;
}

// Within five standard deviations of what `probability` would give: five seeds in ten million fail
// a right sampler, and the seed is fixed.
void expect_frequency(int seen, int count, double probability) {
  const double deviation = std::sqrt(count * probability * (1 - probability));
  EXPECT_NEAR(seen, count * probability, 5 * deviation);
}

TEST(Sampling, TemperatureZeroTakesTheMostLikely) {
  for (std::uint64_t seed = 0; seed < 5; ++seed)
    for (std::int64_t position = 0; position < 5; ++position)
      EXPECT_EQ(sample_token(kLogits, {.temperature = 0, .seed = seed}, position), 3);
  // Ties go to the lower token.
  const std::vector<float> tied = {1, 7, 2, 7, 7};
  EXPECT_EQ(sample_token(tied, {.temperature = 0}, 0), 1);
  EXPECT_EQ(sample_token(tied, {.top_k = 1}, 0), 1);
}

TEST(Sampling, TokensComeAsOftenAsTheirProbabilitySays) {
  constexpr int kCount = 20000;
  const auto seen = frequencies({.temperature = 1, .seed = 11}, kCount);
  const double expected[] = {0.25, 0.0625, 0.0625, 0.5, 0.125};
  for (std::size_t token = 0; token < seen.size(); ++token)
    expect_frequency(seen[token], kCount, expected[token]);
}

TEST(Sampling, TemperatureSharpensAndFlattens) {
  constexpr int kCount = 20000;
  // At 1/2 probabilities are squared and sum to 0.3359375; at 2 they are square roots.
  expect_frequency(frequencies({.temperature = 0.5, .seed = 3}, kCount)[3], kCount,
                   0.25 / 0.3359375);
  const double roots = std::sqrt(0.5) + 0.5 + std::sqrt(0.125) + 0.25 + 0.25;
  expect_frequency(frequencies({.temperature = 2, .seed = 3}, kCount)[1], kCount, 0.25 / roots);
  // So cold that every weight but the first is 0.
  EXPECT_THAT(tokens_seen({.temperature = 1e-300}), ElementsAre(3));
}

TEST(Sampling, TopKKeepsTheMostLikely) {
  constexpr int kCount = 20000;
  EXPECT_THAT(tokens_seen({.temperature = 1, .top_k = 1}), ElementsAre(3));
  EXPECT_THAT(tokens_seen({.temperature = 1, .top_k = 3}), ElementsAre(0, 3, 4));
  EXPECT_THAT(tokens_seen({.temperature = 1, .top_k = 4}),
              ElementsAre(0, 1, 3, 4));  // 1 ties with 2
  EXPECT_EQ(tokens_seen({.temperature = 1, .top_k = 99}).size(), 5U);
  const auto seen = frequencies({.temperature = 1, .top_k = 2, .seed = 5}, kCount);
  expect_frequency(seen[3], kCount, 2.0 / 3);
  EXPECT_EQ(seen[3] + seen[0], kCount);
}

TEST(Sampling, TopPKeepsTheLeastSetOfThatProbability) {
  constexpr int kCount = 20000;
  EXPECT_THAT(tokens_seen({.temperature = 1, .top_p = 1e-9}), ElementsAre(3));
  EXPECT_THAT(tokens_seen({.temperature = 1, .top_p = 0.45}), ElementsAre(3));
  EXPECT_THAT(tokens_seen({.temperature = 1, .top_p = 0.55}), ElementsAre(0, 3));
  EXPECT_THAT(tokens_seen({.temperature = 1, .top_p = 0.8}), ElementsAre(0, 3, 4));
  EXPECT_EQ(tokens_seen({.temperature = 1, .top_p = 0.99}).size(), 5U);
  expect_frequency(frequencies({.temperature = 1, .top_p = 0.55, .seed = 5}, kCount)[0], kCount,
                   1.0 / 3);
  // Together: of the two that top_k keeps, the first alone holds 2/3.
  EXPECT_THAT(tokens_seen({.temperature = 1, .top_k = 2, .top_p = 0.6}), ElementsAre(3));
}

TEST(Sampling, SeedAndPositionDecide) {
  const auto sequence = [](std::uint64_t seed) {
    std::vector<std::int32_t> tokens;
    for (std::int64_t position = 0; position < 64; ++position)
      tokens.push_back(sample_token(kLogits, {.temperature = 1, .seed = seed}, position));
    return tokens;
  };
  EXPECT_EQ(sequence(1), sequence(1));
  EXPECT_NE(sequence(1), sequence(2));
  // In any order.
  const auto forwards = sequence(9);
  for (std::int64_t position = 63; position >= 0; --position)
    EXPECT_EQ(sample_token(kLogits, {.temperature = 1, .seed = 9}, position), forwards[position]);
}

TEST(Sampling, OneTokenAndLargeLogitsAreFine) {
  EXPECT_EQ(sample_token(std::vector<float>{-5}, {}, 0), 0);
  const std::vector<float> large = {-3e38F, 3e38F, 1e38F};
  EXPECT_EQ(sample_token(large, {.temperature = 100}, 0), 1);
}

TEST(Sampling, BadOptionsNameOptionAndValue) {
  EXPECT_TRUE(SamplingOptions{}.check().has_value());
  const auto refuse = [](const SamplingOptions& options, const char* option, const char* value) {
    const Status status = options.check();
    ASSERT_FALSE(status.has_value()) << option;
    EXPECT_EQ(status.error().code, ErrorCode::usage);
    EXPECT_EQ(status.error().place, option);
    EXPECT_THAT(status.error().message, HasSubstr(value));
    EXPECT_NE(status.error().next_step, "");
  };
  refuse({.temperature = -0.1}, "--temperature", "-0.1 is not between 0 and 100");
  refuse({.temperature = 101}, "--temperature", "101 is not between");
  refuse({.temperature = std::nan("")}, "--temperature", "nan is not between");
  refuse({.top_k = -1}, "--top-k", "-1 is below 0");
  refuse({.top_p = 0}, "--top-p", "0 is not in (0, 1]");
  refuse({.top_p = 1.01}, "--top-p", "1.01 is not in (0, 1]");
  refuse({.top_p = std::nan("")}, "--top-p", "nan is not in (0, 1]");
}

}  // namespace
}  // namespace suanli::model
