// Attention on oneDNN tiles: where there is no AMX, for f32, and as the oracle of our own kernels (amx_attention.h).
// One task per sequence and head; blocks of queries against all keys up to the last of them, so that scores of one block
// at a time exist, in the worker's scratch.
#pragma once

#include <algorithm>
#include <memory>

#include "suanli/engine/cpu/attention_shape.h"
#include "suanli/engine/kernel.h"

namespace suanli::engine {

// The cut of a sequence into blocks of queries. Block b holds queries [begin, begin + rows) and looks at keys [0, extent).
struct QueryBlocks {
  std::int64_t seq;
  std::int64_t size;  // of all blocks but the last

  std::int64_t count() const { return (seq + size - 1) / size; }
  std::int64_t begin(std::int64_t b) const { return b * size; }
  std::int64_t rows(std::int64_t b) const { return std::min(size, seq - begin(b)); }
  std::int64_t extent(std::int64_t b) const { return begin(b) + rows(b); }
  std::int64_t longest() const { return std::min(size, seq); }
};
QueryBlocks query_blocks(const AttentionShape& shape);

// Copies one head's q, k or v (part 0, 1, 2) into dense rows [seq, depth].
void gather_head(const AttentionShape& shape, const std::byte* qkv, std::int64_t task, std::int64_t part, std::byte* to);

// "attention" or "attention_stats", and "attention_grad". Error unsupported if this machine cannot.
Result<std::unique_ptr<Kernel>> make_onednn_attention(const KernelSpec& spec);
Result<std::unique_ptr<Kernel>> make_onednn_attention_grad(const KernelSpec& spec);

}  // namespace suanli::engine
