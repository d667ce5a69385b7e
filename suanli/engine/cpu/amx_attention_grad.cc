#include <algorithm>

#include "suanli/engine/cpu/amx.h"
#include "suanli/engine/cpu/amx_attention.h"
#include "suanli/engine/cpu/amx_attention_result.h"
#include "suanli/engine/cpu/amx_attention_rows.h"
#include "suanli/engine/cpu/attention_rows.h"
#include "suanli/engine/cpu/attention_shape.h"
#include "suanli/engine/cpu/scratch_layout.h"

namespace suanli::engine {
namespace {

using amx::kPanel;
using amx::kStepBytes;

constexpr std::int64_t kFloat = sizeof(float);
constexpr std::int64_t kBlockFloats = kPanel * kPanel;  // of a block of scores
constexpr std::int64_t kKeyPanels = 8;                  // of a block of keys
constexpr float kLog2E = 1.44269504F;

class AmxAttentionGrad final : public Kernel {
 public:
  AmxAttentionGrad(const KernelSpec& spec, const AttentionShape& shape);

  void run(const KernelArgs& args) const override {
    args.pool.parallel_for(shape_.tasks(), [&](std::int64_t task, int worker) {
      run_task(args, task, args.scratch + worker * layout_.size().value());
    });
  }
  Bytes scratch(int workers) const override { return layout_.size() * std::int64_t{workers}; }
  std::string implementation() const override {
    return "amx bf16 blocks of " + std::to_string(kKeyPanels * kPanel) + " keys" + dqkv_.to_string();
  }

 private:
  struct Task {
    const KernelArgs& args;
    std::int64_t index;
    const Bf16 *q, *k, *v;  // rows `stride` elements apart
    std::int64_t stride;
    std::byte* own;
  };
  void run_task(const KernelArgs& args, std::int64_t index, std::byte* own) const;
  void load_queries(const Task& task, std::int64_t panel) const;
  void load_keys(const Task& task, std::int64_t first, std::int64_t key) const;
  void prefetch_queries(const Task& task, std::int64_t panel) const;
  void prefetch_keys(const Task& task, std::int64_t panel) const;
  void prefetch_outputs(const Task& task, std::int64_t panel) const;
  template <typename T>
  void pack_queries(const T* rows, std::int64_t stride, std::int64_t panel, std::byte* transposed, std::byte* columns) const;
  // `first` is the first panel of the block of keys, `key` and `query` are panels of keys and of queries.
  void grad_of_block(const Task& task, std::int64_t first, std::int64_t key, std::int64_t query) const;
  void add_to_queries(const Task& task, std::int64_t first, std::int64_t count, std::int64_t query) const;
  void finish_keys(const Task& task, std::int64_t key) const;
  void store(const Task& task, std::int64_t part, std::int64_t panel, const float* data) const;

  static FloatRows qkv_rows(const Bf16* part, std::int64_t stride, std::int64_t begin) {
    return {reinterpret_cast<const std::byte*>(part + begin * stride), graph::DType::bf16, stride};
  }
  FloatRows y_rows(const Task& task, std::int64_t begin) const {
    return head_rows(shape_, task.index, begin, task.args.inputs[1], y_type_);
  }
  FloatRows dy_rows(const Task& task, std::int64_t begin) const {
    return head_rows(shape_, task.index, begin, task.args.inputs[3], dy_type_);
  }
  std::int64_t rows_of(std::int64_t panel) const { return std::min(kPanel, shape_.seq - panel * kPanel); }
  std::int64_t columns_of(std::int64_t n) const { return std::min(kPanel, shape_.depth - n * kPanel); }
  std::int64_t along_depth() const { return amx::panel_bytes(shape_.depth); }
  std::int64_t along_seq() const { return amx::panel_bytes(shape_.seq); }
  float* dq_of(std::byte* own, std::int64_t query) const {
    return reinterpret_cast<float*>(own + dq_at_) + query * across_ * kBlockFloats;
  }

  AttentionShape shape_;
  graph::DType y_type_, dy_type_;
  AmxAttentionResult dqkv_;
  std::int64_t panels_;   // of queries or keys
  std::int64_t across_;   // panels of 32 along the depth
  ScratchLayout layout_;  // of one worker
  // Of all queries: panels of B = Q^T and dY^T, one per 32 queries; panels of B = Q and dY, one per 32 columns.
  std::int64_t q_transposed_at_ = 0, dy_transposed_at_ = 0, q_at_ = 0, dy_at_ = 0;
  std::int64_t stats_at_ = 0, delta_at_ = 0;  // f32 [queries], as softmax_grad_block() takes them
  std::int64_t dq_at_ = 0;                    // f32 [panel][32, 32 across]
  std::int64_t k_at_ = 0, v_at_ = 0;          // panels of A = K and V: 32 keys
  std::int64_t k_columns_at_ = 0;             // of a block of keys: panels of B = K, one per 32 columns
  std::int64_t p_at_ = 0,
               ds_at_ = 0;  // panels of A = P^T and dS^T: 32 keys, a step per panel of queries from the diagonal on
  std::int64_t s_block_at_ = 0, dp_block_at_ = 0;  // one block of S^T and dP^T
  std::int64_t ds_queries_at_ = 0;  // panels of A = dS, one per 32 queries, a step per panel of keys of the block
  std::int64_t sums_at_ = 0;        // f32 [32, 32 across]: dK or dV of a panel
  std::int64_t epilogue_at_ = 0;
};

AmxAttentionGrad::AmxAttentionGrad(const KernelSpec& spec, const AttentionShape& shape)
    : shape_(shape),
      y_type_(spec.inputs[1].dtype),
      dy_type_(spec.inputs[3].dtype),
      dqkv_(spec, 4, shape.depth),
      panels_(amx::panels_of(shape.seq)),
      across_(amx::panels_of(shape.depth)) {
  for (std::int64_t* at : {&q_transposed_at_, &dy_transposed_at_}) *at = layout_.add(panels_ * along_depth());
  for (std::int64_t* at : {&q_at_, &dy_at_}) *at = layout_.add(across_ * along_seq());
  for (std::int64_t* at : {&stats_at_, &delta_at_}) *at = layout_.add(panels_ * kPanel * kFloat);
  dq_at_ = layout_.add(panels_ * across_ * kBlockFloats * kFloat);
  for (std::int64_t* at : {&k_at_, &v_at_}) *at = layout_.add(along_depth());
  k_columns_at_ = layout_.add(across_ * kKeyPanels * kStepBytes);
  for (std::int64_t* at : {&p_at_, &ds_at_}) *at = layout_.add(along_seq());
  for (std::int64_t* at : {&s_block_at_, &dp_block_at_}) *at = layout_.add(kBlockFloats * kFloat);
  ds_queries_at_ = layout_.add(panels_ * kKeyPanels * kStepBytes);
  sums_at_ = layout_.add(across_ * kBlockFloats * kFloat);
  epilogue_at_ = layout_.add(dqkv_.scratch());
}

// Packs Q and dY of a panel of queries, and prepares its statistics.
void AmxAttentionGrad::load_queries(const Task& task, std::int64_t panel) const {
  const std::int64_t begin = panel * kPanel, rows = rows_of(panel);
  const FloatRows y = y_rows(task, begin), dy = dy_rows(task, begin);
  pack_queries(task.q + begin * task.stride, task.stride, panel, task.own + q_transposed_at_, task.own + q_at_);
  std::byte *const transposed = task.own + dy_transposed_at_, *const columns = task.own + dy_at_;
  if (dy_type_ == graph::DType::bf16)
    pack_queries(reinterpret_cast<const Bf16*>(dy.data), dy.stride, panel, transposed, columns);
  else
    pack_queries(reinterpret_cast<const float*>(dy.data), dy.stride, panel, transposed, columns);

  float* stats = reinterpret_cast<float*>(task.own + stats_at_) + begin;
  const float* given = reinterpret_cast<const float*>(task.args.inputs[2]) + task.index * shape_.seq + begin;
  scale_row(given, kLog2E, stats, rows);
  std::fill(stats + rows, stats + kPanel, 0.0F);
  amx::dot_panel(y, dy, rows, shape_.depth, shape_.scale(), reinterpret_cast<float*>(task.own + delta_at_) + begin);
}

void AmxAttentionGrad::prefetch_queries(const Task& task, std::int64_t panel) const {
  const std::int64_t begin = panel * kPanel;
  for (const FloatRows& rows : {qkv_rows(task.q, task.stride, begin), y_rows(task, begin), dy_rows(task, begin)})
    amx::prefetch_rows(rows, rows_of(panel), shape_.depth);
}

void AmxAttentionGrad::prefetch_keys(const Task& task, std::int64_t panel) const {
  for (const Bf16* part : {task.k, task.v})
    amx::prefetch_rows(qkv_rows(part, task.stride, panel * kPanel), rows_of(panel), shape_.depth);
}

// Where dQ, dK and dV of a panel go.
void AmxAttentionGrad::prefetch_outputs(const Task& task, std::int64_t panel) const {
  for (const std::int64_t part : {0, 1, 2})
    dqkv_.prefetch(task.args, head_piece(shape_, task.index, part, panel * kPanel, rows_of(panel), nullptr, 0));
}

template <typename T>
void AmxAttentionGrad::pack_queries(const T* rows, std::int64_t stride, std::int64_t panel, std::byte* transposed,
                                    std::byte* columns) const {
  amx::pack_b_transposed(rows, stride, shape_.depth, rows_of(panel), transposed + panel * along_depth());
  for (std::int64_t n = 0; n < across_; ++n)
    amx::pack_b(rows + n * kPanel, stride, rows_of(panel), columns_of(n), columns + n * along_seq() + panel * kStepBytes);
}

// Packs K and V of a panel of keys.
void AmxAttentionGrad::load_keys(const Task& task, std::int64_t first, std::int64_t key) const {
  const std::int64_t from = key * kPanel * task.stride, rows = rows_of(key);
  amx::pack_a(task.k + from, task.stride, rows, shape_.depth, task.own + k_at_);
  amx::pack_a(task.v + from, task.stride, rows, shape_.depth, task.own + v_at_);
  for (std::int64_t n = 0; n < across_; ++n)
    amx::pack_b(task.k + from + n * kPanel, task.stride, rows, columns_of(n),
                task.own + k_columns_at_ + (n * kKeyPanels + key - first) * kStepBytes);
}

// The steps of P^T, dS^T and dS of one panel of keys and one of queries.
void AmxAttentionGrad::grad_of_block(const Task& task, std::int64_t first, std::int64_t key, std::int64_t query) const {
  std::byte* const own = task.own;
  const auto floats = [&](std::int64_t at) { return reinterpret_cast<float*>(own + at); };
  const std::int64_t steps = amx::steps_of(shape_.depth), at_step = (query - key) * kStepBytes;
  float *const s = floats(s_block_at_), *const dp = floats(dp_block_at_);
  amx::multiply(own + k_at_, own + q_transposed_at_ + query * along_depth(), steps, s, kPanel, false);
  amx::multiply(own + v_at_, own + dy_transposed_at_ + query * along_depth(), steps, dp, kPanel, false);
  std::byte* const ds = own + ds_at_ + at_step;
  amx::softmax_grad_block({.s = s,
                           .dp = dp,
                           .stats = floats(stats_at_) + query * kPanel,
                           .delta = floats(delta_at_) + query * kPanel,
                           .scale = shape_.scale(),
                           .diagonal = key == query,
                           .p = own + p_at_ + at_step,
                           .ds = ds});
  amx::pack_a_transposed(reinterpret_cast<const Bf16*>(ds), kPanel, kPanel, kPanel,
                         own + ds_queries_at_ + (query * kKeyPanels + key - first) * kStepBytes);
}

// dQ += dS K over the `count` panels of keys of the block.
void AmxAttentionGrad::add_to_queries(const Task& task, std::int64_t first, std::int64_t count, std::int64_t query) const {
  float* const dq = dq_of(task.own, query);
  for (std::int64_t n = 0; n < across_; ++n)
    amx::multiply(task.own + ds_queries_at_ + query * kKeyPanels * kStepBytes,
                  task.own + k_columns_at_ + n * kKeyPanels * kStepBytes, count, dq + n * kPanel, across_ * kPanel,
                  first > 0);
}

// dK and dV of a panel of keys, over all queries from the diagonal on.
void AmxAttentionGrad::finish_keys(const Task& task, std::int64_t key) const {
  float* const sums = reinterpret_cast<float*>(task.own + sums_at_);
  for (const std::int64_t part : {1, 2}) {
    const std::byte* a = task.own + (part == 1 ? ds_at_ : p_at_);
    const std::byte* b = task.own + (part == 1 ? q_at_ : dy_at_) + key * kStepBytes;
    for (std::int64_t n = 0; n < across_; ++n)
      amx::multiply(a, b + n * along_seq(), panels_ - key, sums + n * kPanel, across_ * kPanel, false);
    store(task, part, key, sums);
  }
}

// A panel of dQ, dK or dV (part 0, 1, 2).
void AmxAttentionGrad::store(const Task& task, std::int64_t part, std::int64_t panel, const float* data) const {
  dqkv_.store(task.args, head_piece(shape_, task.index, part, panel * kPanel, rows_of(panel), data, across_ * kPanel),
              task.own + epilogue_at_);
}

void AmxAttentionGrad::run_task(const KernelArgs& args, std::int64_t index, std::byte* own) const {
  const auto part = [&](std::int64_t p) {
    return reinterpret_cast<const Bf16*>(args.inputs[0]) + shape_.qkv_offset(index, p);
  };
  const Task task{
      .args = args, .index = index, .q = part(0), .k = part(1), .v = part(2), .stride = 3 * shape_.width(), .own = own};
  const amx::Tiles tiles;
  for (std::int64_t first = 0; first < panels_; first += kKeyPanels) {
    const std::int64_t end = std::min(first + kKeyPanels, panels_);
    for (std::int64_t key = first; key < end; ++key) {
      load_keys(task, first, key);
      if (key + 1 < panels_) prefetch_keys(task, key + 1);
      prefetch_outputs(task, key);
      for (std::int64_t query = key; query < panels_; ++query) {
        if (key == 0) load_queries(task, query);
        if (key == 0 && query + 1 < panels_) prefetch_queries(task, query + 1);
        grad_of_block(task, first, key, query);
      }
      finish_keys(task, key);
    }
    for (std::int64_t query = first; query < panels_; ++query) {
      add_to_queries(task, first, std::min(end, query + 1) - first, query);
      if (query < end) store(task, 0, query, dq_of(own, query));  // no later keys
    }
  }
}

}  // namespace

std::unique_ptr<Kernel> make_amx_attention_grad(const KernelSpec& spec) {
  const AttentionShape shape = attention_shape(spec);
  check_attention_grad(spec, shape);
  return std::make_unique<AmxAttentionGrad>(spec, shape);
}

}  // namespace suanli::engine
