#include "suanli/engine/cpu/amx_attention_rows.h"

#include <gtest/gtest.h>

#include "suanli/engine/cpu/amx.h"
#include "suanli/engine/cpu/bf16.h"
#include "suanli/engine/cpu/kernel_test_util.h"

namespace suanli::engine::amx {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr std::size_t kBlock = 32, kBlockFloats = kBlock * kBlock;

float widen(Bf16 x) { return std::bit_cast<float>(std::uint32_t{x.bits} << 16); }

// Room for `count` elements, 64-byte aligned.
template <typename T>
class Aligned {
 public:
  explicit Aligned(std::size_t count) : buffer_(static_cast<std::int64_t>(count * sizeof(T))) {}
  T* data() { return reinterpret_cast<T*>(buffer_.data()); }
  T& operator[](std::size_t i) { return data()[i]; }
  std::byte* bytes() { return buffer_.data(); }
  bool guarded() { return buffer_.guarded(); }

 private:
  TestBuffer buffer_;
};

Aligned<float> random_floats(std::size_t count, std::uint64_t seed, float factor) {
  const TestTensor tensor = random_tensor(graph::f32({static_cast<std::int64_t>(count)}), seed);
  Aligned<float> result(count);
  for (std::size_t i = 0; i < count; ++i) result[i] = factor * tensor.values[i];
  return result;
}

class AmxAttentionRows : public testing::Test {
 protected:
  void SetUp() override {
    if (!available()) GTEST_SKIP() << "no AMX";
  }
};

TEST_F(AmxAttentionRows, PowersOfTwo) {
  constexpr std::size_t kCount = 1 << 16;
  Aligned<float> x(kCount), y(kCount);
  for (const double range : {1.0, 126.0}) {
    for (std::size_t i = 0; i < kCount; ++i) x[i] = static_cast<float>(range * (2.0 * static_cast<double>(i) / kCount - 1));
    powers_of_two(x.data(), y.data(), kCount);
    for (std::size_t i = 0; i < kCount; ++i) {
      const double want = std::exp2(double{x[i]});
      const float rounded = static_cast<float>(want);
      const double ulp = std::nextafter(rounded, kInfinity) - double{rounded};
      ASSERT_LE(std::abs(y[i] - want), 1.5 * ulp) << x[i];
    }
  }
}

TEST_F(AmxAttentionRows, PowersOfTwoAtTheEnds) {
  const float given[16] = {0,    -0.0F,  127,        128,  200,     1e30F, kInfinity, -126,
                           -151, -1e30F, -kInfinity, kNan, -1e-30F, 1,     -1,        10};
  const float want[16] = {1, 1, 0x1p127F, kInfinity, kInfinity, kInfinity, kInfinity, 0x1p-126F,
                          0, 0, 0,        kNan,      1,         2,         0.5,       1024};
  Aligned<float> x(16), y(16);
  std::copy_n(given, 16, x.data());
  powers_of_two(x.data(), y.data(), 16);
  for (std::size_t i = 0; i < 16; ++i) {
    if (std::isnan(want[i]))
      EXPECT_TRUE(std::isnan(y[i]));
    else
      EXPECT_FLOAT_EQ(y[i], want[i]) << x[i];
  }
}

TEST_F(AmxAttentionRows, SoftmaxPanel) {
  const float scale = 0.25F;
  for (const std::size_t blocks : {1, 2, 5}) {
    Aligned<float> s = random_floats(blocks * kBlockFloats, blocks, 40);
    Aligned<float> top(kBlock), sum(kBlock);
    Aligned<Bf16> p(blocks * kBlockFloats);
    softmax_panel(s.data(), static_cast<std::int64_t>(blocks), scale, p.bytes(), top.data(), sum.data());
    for (std::size_t query = 0; query < kBlock; ++query) {
      const std::size_t keys = (blocks - 1) * kBlock + query + 1;
      const auto at = [&](std::size_t key) { return key / kBlock * kBlockFloats + query * kBlock + key % kBlock; };
      double highest = -kInfinity, total = 0;
      for (std::size_t key = 0; key < keys; ++key) highest = std::max(highest, double{scale} * s[at(key)]);
      for (std::size_t key = 0; key < blocks * kBlock; ++key) {
        const double want = key < keys ? std::exp(double{scale} * s[at(key)] - highest) : 0;
        total += want;
        EXPECT_NEAR(widen(p[at(key)]), want, want / 256) << query << ", " << key;
      }
      EXPECT_NEAR(top[query], highest, 1e-6 * std::abs(highest));
      EXPECT_NEAR(sum[query], total, 1e-5 * total);
    }
    EXPECT_TRUE(p.guarded() && top.guarded() && sum.guarded());
  }
}

// -infinity is a weight of 0; NaN and infinity spoil their own row and no other; masked scores are never looked at.
TEST_F(AmxAttentionRows, SoftmaxPanelOfSpecialValues) {
  Aligned<float> s = random_floats(2 * kBlockFloats, 1, 1);
  const auto at = [](std::size_t query, std::size_t key) {
    return key / kBlock * kBlockFloats + query * kBlock + key % kBlock;
  };
  s[at(3, 5)] = -kInfinity;
  s[at(4, 5)] = kNan;
  s[at(5, 36)] = kNan;
  s[at(6, 2)] = kInfinity;
  s[at(7, 40)] = kNan;       // masked
  s[at(8, 63)] = kInfinity;  // masked
  Aligned<float> top(kBlock), sum(kBlock);
  Aligned<Bf16> p(2 * kBlockFloats);
  softmax_panel(s.data(), 2, 1, p.bytes(), top.data(), sum.data());
  for (std::size_t query = 0; query < kBlock; ++query) EXPECT_EQ(std::isfinite(sum[query]), query < 4 || query > 6) << query;
  EXPECT_EQ(p[at(3, 5)].bits, 0);
  EXPECT_TRUE(std::isnan(widen(p[at(4, 5)])));
  EXPECT_TRUE(std::isnan(widen(p[at(5, 36)])));
  EXPECT_EQ(p[at(7, 40)].bits, 0);
  EXPECT_EQ(p[at(8, 63)].bits, 0);
}

TEST_F(AmxAttentionRows, SoftmaxGradBlock) {
  const float scale = 0.25F;
  Aligned<float> s = random_floats(kBlockFloats, 1, 4), dp = random_floats(kBlockFloats, 2, 1);
  Aligned<float> stats = random_floats(kBlock, 3, 1), delta = random_floats(kBlock, 4, 1);
  dp[3] = kNan;  // key 0, query 3
  for (const bool diagonal : {false, true}) {
    Aligned<Bf16> p(kBlockFloats), ds(kBlockFloats);
    softmax_grad_block({.s = s.data(),
                        .dp = dp.data(),
                        .stats = stats.data(),
                        .delta = delta.data(),
                        .scale = scale,
                        .diagonal = diagonal,
                        .p = p.bytes(),
                        .ds = ds.bytes()});
    for (std::size_t key = 0; key < kBlock; ++key)
      for (std::size_t query = 0; query < kBlock; ++query) {
        const std::size_t i = key * kBlock + query;
        const bool masked = diagonal && query < key;
        const double want_p = masked ? 0 : std::exp2(double{scale} * s[i] * 1.4426950408889634 - stats[query]);
        const double want_ds = masked ? 0 : want_p * (double{scale} * dp[i] - delta[query]);
        EXPECT_NEAR(widen(p[i]), want_p, want_p / 256);
        if (i == 3)
          EXPECT_TRUE(std::isnan(widen(ds[i])));
        else
          EXPECT_NEAR(widen(ds[i]), want_ds, std::abs(want_ds) / 256 + 1e-6);
      }
    EXPECT_TRUE(p.guarded() && ds.guarded());
  }
}

TEST_F(AmxAttentionRows, DivideRows) {
  Aligned<float> x(kBlock * 64), divisors(kBlock);
  for (std::size_t i = 0; i < kBlock * 64; ++i) x[i] = static_cast<float>(i);
  for (std::size_t r = 0; r < kBlock; ++r) divisors[r] = static_cast<float>(1 << (r % 8));
  divide_rows(x.data(), 64, 40, divisors.data());
  for (std::size_t i = 0; i < kBlock * 64; ++i)
    EXPECT_EQ(x[i], static_cast<float>(i) / (i % 64 < 48 ? divisors[i / 64] : 1)) << i;  // 40 is rounded up to 48
}

TEST_F(AmxAttentionRows, RoundRows) {
  constexpr std::int64_t kStride = 64, kToStride = 70, kRows = 3;
  for (const std::int64_t columns : {1, 31, 32, 40, 64}) {
    Aligned<float> x = random_floats(kRows * kStride, 1, 3);
    x[2] = kNan;
    std::vector<Bf16> to(kRows * kToStride, Bf16{0xABCD});
    round_rows(x.data(), kStride, kRows, columns, to.data() + 1, kToStride);
    for (std::int64_t r = 0; r < kRows; ++r)
      for (std::int64_t c = 0; c < kToStride - 1; ++c) {
        const Bf16 got = to[static_cast<std::size_t>(r * kToStride + 1 + c)];
        const float given = c < columns ? x[static_cast<std::size_t>(r * kStride + c)] : 0;
        if (c >= columns) {
          EXPECT_EQ(got.bits, 0xABCD);
        } else if (std::isnan(given)) {
          EXPECT_TRUE(std::isnan(widen(got)));
        } else {
          EXPECT_EQ(widen(got), round_to_bf16(given));
        }
      }
  }
}

TEST_F(AmxAttentionRows, DotPanel) {
  for (const std::int64_t columns : {1, 16, 31, 40, 64, 128})
    for (const std::int64_t rows : {1, 15, 17, 32})
      for (const graph::DType a_type : {graph::DType::f32, graph::DType::bf16})
        for (const graph::DType b_type : {graph::DType::f32, graph::DType::bf16}) {
          const std::int64_t stride = columns + 3;
          const TestTensor a = random_tensor({a_type, {rows, stride}}, 1), b = random_tensor({b_type, {rows, stride}}, 2);
          const std::vector<std::byte> a_bytes = a.bytes(), b_bytes = b.bytes();
          Aligned<float> dots(kBlock);
          dot_panel({a_bytes.data(), a_type, stride}, {b_bytes.data(), b_type, stride}, rows, columns, 0.5F, dots.data());
          for (std::int64_t r = 0; r < 32; ++r) {
            double want = 0;
            for (std::int64_t c = 0; r < rows && c < columns; ++c) {
              const auto at = static_cast<std::size_t>(r * stride + c);
              want += 0.5 * a.values[at] * b.values[at];
            }
            EXPECT_NEAR(dots[static_cast<std::size_t>(r)], want, 1e-5);
          }
          EXPECT_TRUE(dots.guarded());
        }
}

}  // namespace
}  // namespace suanli::engine::amx
