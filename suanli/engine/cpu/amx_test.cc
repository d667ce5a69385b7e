#include "suanli/engine/cpu/amx.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <vector>

#include "suanli/engine/cpu/tile_ops.h"

namespace suanli::engine::amx {
namespace {

struct Free {
  void operator()(void* p) const { std::free(p); }
};
template <typename T>
std::unique_ptr<T[], Free> aligned(std::int64_t count) {
  const auto bytes = (static_cast<std::size_t>(count) * sizeof(T) + 8191) / 64 * 64;
  return std::unique_ptr<T[], Free>(static_cast<T*>(std::aligned_alloc(64, bytes)));
}

float value(std::int64_t i) { return static_cast<float>((i * 2654435761LL >> 7) % 255 - 127) / 64.0F; }

// A matrix of `rows` x `columns`, in f32 and in bf16; what lies between its rows is NaN, which no packing may read.
struct Matrix {
  Matrix(std::int64_t rows_in, std::int64_t columns_in, std::int64_t stride_in)
      : columns(columns_in), stride(stride_in), f(rows_in * stride_in, NAN), h(rows_in * stride_in, Bf16{0x7FC0}) {
    for (std::int64_t r = 0; r < rows_in; ++r)
      for (std::int64_t c = 0; c < columns; ++c) {
        f[r * stride + c] = value(r * columns + c);
        narrow(&f[r * stride + c], &h[r * stride + c], 1);
      }
  }
  float at(std::int64_t r, std::int64_t c) const {
    float x;
    widen(&h[r * stride + c], &x, 1);
    return x;
  }
  std::int64_t columns, stride;
  std::vector<float> f;
  std::vector<Bf16> h;
};

template <typename T>
const std::vector<T>& elements(const Matrix& m) {
  if constexpr (std::is_same_v<T, float>)
    return m.f;
  else
    return m.h;
}

template <typename T>
void check(std::int64_t m, std::int64_t n, std::int64_t k, bool ta, bool tb) {
  SCOPED_TRACE(testing::Message() << m << " x " << n << " x " << k << (ta ? " ta" : "") << (tb ? " tb" : ""));
  const Matrix a = ta ? Matrix(k, m, m + 3) : Matrix(m, k, k + 5);
  const Matrix b = tb ? Matrix(n, k, k + 1) : Matrix(k, n, n + 7);
  const auto pa = aligned<std::byte>(panel_bytes(k)), pb = aligned<std::byte>(panel_bytes(k));
  const auto c = aligned<float>(32 * 40);
  const Tiles tiles;
  if (ta)
    pack_a_transposed(elements<T>(a).data(), a.stride, m, k, pa.get());
  else
    pack_a(elements<T>(a).data(), a.stride, m, k, pa.get());
  if (tb)
    pack_b_transposed(elements<T>(b).data(), b.stride, k, n, pb.get());
  else
    pack_b(elements<T>(b).data(), b.stride, k, n, pb.get());
  multiply(pa.get(), pb.get(), steps_of(k), c.get(), 40, false);
  multiply(pa.get(), pb.get(), steps_of(k), c.get(), 40, true);  // and once more on top
  for (std::int64_t i = 0; i < kPanel; ++i)
    for (std::int64_t j = 0; j < kPanel; ++j) {
      double sum = 0;
      if (i < m && j < n)
        for (std::int64_t p = 0; p < k; ++p)
          sum += double{ta ? a.at(p, i) : a.at(i, p)} * double{tb ? b.at(j, p) : b.at(p, j)};
      ASSERT_NEAR(c[i * 40 + j], 2 * sum, 1e-4 * std::max(1.0, std::abs(sum))) << i << ", " << j;
    }
}

TEST(Amx, ProductsOfPackedPanels) {
  if (!available()) GTEST_SKIP() << "no AMX on this machine";
  for (const bool ta : {false, true})
    for (const bool tb : {false, true})
      for (const auto& [m, n, k] : std::vector<std::array<std::int64_t, 3>>{
               {32, 32, 32}, {32, 32, 96}, {1, 1, 1}, {17, 31, 33}, {16, 5, 64}, {31, 16, 70}}) {
        check<float>(m, n, k, ta, tb);
        check<Bf16>(m, n, k, ta, tb);
      }
}

TEST(Amx, ColumnSumsOfAPackedPanel) {
  if (!available()) GTEST_SKIP() << "no AMX on this machine";
  const Matrix b(70, 31, 40);
  const auto packed = aligned<std::byte>(panel_bytes(70));
  pack_b(b.h.data(), b.stride, 70, 31, packed.get());
  float sums[32];
  column_sums(packed.get(), steps_of(70), sums);
  for (std::int64_t j = 0; j < 32; ++j) {
    double sum = 0;
    for (std::int64_t p = 0; j < 31 && p < 70; ++p) sum += double{b.at(p, j)};
    EXPECT_NEAR(sums[j], sum, 1e-4) << j;
  }
}

TEST(Amx, IntegerProductsAreExact) {
  if (!available()) GTEST_SKIP() << "no AMX on this machine";
  constexpr std::int64_t kDepth = 128;  // two steps
  const auto a = aligned<std::int8_t>(kDepth * 32), b = aligned<std::int8_t>(kDepth * 32);
  const auto c = aligned<std::int32_t>(32 * 32);
  const auto element = [](std::int64_t i) { return static_cast<std::int8_t>((i * 7919 >> 3) % 255 - 127); };
  const auto x = [&](std::int64_t i, std::int64_t p) { return element(i * kDepth + p); };
  const auto y = [&](std::int64_t p, std::int64_t j) { return element(5 + p * 32 + j); };
  for (std::int64_t p = 0; p < kDepth; ++p)
    for (std::int64_t i = 0; i < 32; ++i) {
      const std::int64_t tile = p / 64 * kStepBytes + i / 16 * 1024;
      a[tile + i % 16 * 64 + p % 64] = x(i, p);
      b[tile + p % 64 / 4 * 64 + i % 16 * 4 + p % 4] = y(p, i);
    }
  const Tiles tiles;
  multiply_int8(reinterpret_cast<std::byte*>(a.get()), reinterpret_cast<std::byte*>(b.get()), 2, c.get(), 32, false);
  multiply_int8(reinterpret_cast<std::byte*>(a.get()), reinterpret_cast<std::byte*>(b.get()), 2, c.get(), 32, true);
  for (std::int64_t i = 0; i < 32; ++i)
    for (std::int64_t j = 0; j < 32; ++j) {
      std::int32_t sum = 0;
      for (std::int64_t p = 0; p < kDepth; ++p) sum += std::int32_t{x(i, p)} * y(p, j);
      ASSERT_EQ(c[i * 32 + j], 2 * sum) << i << ", " << j;
    }
}

}  // namespace
}  // namespace suanli::engine::amx
