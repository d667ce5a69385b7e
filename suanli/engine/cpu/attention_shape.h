// What the attention kernels share: the shape, where a head lies, and what a spec asks for.
#pragma once

#include <cstddef>
#include <cstdint>

#include "suanli/engine/cpu/attention_rows.h"
#include "suanli/engine/cpu/epilogue.h"
#include "suanli/engine/kernel.h"

namespace suanli::engine {

struct AttentionShape {
  std::int64_t batch = 0, heads = 0, seq = 0, depth = 0;
  graph::DType dtype = graph::DType::f32;  // of qkv, and of every product's operands

  std::int64_t width() const { return heads * depth; }
  std::int64_t tasks() const { return batch * heads; }
  std::int64_t element() const { return graph::size_of(dtype).value(); }
  float scale() const;  // 1 / sqrt(depth)

  // Task = sequence * heads + head. Its first row in qkv and in [N, C] tensors, and its first column in the latter.
  std::int64_t first_row(std::int64_t task) const { return task / heads * seq; }
  std::int64_t first_column(std::int64_t task) const { return task % heads * depth; }
  // Element of qkv where its part 0, 1, 2 (q, k, v) begins; rows are 3 width() apart.
  std::int64_t qkv_offset(std::int64_t task, std::int64_t part) const {
    return first_row(task) * 3 * width() + part * width() + first_column(task);
  }
  // The same in [N, C] tensors; rows are width() apart.
  std::int64_t out_offset(std::int64_t task) const { return first_row(task) * width() + first_column(task); }
};

// Of a kernel whose first input is qkv.
AttentionShape attention_shape(const KernelSpec& spec);

// The outputs of a forward kernel ("attention" or "attention_stats").
struct AttentionOutputs {
  bool out;   // through the epilogue
  int stats;  // index among all outputs, -1: not wanted
};
// Checks the spec against the contract of kernel.h.
AttentionOutputs attention_outputs(const KernelSpec& spec, const AttentionShape& shape);

// Checks the spec of "attention_grad".
void check_attention_grad(const KernelSpec& spec, const AttentionShape& shape);

// The epilogue's piece of `rows` rows of a head: rows `begin` on of the task's sequence. `part` is 0 for [N, C] results,
// 0, 1, 2 for the parts of [N, 3C] ones.
inline EpiloguePiece head_piece(const AttentionShape& shape, std::int64_t task, std::int64_t part, std::int64_t begin,
                                std::int64_t rows, const float* data, std::int64_t stride) {
  return {.data = data,
          .stride = stride,
          .row = shape.first_row(task) + begin,
          .rows = rows,
          .column = part * shape.width() + shape.first_column(task),
          .columns = shape.depth};
}

// One head of a [N, C] tensor of f32 or bf16, from row `begin` of the sequence on.
inline FloatRows head_rows(const AttentionShape& shape, std::int64_t task, std::int64_t begin, const std::byte* tensor,
                           graph::DType dtype) {
  const std::int64_t first = shape.out_offset(task) + begin * shape.width();
  return {.data = tensor + first * graph::size_of(dtype).value(), .dtype = dtype, .stride = shape.width()};
}

}  // namespace suanli::engine
