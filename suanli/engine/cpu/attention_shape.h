// What the attention kernels share: the shape, the cut of a sequence into blocks of queries, and
// where a head lies.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "suanli/base/error.h"
#include "suanli/engine/kernel.h"

namespace suanli::engine {

// Queries per block: scores of one block and all its keys are held at a time.
inline constexpr std::int64_t kAttentionBlock = 128;

struct AttentionShape {
  std::int64_t batch = 0, heads = 0, seq = 0, depth = 0;
  graph::DType dtype = graph::DType::f32;  // of qkv, and of every product's operands

  std::int64_t width() const { return heads * depth; }
  std::int64_t tasks() const { return batch * heads; }
  std::int64_t element() const { return graph::size_of(dtype).value(); }
  // Block b holds queries [begin, begin + rows) and looks at keys [0, extent).
  std::int64_t blocks() const { return (seq + kAttentionBlock - 1) / kAttentionBlock; }
  std::int64_t begin(std::int64_t b) const { return b * kAttentionBlock; }
  std::int64_t rows(std::int64_t b) const { return std::min(kAttentionBlock, seq - begin(b)); }
  std::int64_t extent(std::int64_t b) const { return begin(b) + rows(b); }
  std::int64_t max_rows() const { return std::min(kAttentionBlock, seq); }

  // Element of qkv where part 0, 1, 2 (q, k, v) of task = sequence * heads + head begins; rows are
  // 3 width() apart.
  std::int64_t qkv_offset(std::int64_t task, std::int64_t part) const {
    return task / heads * seq * 3 * width() + part * width() + task % heads * depth;
  }
  // The same in [N, C] tensors; rows are width() apart.
  std::int64_t out_offset(std::int64_t task) const {
    return task / heads * seq * width() + task % heads * depth;
  }
  // Copies one head's q, k or v into dense rows [seq, depth].
  void gather(const std::byte* qkv, std::int64_t task, std::int64_t part, std::byte* to) const {
    const std::byte* from = qkv + qkv_offset(task, part) * element();
    const std::int64_t row = depth * element();
    for (std::int64_t t = 0; t < seq; ++t)
      std::memcpy(to + t * row, from + t * 3 * width() * element(), static_cast<std::size_t>(row));
  }
};

// Of a kernel whose first input is qkv.
inline AttentionShape attention_shape(const KernelSpec& spec) {
  const graph::TensorType& qkv = spec.inputs[0];
  AttentionShape shape{
      .heads = spec.attrs.integer("heads"), .seq = spec.attrs.integer("seq"), .dtype = qkv.dtype};
  SUANLI_CHECK(graph::is_float(qkv.dtype) && qkv.shape.size() == 2);
  SUANLI_CHECK(shape.heads >= 1 && shape.seq >= 1);
  SUANLI_CHECK(qkv.shape[0] % shape.seq == 0 && qkv.shape[1] % (3 * shape.heads) == 0);
  shape.batch = qkv.shape[0] / shape.seq;
  shape.depth = qkv.shape[1] / (3 * shape.heads);
  SUANLI_CHECK(shape.depth >= 1);
  return shape;
}

}  // namespace suanli::engine
