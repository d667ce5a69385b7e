// Exact products of f32 matrices: C = A B whose bits do not depend on how they are computed
// (docs/formats/exact-arithmetic.md, section 1). The building block of the kernels exact_matmul, exact_attention and
// exact_vocabulary_loss.
//
// An operand is packed once, then used in any number of products. Packing cuts K into blocks, finds each row's scale in each
// block and stores the digits as the instruction set wants them; "rows" are here the rows of A as well as the columns of B.
// Rows are packed in panels of 32: ranges of rows begin at a multiple of 32 and end at one or at the end.
//
//   const Packing pa = packing(Side::a, m, k), pb = packing(Side::b, n, k);
//   pack(pa, {x, k, 1}, {0, m}, a);                // A [M, K], row-major
//   pack(pb, {w, 1, n}, {0, n}, b);                // B [K, N], row-major: element (column j, p) lies at w[j + p n]
//   multiply({pa, a}, {0, m}, {pb, b}, {0, n}, {.terms = 3}, {c, n});
//
// Thread rule: functions keep no state. Any number of threads may pack ranges that do not overlap, and multiply into parts of
// C that do not overlap, once what they read is packed. pack() and multiply() need up to 200 KiB of stack.
#pragma once

#include <cstddef>
#include <cstdint>

#include "suanli/base/units.h"
#include "suanli/engine/cpu/exact/isa.h"
#include "suanli/engine/cpu/exact/split.h"

namespace suanli::engine::exact {

inline constexpr std::int64_t kPanel = 32;  // rows of A, columns of B

enum class Side : std::uint8_t { a, b };

struct Range {
  std::int64_t begin = 0;
  std::int64_t count = 0;
};

// The shape of a packed operand, and for which instructions it is packed.
struct Packing {
  Isa isa = Isa::scalar;
  Side side = Side::a;
  std::int64_t rows = 0;
  std::int64_t k = 0;
  std::int64_t block = kLongestBlock;  // 1..512

  std::int64_t panels() const { return (rows + kPanel - 1) / kPanel; }
  std::int64_t blocks() const { return (k + block - 1) / block; }
  std::int64_t length(std::int64_t b) const { return b + 1 < blocks() ? block : k - b * block; }
  std::int64_t panel_bytes() const;  // panel i begins at i * panel_bytes()
  Bytes size() const;                // of the whole operand, a multiple of 64
};

// For best_isa().
Packing packing(Side side, std::int64_t rows, std::int64_t k, std::int64_t block = kLongestBlock);

// An operand in memory: element p of row r lies at data[r * row_stride + p * k_stride]. Fast if one stride is 1.
struct Matrix {
  const float* data = nullptr;
  std::int64_t row_stride = 0;
  std::int64_t k_stride = 0;
};
// The same of integers |v| <= kLargest, of which v / 2^exponent is meant; -64 <= exponent <= 64.
struct IntegerMatrix {
  const std::int16_t* data = nullptr;
  std::int64_t row_stride = 0;
  std::int64_t k_stride = 0;
  int exponent = 0;
};

// Packs these rows, all of K, or only these blocks of it. `matrix` is the whole operand: its row 0 is row 0 of the packing.
// `to` is the whole packed operand, 64-byte aligned.
void pack(const Packing& packing, const Matrix& matrix, Range rows, std::byte* to);
void pack(const Packing& packing, const Matrix& matrix, Range rows, Range blocks, std::byte* to);
// As if each row had been split with this scale, in each block.
void pack(const Packing& packing, const IntegerMatrix& matrix, Range rows, std::byte* to);

struct Operand {
  const Packing& packing;
  const std::byte* data;
  std::int64_t first_block = 0;  // which block of the product the packing's block 0 is, where it holds a part of K only
};
struct ProductOptions {
  int terms = 3;            // or 4
  bool accumulate = false;  // add the blocks to what C holds instead of +0
  Range blocks = {0, -1};   // of the product; -1: to A's end
};
struct Result32 {
  float* data;
  std::int64_t stride;  // element (i, j) of the ranges lies at data[i * stride + j]
};

// C [rows, columns] = the product of these rows of A and columns of B. Blocks are added one after the other, ascending, in
// f32, so that accumulating over consecutive ranges of blocks gives the bits of one product over all of them. Both operands
// have the same isa and, in each of these blocks, the same length. No blocks: C is +0, or unchanged. NaN comes out as
// 0x7FC00000; with `accumulate`, any NaN that C held before must be that one. Nothing beyond the rows and columns asked for is
// written; C needs no alignment.
void multiply(const Operand& a, Range rows, const Operand& b, Range columns, const ProductOptions& options, Result32 c);

}  // namespace suanli::engine::exact
