#include "suanli/engine/cpu/attention_rows.h"

#include <gtest/gtest.h>

#include "suanli/engine/cpu/kernel_test_util.h"
#include "suanli/engine/cpu/simd_targets.h"
// After simd_targets.h.
#include <hwy/highway.h>

namespace suanli::engine {
namespace {

// Every instruction set this machine has, down to scalar code.
class AttentionRows : public testing::TestWithParam<std::int64_t> {
 protected:
  void SetUp() override { use_targets(GetParam()); }
  void TearDown() override { use_targets(0); }

 private:
  // 0: all.
  static void use_targets(std::int64_t targets) {
    hwy::SetSupportedTargetsForTest(targets);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

constexpr float kUntouched = 77;

std::vector<float> random_row(std::int64_t count, std::uint64_t seed) {
  std::vector<float> row = random_tensor(graph::f32({count}), seed).values;
  row.push_back(kUntouched);
  return row;
}

float widen(Bf16 x) { return std::bit_cast<float>(std::uint32_t{x.bits} << 16); }

TEST_P(AttentionRows, Softmax) {
  for (const std::int64_t count : {1, 3, 16, 17, 33, 100})
    for (const std::int64_t valid : {std::int64_t{1}, (count + 1) / 2, count}) {
      const std::vector<float> s = random_row(count, 1);
      std::vector<float> p = s;
      std::vector<Bf16> rounded(s.size(), Bf16{0xABCD});
      const float scale = 0.25f;
      const SoftmaxRow row = softmax_row(p.data(), valid, count, scale, nullptr);
      std::vector<float> kept = s;
      const SoftmaxRow same = softmax_row(kept.data(), valid, count, scale, rounded.data());
      EXPECT_EQ(kept, s);
      EXPECT_EQ(row.sum, same.sum);
      const float top = *std::max_element(s.begin(), s.begin() + valid);
      EXPECT_EQ(row.top, top * scale);
      double sum = 0;
      for (std::int64_t j = 0; j < count; ++j) {
        const auto at = static_cast<std::size_t>(j);
        const double want = j < valid ? std::exp(double{scale} * (s[at] - top)) : 0;
        sum += want;
        EXPECT_NEAR(p[at], want, 1e-6);
        EXPECT_EQ(widen(rounded[at]), round_to_bf16(p[at]));
      }
      EXPECT_NEAR(row.sum, sum, 1e-5 * sum);
      EXPECT_EQ(p.back(), kUntouched);
      EXPECT_EQ(rounded.back().bits, 0xABCD);
    }
}

TEST_P(AttentionRows, SoftmaxKeepsNan) {
  std::vector<float> s = random_row(20, 1);
  s[18] = std::numeric_limits<float>::quiet_NaN();
  std::vector<Bf16> rounded(20);
  const SoftmaxRow row = softmax_row(s.data(), 20, 20, 1, rounded.data());
  EXPECT_TRUE(std::isnan(row.sum));
  EXPECT_TRUE(std::isnan(widen(rounded[18])));
}

TEST_P(AttentionRows, SoftmaxGrad) {
  for (const std::int64_t count : {1, 5, 16, 31, 128})
    for (const std::int64_t first : {std::int64_t{0}, count / 2, count - 1}) {
      const std::vector<float> s = random_row(count, 1), dp = random_row(count, 2);
      const std::vector<float> stats = random_row(count, 3), delta = random_row(count, 4);
      std::vector<float> p = s, ds = dp, s_kept = s, dp_kept = dp;
      std::vector<Bf16> rounded_p(s.size(), Bf16{1}), rounded_ds(s.size(), Bf16{1});
      const float scale = 0.5f;
      softmax_grad_row({p.data(), ds.data(), nullptr, nullptr}, stats.data(), delta.data(), scale, first, count);
      softmax_grad_row({s_kept.data(), dp_kept.data(), rounded_p.data(), rounded_ds.data()}, stats.data(), delta.data(),
                       scale, first, count);
      for (std::int64_t c = 0; c < count; ++c) {
        const auto at = static_cast<std::size_t>(c);
        const double want_p = c < first ? 0 : std::exp(double{scale} * s[at] - stats[at]);
        EXPECT_NEAR(p[at], want_p, 1e-5);
        EXPECT_NEAR(ds[at], scale * want_p * (dp[at] - delta[at]), 1e-5);
        EXPECT_EQ(widen(rounded_p[at]), round_to_bf16(p[at]));
        EXPECT_EQ(widen(rounded_ds[at]), round_to_bf16(ds[at]));
      }
      EXPECT_EQ(p.back(), kUntouched);
      EXPECT_EQ(ds.back(), kUntouched);
      EXPECT_EQ(rounded_p.back().bits, 1);
      EXPECT_EQ(rounded_ds.back().bits, 1);
    }
}

TEST_P(AttentionRows, ScaleAndLogSum) {
  for (const std::int64_t count : {1, 7, 64, 67}) {
    const std::vector<float> a = random_row(count, 1), b = random_row(count, 2);
    std::vector<float> scaled(a.size(), kUntouched), totals(a.size(), kUntouched), sums(a.size());
    for (std::size_t i = 0; i < a.size(); ++i) sums[i] = 1.5f + b[i];
    scale_row(a.data(), 3, scaled.data(), count);
    log_sum_row(a.data(), sums.data(), totals.data(), count);
    for (std::int64_t i = 0; i < count; ++i) {
      const auto at = static_cast<std::size_t>(i);
      EXPECT_EQ(scaled[at], 3 * a[at]);
      EXPECT_NEAR(totals[at], a[at] + std::log(double{sums[at]}), 1e-6);
    }
    EXPECT_EQ(scaled.back(), kUntouched);
    EXPECT_EQ(totals.back(), kUntouched);
  }
}

// Every pair of element types, rows further apart than they are long.
TEST_P(AttentionRows, DotRows) {
  constexpr std::int64_t kRows = 3;
  for (const std::int64_t columns : {1, 7, 64, 67}) {
    const std::int64_t stride = columns + 5;
    for (const graph::DType a_type : {graph::DType::f32, graph::DType::bf16})
      for (const graph::DType b_type : {graph::DType::f32, graph::DType::bf16}) {
        const TestTensor a = random_tensor({a_type, {kRows, stride}}, 1);
        const TestTensor b = random_tensor({b_type, {kRows, stride}}, 2);
        const std::vector<std::byte> a_bytes = a.bytes(), b_bytes = b.bytes();
        std::vector<float> dots(kRows + 1, kUntouched);
        dot_rows({a_bytes.data(), a_type, stride}, {b_bytes.data(), b_type, stride}, kRows, columns, dots.data());
        for (std::int64_t r = 0; r < kRows; ++r) {
          double dot = 0;
          for (std::int64_t c = 0; c < columns; ++c) {
            const auto at = static_cast<std::size_t>(r * stride + c);
            dot += double{a.values[at]} * b.values[at];
          }
          EXPECT_NEAR(dots[static_cast<std::size_t>(r)], dot, 1e-5);
        }
        EXPECT_EQ(dots.back(), kUntouched);
      }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, AttentionRows, testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                         [](const auto& tested) { return std::string(hwy::TargetName(tested.param)); });

}  // namespace
}  // namespace suanli::engine
