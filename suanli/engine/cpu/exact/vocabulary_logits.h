// What forward and backward of the exact vocabulary loss share: the operands of logits = x w^T, w a group of entries at a time.
#pragma once

#include <algorithm>
#include <cstdint>

#include "suanli/base/thread_pool.h"
#include "suanli/engine/cpu/exact/product.h"
#include "suanli/engine/cpu/vocabulary_shape.h"

namespace suanli::engine::exact {

// Rows of x that a task takes.
inline constexpr std::int64_t kLogitRows = 128;

class VocabularyLogits {
 public:
  // `group`: entries per group, a multiple of 512.
  VocabularyLogits(const VocabularyShape& shape, std::int64_t group) : s_(shape), group_(group) {}

  Isa isa() const { return isa_; }
  Packing x() const { return {.isa = isa_, .side = Side::a, .rows = s_.rows, .k = s_.width}; }
  Packing w(std::int64_t group) const { return {.isa = isa_, .side = Side::b, .rows = entries(group), .k = s_.width}; }

  std::int64_t groups() const { return (s_.vocabulary + group_ - 1) / group_; }
  std::int64_t entries(std::int64_t group) const { return std::min(group_, s_.vocabulary - group * group_); }
  std::int64_t row_tiles() const { return (s_.rows + kLogitRows - 1) / kLogitRows; }
  Range rows(std::int64_t tile) const { return {tile * kLogitRows, std::min(kLogitRows, s_.rows - tile * kLogitRows)}; }

  void pack_x(ThreadPool& pool, const float* from, std::byte* to) const { pack_rows(pool, x(), {from, s_.width, 1}, to); }
  void pack_w(ThreadPool& pool, std::int64_t group, const float* from, std::byte* to) const {
    pack_rows(pool, w(group), {from + group * group_ * s_.width, s_.width, 1}, to);
  }

  // All rows of an operand, on all threads.
  static void pack_rows(ThreadPool& pool, const Packing& packing, const Matrix& from, std::byte* to) {
    constexpr std::int64_t kRows = 2 * kPanel;
    pool.parallel_for((packing.rows + kRows - 1) / kRows,
                      [&](std::int64_t i, int) {
                        pack(packing, from, {i * kRows, std::min(kRows, packing.rows - i * kRows)}, to);
                      },
                      /*share=*/0);
  }

 private:
  Isa isa_ = best_isa();
  VocabularyShape s_;
  std::int64_t group_;
};

}  // namespace suanli::engine::exact
