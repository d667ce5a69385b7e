// What the kernels of exact attention share (docs/formats/exact-arithmetic.md, section 5): the cut of a sequence into blocks, and
// packed operands of one head.
#pragma once

#include <algorithm>
#include <cstdint>

#include "suanli/engine/cpu/attention_shape.h"
#include "suanli/engine/cpu/exact/product.h"

namespace suanli::engine::exact {

// Queries or keys of a block of a product along them. Queries are also worked on in these blocks, so that the blocks of keys that
// a query sees are whole ones.
inline constexpr std::int64_t kAttentionBlock = 128;

// Block b of a sequence is [begin, begin + rows); its queries see the keys [0, extent).
struct AttentionBlocks {
  std::int64_t seq;

  std::int64_t count() const { return (seq + kAttentionBlock - 1) / kAttentionBlock; }
  std::int64_t begin(std::int64_t b) const { return b * kAttentionBlock; }
  std::int64_t rows(std::int64_t b) const { return std::min(kAttentionBlock, seq - begin(b)); }
  std::int64_t extent(std::int64_t b) const { return begin(b) + rows(b); }
  std::int64_t longest() const { return std::min(kAttentionBlock, seq); }
};

// Rows of a head, to be multiplied along its depth.
inline Packing along_depth(Isa isa, Side side, const AttentionShape& shape) {
  return {.isa = isa, .side = side, .rows = shape.seq, .k = shape.depth};
}
// `rows` rows or columns, to be multiplied along the `length` queries or keys of one block.
inline Packing along_block(Isa isa, Side side, std::int64_t rows, std::int64_t length) {
  return {.isa = isa, .side = side, .rows = rows, .k = length, .block = kAttentionBlock};
}

// C [rows of block b, extent] = the queries' side of block b times the keys' side, both along depth; what lies in panels wholly
// behind the diagonal is left alone.
inline void multiply_causal(const AttentionBlocks& blocks, std::int64_t b, const Operand& queries, const Operand& keys,
                            float* c) {
  const std::int64_t begin = blocks.begin(b), rows = blocks.rows(b), extent = blocks.extent(b);
  for (std::int64_t r = 0; r < rows; r += kPanel) {
    const std::int64_t count = std::min(kPanel, rows - r);
    multiply(queries, {begin + r, count}, keys, {0, begin + r + count}, {.terms = 3}, {c + r * extent, extent});
  }
}

// The columns of a head as operands B along queries or keys, one packed operand per block.
class HeadColumns {
 public:
  HeadColumns() = default;
  HeadColumns(Isa isa, const AttentionShape& shape) : isa_(isa), blocks_{shape.seq}, depth_(shape.depth) {
    size_ = along_block(isa, Side::b, depth_, blocks_.longest()).size().value();
  }

  std::int64_t size() const { return blocks_.count() * size_; }
  Packing packing(std::int64_t b) const { return along_block(isa_, Side::b, depth_, blocks_.rows(b)); }
  const std::byte* at(std::int64_t b, const std::byte* packed) const { return packed + b * size_; }
  // All blocks of the head whose first row is `head`, rows `stride` apart.
  void pack_all(const float* head, std::int64_t stride, std::byte* packed) const {
    for (std::int64_t b = 0; b < blocks_.count(); ++b)
      pack(packing(b), Matrix{head + blocks_.begin(b) * stride, 1, stride}, {0, depth_}, packed + b * size_);
  }
  // C [rows of a, depth] += or = the product of all columns with `a`.
  void multiply_by(const Operand& a, std::int64_t rows, std::int64_t b, const std::byte* packed, bool accumulate,
                   float* c) const {
    multiply(a, {0, rows}, {packing(b), at(b, packed)}, {0, depth_}, {.terms = 3, .accumulate = accumulate}, {c, depth_});
  }

 private:
  Isa isa_ = Isa::scalar;
  AttentionBlocks blocks_{0};
  std::int64_t depth_ = 0, size_ = 0;
};

// Brings a row of a head towards L2. Rows of a head lie far apart, so that the CPU does not foresee them: while one head is
// worked on, those of the next are asked for, a few at a time.
inline void prefetch_row(const float* row, std::int64_t depth) {
  for (std::int64_t c = 0; c < depth; c += 16) __builtin_prefetch(row + c, 0, 2);
}

// Is every input and every output that the kernel itself writes f32?
inline bool all_float32(const KernelSpec& spec, std::size_t own_inputs) {
  for (std::size_t i = 0; i < std::min(own_inputs, spec.inputs.size()); ++i)
    if (spec.inputs[i].dtype != graph::DType::f32) return false;
  return true;
}

}  // namespace suanli::engine::exact
