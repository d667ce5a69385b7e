#include "suanli/engine/cpu/epilogue.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "suanli/engine/cpu/kernel_test_util.h"

namespace suanli::engine {
namespace {

using graph::DType;

// Rows and columns of the result; the operands of every kind of access.
struct Fixture {
  explicit Fixture(std::int64_t rows_in, std::int64_t columns_in) : rows(rows_in), columns(columns_in) {
    const graph::Shape all = {rows, columns}, last = {columns}, row = {rows, 1}, one = {};
    operands = {random_tensor({DType::f32, all}, 1), random_tensor({DType::f32, last}, 2),
                random_tensor({DType::bf16, all}, 3), random_tensor({DType::f32, row}, 4),
                random_tensor({DType::f32, one}, 5)};
  }

  // r1 + bias, times the row's value and the scalar, plus the bf16 operand: as f32 and as bf16; and the result itself.
  Region region() const {
    const std::int64_t n = rows * columns;
    Region r{.shape = {rows, columns},
             .inputs = {{DType::f32, Access::full, n},
                        {DType::f32, Access::full, n},
                        {DType::f32, Access::periodic, columns},
                        {DType::bf16, Access::full, n},
                        {DType::f32, Access::row, rows},
                        {DType::f32, Access::scalar, 1}},
             .code = {},
             .outputs = {}};
    r.code = {{RegionOp::add, 0, 1}, {RegionOp::add, 6, 2}, {RegionOp::mul, 7, 4},        {RegionOp::mul, 8, 5},
              {RegionOp::add, 9, 3}, {RegionOp::round_bf16, 10}, {RegionOp::scale, 10, 0, 3.0F}};
    r.outputs = {{10, DType::f32}, {11, DType::bf16}, {0, DType::f32}};  // the last op is read by nobody
    return r;
  }

  float expected(std::int64_t r, std::int64_t c, float result) const {
    const auto at = [&](std::size_t operand, std::int64_t i) { return operands[operand].values[static_cast<std::size_t>(i)]; };
    const std::int64_t i = r * columns + c;
    return (((result + at(0, i)) + at(1, c)) * at(3, r)) * at(4, 0) + at(2, i);
  }

  std::int64_t rows, columns;
  std::vector<TestTensor> operands;
};

// Runs the region over the result cut into pieces of `height` x `width`, with `gap` floats between their rows.
void check(std::int64_t rows, std::int64_t columns, std::int64_t height, std::int64_t width, std::int64_t gap) {
  SCOPED_TRACE(testing::Message() << rows << "x" << columns << " in " << height << "x" << width);
  const Fixture f(rows, columns);
  const std::vector<float> result = random_tensor(graph::f32({rows, columns}), 9).values;
  const Epilogue epilogue(f.region(), width);
  std::vector<TestBuffer> inputs;
  std::vector<const std::byte*> in;
  for (const TestTensor& operand : f.operands) inputs.emplace_back(operand.bytes());
  for (TestBuffer& buffer : inputs) in.push_back(buffer.data());
  TestBuffer sums(rows * columns * 4), rounded(rows * columns * 2), plain(rows * columns * 4);
  std::byte* out[] = {sums.data(), rounded.data(), plain.data()};
  TestBuffer scratch(epilogue.scratch().value());
  for (std::int64_t r0 = 0; r0 < rows; r0 += height)
    for (std::int64_t c0 = 0; c0 < columns; c0 += width) {
      const std::int64_t h = std::min(height, rows - r0), w = std::min(width, columns - c0);
      std::vector<float> piece(static_cast<std::size_t>(h * (w + gap) + 64), std::nanf(""));
      for (std::int64_t r = 0; r < h; ++r)
        std::copy_n(&result[static_cast<std::size_t>((r0 + r) * columns + c0)], w,
                    &piece[static_cast<std::size_t>(r * (w + gap))]);
      epilogue.run({in.data(), out}, {piece.data(), w + gap, r0, h, c0, w}, scratch.data());
    }
  EXPECT_TRUE(sums.guarded() && rounded.guarded() && plain.guarded() && scratch.guarded());
  const auto* f32 = reinterpret_cast<const float*>(sums.data());
  const auto* halves = reinterpret_cast<const std::uint16_t*>(rounded.data());
  const auto* same = reinterpret_cast<const float*>(plain.data());
  for (std::int64_t i = 0; i < rows * columns; ++i) {
    const float y = f.expected(i / columns, i % columns, result[static_cast<std::size_t>(i)]);
    ASSERT_EQ(f32[i], y) << i;
    ASSERT_EQ(std::bit_cast<float>(static_cast<std::uint32_t>(halves[i]) << 16), round_to_bf16(y)) << i;
    ASSERT_EQ(same[i], result[static_cast<std::size_t>(i)]) << i;
  }
}

TEST(Epilogue, PiecesOfAnySizeGiveTheWhole) {
  check(5, 64, 5, 64, 0);
  check(33, 96, 32, 32, 0);
  check(7, 48, 2, 16, 16);
  check(3, 5, 2, 5, 0);
  check(4, 37, 4, 32, 3);
  check(2, 5000, 1, 5000, 8);  // longer than a tile of the region
  check(1, 1, 1, 1, 0);
}

TEST(Epilogue, SharesABufferOnlyWithWhatTheRegionReadsElementForElement) {
  const Fixture f(4, 32);
  const Epilogue epilogue(f.region(), 32);
  constexpr int kOwn = 2;  // operands of the kernel itself
  EXPECT_FALSE(epilogue.in_place(0, kOwn, 0));
  EXPECT_TRUE(epilogue.in_place(2, kOwn, 0));    // full, f32
  EXPECT_FALSE(epilogue.in_place(2, kOwn, 1));   // another type
  EXPECT_FALSE(epilogue.in_place(3, kOwn, 0));   // a bias
  EXPECT_TRUE(epilogue.in_place(4, kOwn, 1));    // full, bf16
  EXPECT_FALSE(epilogue.in_place(5, kOwn, 0));   // a value per row
  EXPECT_FALSE(epilogue.in_place(2, kOwn, 3));   // no output of the region
}

TEST(Epilogue, IdentityOnlyStores) {
  const Epilogue epilogue(identity_region({2, 3}, DType::bf16), 3);
  EXPECT_EQ(epilogue.to_string(), "");
  const float piece[] = {1.0F, 2.00390625F, 3.0F, 4.0F, 5.0F, NAN};
  TestBuffer out(12), scratch(epilogue.scratch().value());
  std::byte* outputs[] = {out.data()};
  epilogue.run({nullptr, outputs}, {piece, 3, 0, 2, 0, 3}, scratch.data());
  EXPECT_TRUE(out.guarded());
  const auto* halves = reinterpret_cast<const std::uint16_t*>(out.data());
  EXPECT_EQ(halves[0], 0x3F80);
  EXPECT_EQ(halves[1], 0x4000);  // 2 + 2^-8: a tie, to even
  EXPECT_EQ(halves[5] & 0x7FC0, 0x7FC0);
}

}  // namespace
}  // namespace suanli::engine
