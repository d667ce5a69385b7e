#include "suanli/plan/exchange.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "suanli/engine/compile.h"
#include "suanli/model/gpt.h"
#include "suanli/plan/profile_for_test.h"

namespace suanli::plan {
namespace {

using engine::Arithmetic;

const Exchange* find(const std::vector<Exchange>& list, const std::string& subject) {
  const auto found = std::ranges::find(list, subject, &Exchange::subject);
  return found == list.end() ? nullptr : &*found;
}

// Twice as fast at products in bf16, half as fast at memory, the same elsewhere.
Profile other_profile() {
  Profile other = profile_for_test();
  other.host = "elsewhere";
  for (MatmulRate& rate : other.matmuls)
    if (rate.arithmetic == Arithmetic::bf16) {
      Interval& each = rate.flops_per_second;
      each = {2 * each.low, 2 * each.expected, 2 * each.high};
    }
  other.copy = {9e9, 10e9, 11e9};
  return other;
}

TEST(Ratio, DeviationsOfBothSidesAddUpAsSquares) {
  const Interval ratio = ratio_of({1, 2, 4}, {3, 6, 12});
  EXPECT_DOUBLE_EQ(ratio.expected, 3);
  EXPECT_NEAR(ratio.high, 3 * std::pow(2, std::sqrt(2.0)), 1e-12);
  EXPECT_NEAR(ratio.low, 3 / std::pow(2, std::sqrt(2.0)), 1e-12);
  EXPECT_EQ(ratio_of(Interval::exactly(2), Interval::exactly(4)), Interval::exactly(2));
}

TEST(Exchange, IsARowForEachArithmeticAndShape) {
  const Profile a = profile_for_test(), b = other_profile();
  const auto list = exchange_of_devices({&a, std::nullopt}, {&b, std::nullopt});
  const Exchange *f32 = find(list, "f32 matrix product (square)"), *bf16 = find(list, "bf16 matrix product (square)"),
                 *copying = find(list, "copying memory");
  ASSERT_TRUE(f32 && bf16 && copying);
  EXPECT_DOUBLE_EQ(f32->ratio.expected, 1);
  EXPECT_DOUBLE_EQ(bf16->ratio.expected, 2);
  EXPECT_DOUBLE_EQ(copying->ratio.expected, 0.5);
  EXPECT_LT(bf16->ratio.low, 2);
  for (const Exchange& each : list) EXPECT_FALSE(each.why.empty()) << each.subject;
}

TEST(Exchange, OneProfileAgainstItselfInAnotherArithmetic) {
  const Profile a = profile_for_test();
  const auto list = exchange_of_devices({&a, Arithmetic::f32}, {&a, Arithmetic::bf16});
  const Exchange* products = find(list, "f32 : bf16 matrix product (square)");
  ASSERT_NE(products, nullptr);
  EXPECT_DOUBLE_EQ(products->ratio.expected, 5);
  EXPECT_EQ(find(list, "f32 matrix product (square)"), nullptr);
  ASSERT_NE(find(list, "reading memory"), nullptr);
  EXPECT_EQ(find(list, "reading memory")->ratio, Interval::exactly(1)) << "it is the same memory";
}

TEST(Exchange, ProductsOfOtherSizesAreNotCompared) {
  const Profile a = profile_for_test();
  Profile b = a;
  b.matmuls[0].k = 512;
  const auto list = exchange_of_devices({&a, std::nullopt}, {&b, std::nullopt});
  EXPECT_EQ(find(list, "f32 matrix product (square)"), nullptr);
  EXPECT_NE(find(list, "bf16 matrix product (square)"), nullptr);
}

TEST(Exchange, OfAJobIsThatOfItsStepTimesAndItsPartsAddUp) {
  const Profile a = profile_for_test(), b = other_profile();
  const model::GptConfig config{.layers = 1, .heads = 2, .width = 64, .context = 32, .vocab = 100};
  const auto graph = model::gpt_training_graph(config, 4, 1, {});
  ASSERT_TRUE(graph);
  const auto f32 = engine::compile(*graph, {.arithmetic = Arithmetic::f32}),
             bf16 = engine::compile(*graph, {.arithmetic = Arithmetic::bf16});
  ASSERT_TRUE(f32 && bf16);
  const auto job = exchange_of_job("job.toml", *f32, a, *bf16, b);
  ASSERT_TRUE(job) << job.error().to_string();
  EXPECT_DOUBLE_EQ(job->ratio.expected, job->a_seconds.expected / job->b_seconds.expected);
  double of_a = 0, of_b = 0;
  for (const ExchangePart& part : job->parts) {
    of_a += part.a_seconds, of_b += part.b_seconds;
    EXPECT_TRUE(part.a_memory_share >= 0 && part.a_memory_share <= 1) << part.name;
  }
  EXPECT_NEAR(of_a, job->a_seconds.expected, 1e-12);
  EXPECT_NEAR(of_b, job->b_seconds.expected, 1e-12);
  EXPECT_GE(job->parts.size(), 5U);
}

}  // namespace
}  // namespace suanli::plan
