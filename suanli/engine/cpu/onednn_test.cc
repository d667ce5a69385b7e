#include "suanli/engine/cpu/onednn.h"

#include <gtest/gtest.h>

#include <thread>

#include "suanli/engine/cpu/kernel_test_util.h"

extern "C" int omp_get_max_threads(void);
extern "C" void omp_set_num_threads(int);

namespace suanli::engine {
namespace {

using graph::DType;

TEST(OneDnn, ScopeMarksTheThreadAndNests) {
  EXPECT_FALSE(inside_onednn());
  {
    const OneDnnScope outer;
    EXPECT_TRUE(inside_onednn());
    { const OneDnnScope inner; }
    EXPECT_TRUE(inside_onednn());
    std::thread([] { EXPECT_FALSE(inside_onednn()); }).join();
  }
  EXPECT_FALSE(inside_onednn());
}

TEST(OneDnn, ScopeHoldsOpenMpToOneThreadAndPutsItBack) {
  omp_set_num_threads(3);
  {
    const OneDnnScope scope;
    EXPECT_EQ(omp_get_max_threads(), 1);
  }
  EXPECT_EQ(omp_get_max_threads(), 3);
}

// C = A B, or C + A B from a C of ones.
void check_product(TileGemmSpec spec, DType dtype) {
  spec.operands = dtype;
  SCOPED_TRACE(std::to_string(spec.m) + "x" + std::to_string(spec.n) + "x" +
               std::to_string(spec.k) + " " + std::string(graph::name_of(dtype)) +
               (spec.packed_for != 0 ? " packed" : "") + (spec.accumulate ? " added" : ""));
  const auto gemm = TileGemm::make(spec);
  if (!gemm && dtype == DType::bf16) GTEST_SKIP() << gemm.error().to_string();
  ASSERT_TRUE(gemm) << gemm.error().to_string();

  const auto span = [](std::int64_t rows, std::int64_t row, std::int64_t columns,
                       std::int64_t column) {
    return (rows - 1) * row + (columns - 1) * column + 1;
  };
  const TestTensor a = random_tensor({dtype, {span(spec.m, spec.a_row, spec.k, spec.a_column)}}, 1);
  const TestTensor b = random_tensor({dtype, {span(spec.k, spec.b_row, spec.n, spec.b_column)}}, 2);
  TestBuffer a_data(a.bytes()), b_data(b.bytes());
  TestBuffer packed((*gemm)->packed_size().value()), scratch((*gemm)->scratch().value());
  const std::byte* right = b_data.data();
  EXPECT_EQ((*gemm)->packed_size().value() != 0, spec.packed_for != 0);
  if (spec.packed_for != 0) {
    (*gemm)->pack(b_data.data(), packed.data());
    right = packed.data();
    EXPECT_TRUE(packed.guarded());
  }
  std::vector<float> c(static_cast<std::size_t>(spec.m * spec.c_row),
                       spec.accumulate ? 1.0f : std::numeric_limits<float>::quiet_NaN());
  (*gemm)->run(a_data.data(), right, c.data(), scratch.data());
  EXPECT_TRUE(scratch.guarded());
  EXPECT_FALSE(inside_onednn());

  double worst = 0;
  for (std::int64_t i = 0; i < spec.m; ++i)
    for (std::int64_t j = 0; j < spec.n; ++j) {
      double sum = spec.accumulate ? 1 : 0;
      for (std::int64_t p = 0; p < spec.k; ++p)
        sum += double{a.values[static_cast<std::size_t>(i * spec.a_row + p * spec.a_column)]} *
               b.values[static_cast<std::size_t>(p * spec.b_row + j * spec.b_column)];
      const float got = c[static_cast<std::size_t>(i * spec.c_row + j)];
      ASSERT_TRUE(std::isfinite(got)) << i << ", " << j;
      worst = std::max(worst, std::abs(got - sum));
    }
  EXPECT_LT(worst, 1e-5 * std::sqrt(static_cast<double>(spec.k)));
  // What lies between the rows of C is not touched.
  for (std::int64_t i = 0; i + 1 < spec.m; ++i)
    for (std::int64_t j = spec.n; j < spec.c_row; ++j) {
      const float gap = c[static_cast<std::size_t>(i * spec.c_row + j)];
      ASSERT_TRUE(spec.accumulate ? gap == 1.0f : std::isnan(gap));
    }
}

class OneDnnProduct : public testing::TestWithParam<DType> {};

TEST_P(OneDnnProduct, PlainOperands) {
  for (const auto& [m, n, k] :
       {std::tuple{1, 1, 1}, {1, 37, 5}, {37, 1, 64}, {64, 64, 64}, {33, 65, 47}, {128, 257, 64}})
    for (const bool accumulate : {false, true}) {
      check_product(
          {.m = m, .n = n, .k = k, .a_row = k, .b_row = n, .c_row = n, .accumulate = accumulate},
          GetParam());
      // Transposed operands, gaps between rows.
      check_product({.m = m,
                     .n = n,
                     .k = k,
                     .a_row = 1,
                     .a_column = m + 3,
                     .b_row = 1,
                     .b_column = k + 5,
                     .c_row = n + 7,
                     .accumulate = accumulate},
                    GetParam());
    }
}

TEST_P(OneDnnProduct, PackedOperands) {
  for (const auto& [m, n, k] : {std::tuple{1, 1, 1}, {64, 64, 64}, {33, 65, 47}, {96, 129, 70}}) {
    check_product({.m = m, .n = n, .k = k, .a_row = k, .b_row = n + 9, .c_row = n, .packed_for = m},
                  GetParam());
    check_product({.m = m,
                   .n = n,
                   .k = k,
                   .a_row = k,
                   .b_row = 1,
                   .b_column = k,
                   .c_row = n,
                   .packed_for = m},
                  GetParam());
    // Another number of rows than the layout was chosen for.
    check_product({.m = m, .n = n, .k = k, .a_row = k, .b_row = n, .c_row = n, .packed_for = 256},
                  GetParam());
  }
}

INSTANTIATE_TEST_SUITE_P(Types, OneDnnProduct, testing::Values(DType::f32, DType::bf16),
                         [](const auto& tested) { return std::string(name_of(tested.param)); });

TEST(OneDnn, EqualSpecsShareAProduct) {
  const TileGemmSpec spec{.m = 8, .n = 9, .k = 10, .a_row = 10, .b_row = 9, .c_row = 9};
  const auto first = TileGemm::make(spec);
  const auto second = TileGemm::make(spec);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(*first, *second);
  TileGemmSpec other = spec;
  other.accumulate = true;
  const auto third = TileGemm::make(other);
  ASSERT_TRUE(third);
  EXPECT_NE(*first, *third);
  EXPECT_FALSE((*first)->implementation().empty());
}

TEST(OneDnn, WhatItRefusesIsAnErrorValue) {
  // A row of C shorter than the row itself.
  const auto gemm = TileGemm::make({.m = 4, .n = 8, .k = 4, .a_row = 4, .b_row = 8, .c_row = 2});
  ASSERT_FALSE(gemm);
  EXPECT_EQ(gemm.error().code, ErrorCode::unsupported);
  EXPECT_NE(gemm.error().message.find("4x8x4 in f32"), std::string::npos);
}

}  // namespace
}  // namespace suanli::engine
