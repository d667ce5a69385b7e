// attention_grad(qkv, y, stats, dy) -> dqkv, one task per sequence and head. Scores are computed
// again, transposed (a row per key), which makes P^T and dS^T the plain left operands of dV and dK.
// Blocks of queries run from the last, which sees every key and so writes dK and dV whole, to the
// first; the others add to them, always in this order.
#include <cmath>

#include "suanli/engine/cpu/attention_rows.h"
#include "suanli/engine/cpu/attention_shape.h"
#include "suanli/engine/cpu/onednn.h"
#include "suanli/engine/cpu/scratch_layout.h"
#include "suanli/engine/kernel.h"

namespace suanli::engine {
namespace {

constexpr std::int64_t kFloat = sizeof(float);

class AttentionGradKernel final : public Kernel {
 public:
  explicit AttentionGradKernel(const AttentionShape& shape) : shape_(shape) {}
  Status prepare();

  void run(const KernelArgs& args) const override {
    args.pool.parallel_for(shape_.tasks(), [&](std::int64_t task, int worker) {
      run_task(args, task, args.scratch + worker * layout_.size().value());
    });
  }
  Bytes scratch(int workers) const override { return layout_.size() * std::int64_t{workers}; }
  std::string implementation() const override {
    return blocks_.empty() ? "none"
                           : blocks_.front().scores->implementation() + " blocks of " +
                                 std::to_string(shape_.max_rows());
  }

 private:
  struct Block {
    std::shared_ptr<const TileGemm> scores;   // S^T [extent, rows] = K Q^T, and dP^T = V dY^T
    std::shared_ptr<const TileGemm> keys;     // dV [extent, d] (+)= P^T dY, and dK (+)= dS^T Q
    std::shared_ptr<const TileGemm> queries;  // dQ [rows, d] = (dS^T)^T K
  };
  struct Buffers {         // of one worker
    std::byte *q, *k, *v;  // [seq, d]
    std::byte* dy;         // [rows, d], in the operands' type
    float *s, *dp;         // S^T, dP^T [extent, rows]
    std::byte *p, *ds;     // P^T, dS^T [extent, rows], in the operands' type
    float *dq, *dk, *dv;   // [rows, d], [seq, d], [seq, d]
    float* delta;          // [rows]
    std::byte* onednn;
  };
  Buffers buffers(std::byte* own) const;
  void run_task(const KernelArgs& args, std::int64_t task, std::byte* own) const;
  void load_block(const KernelArgs& args, std::int64_t task, std::int64_t b,
                  const Buffers& at) const;
  void softmax_grad(const KernelArgs& args, std::int64_t task, std::int64_t b,
                    const Buffers& at) const;
  void scatter(const float* rows, std::int64_t count, float* to) const;

  AttentionShape shape_;
  std::vector<Block> blocks_;
  ScratchLayout layout_;
  std::int64_t q_at_ = 0, k_at_ = 0, v_at_ = 0, dy_at_ = 0, s_at_ = 0, dp_at_ = 0, p_at_ = 0,
               ds_at_ = 0, dq_at_ = 0, dk_at_ = 0, dv_at_ = 0, delta_at_ = 0, onednn_at_ = 0;
};

Status AttentionGradKernel::prepare() {
  const std::int64_t depth = shape_.depth;
  Bytes onednn{};
  if (shape_.batch == 0) return {};
  for (std::int64_t b = 0; b < shape_.blocks(); ++b) {
    const std::int64_t rows = shape_.rows(b), extent = shape_.extent(b);
    Block block;
    SUANLI_ASSIGN_OR_RETURN(block.scores, TileGemm::make({.m = extent,
                                                          .n = rows,
                                                          .k = depth,
                                                          .operands = shape_.dtype,
                                                          .a_row = depth,
                                                          .b_row = 1,
                                                          .b_column = depth,
                                                          .c_row = rows}));
    SUANLI_ASSIGN_OR_RETURN(block.keys, TileGemm::make({.m = extent,
                                                        .n = depth,
                                                        .k = rows,
                                                        .operands = shape_.dtype,
                                                        .a_row = rows,
                                                        .b_row = depth,
                                                        .c_row = depth,
                                                        .accumulate = b + 1 < shape_.blocks()}));
    SUANLI_ASSIGN_OR_RETURN(block.queries, TileGemm::make({.m = rows,
                                                           .n = depth,
                                                           .k = extent,
                                                           .operands = shape_.dtype,
                                                           .a_row = 1,
                                                           .a_column = rows,
                                                           .b_row = depth,
                                                           .c_row = depth}));
    onednn = std::max(
        {onednn, block.scores->scratch(), block.keys->scratch(), block.queries->scratch()});
    blocks_.push_back(std::move(block));
  }
  const std::int64_t head = shape_.seq * depth;
  const std::int64_t block_head = shape_.max_rows() * depth;
  const std::int64_t scores = shape_.max_rows() * shape_.seq;
  for (std::int64_t* at : {&q_at_, &k_at_, &v_at_}) *at = layout_.add(head * shape_.element());
  dy_at_ = layout_.add(block_head * shape_.element());
  for (std::int64_t* at : {&s_at_, &dp_at_}) *at = layout_.add(scores * kFloat);
  p_at_ = s_at_;
  ds_at_ = dp_at_;
  if (shape_.dtype == graph::DType::bf16)
    for (std::int64_t* at : {&p_at_, &ds_at_}) *at = layout_.add(scores * shape_.element());
  dq_at_ = layout_.add(block_head * kFloat);
  for (std::int64_t* at : {&dk_at_, &dv_at_}) *at = layout_.add(head * kFloat);
  delta_at_ = layout_.add(shape_.max_rows() * kFloat);
  onednn_at_ = layout_.add(onednn);
  return {};
}

AttentionGradKernel::Buffers AttentionGradKernel::buffers(std::byte* own) const {
  const auto floats = [&](std::int64_t at) { return reinterpret_cast<float*>(own + at); };
  return {.q = own + q_at_,
          .k = own + k_at_,
          .v = own + v_at_,
          .dy = own + dy_at_,
          .s = floats(s_at_),
          .dp = floats(dp_at_),
          .p = own + p_at_,
          .ds = own + ds_at_,
          .dq = floats(dq_at_),
          .dk = floats(dk_at_),
          .dv = floats(dv_at_),
          .delta = floats(delta_at_),
          .onednn = own + onednn_at_};
}

// dY of the block in the operands' type, and delta_i = dy_i y_i.
void AttentionGradKernel::load_block(const KernelArgs& args, std::int64_t task, std::int64_t b,
                                     const Buffers& at) const {
  const float* y = reinterpret_cast<const float*>(args.inputs[1]) + shape_.out_offset(task);
  const float* dy = reinterpret_cast<const float*>(args.inputs[3]) + shape_.out_offset(task);
  for (std::int64_t r = 0; r < shape_.rows(b); ++r) {
    const std::int64_t row = (shape_.begin(b) + r) * shape_.width();
    std::byte* to = at.dy + r * shape_.depth * shape_.element();
    at.delta[r] = dot_row(y + row, dy + row, shape_.depth);
    if (shape_.dtype == graph::DType::bf16)
      round_row(dy + row, reinterpret_cast<Bf16*>(to), shape_.depth);
    else
      std::memcpy(to, dy + row, static_cast<std::size_t>(shape_.depth * kFloat));
  }
}

// S^T, dP^T -> P^T, dS^T.
void AttentionGradKernel::softmax_grad(const KernelArgs& args, std::int64_t task, std::int64_t b,
                                       const Buffers& at) const {
  const std::int64_t begin = shape_.begin(b), rows = shape_.rows(b);
  const float scale = 1.0f / std::sqrt(static_cast<float>(shape_.depth));
  const float* stats = reinterpret_cast<const float*>(args.inputs[2]) + task * shape_.seq + begin;
  const bool rounds = shape_.dtype == graph::DType::bf16;
  for (std::int64_t key = 0; key < shape_.extent(b); ++key) {
    const std::int64_t offset = key * rows;
    softmax_grad_row({.s = at.s + offset,
                      .dp = at.dp + offset,
                      .rounded_p = rounds ? reinterpret_cast<Bf16*>(at.p) + offset : nullptr,
                      .rounded_ds = rounds ? reinterpret_cast<Bf16*>(at.ds) + offset : nullptr},
                     stats, at.delta, scale, std::max<std::int64_t>(0, key - begin), rows);
  }
}

// Dense rows into a head of dqkv.
void AttentionGradKernel::scatter(const float* rows, std::int64_t count, float* to) const {
  for (std::int64_t t = 0; t < count; ++t)
    std::memcpy(to + t * 3 * shape_.width(), rows + t * shape_.depth,
                static_cast<std::size_t>(shape_.depth * kFloat));
}

void AttentionGradKernel::run_task(const KernelArgs& args, std::int64_t task,
                                   std::byte* own) const {
  const Buffers at = buffers(own);
  shape_.gather(args.inputs[0], task, 0, at.q);
  shape_.gather(args.inputs[0], task, 1, at.k);
  shape_.gather(args.inputs[0], task, 2, at.v);
  float* out = reinterpret_cast<float*>(args.outputs[0]);
  for (std::int64_t b = shape_.blocks() - 1; b >= 0; --b) {
    const Block& block = blocks_[static_cast<std::size_t>(b)];
    const std::byte* q = at.q + shape_.begin(b) * shape_.depth * shape_.element();
    load_block(args, task, b, at);
    block.scores->run(at.k, q, at.s, at.onednn);
    block.scores->run(at.v, at.dy, at.dp, at.onednn);
    softmax_grad(args, task, b, at);
    block.keys->run(at.p, at.dy, at.dv, at.onednn);
    block.keys->run(at.ds, q, at.dk, at.onednn);
    block.queries->run(at.ds, at.k, at.dq, at.onednn);
    scatter(at.dq, shape_.rows(b),
            out + shape_.qkv_offset(task, 0) + shape_.begin(b) * 3 * shape_.width());
  }
  scatter(at.dk, shape_.seq, out + shape_.qkv_offset(task, 1));
  scatter(at.dv, shape_.seq, out + shape_.qkv_offset(task, 2));
}

Result<std::unique_ptr<Kernel>> make_attention_grad(const KernelSpec& spec) {
  SUANLI_CHECK(spec.inputs.size() == 4 && spec.outputs.size() == 1);
  const AttentionShape shape = attention_shape(spec);
  const graph::TensorType y = graph::f32({shape.batch * shape.seq, shape.width()});
  SUANLI_CHECK(spec.inputs[1] == y && spec.inputs[3] == y);
  SUANLI_CHECK(spec.inputs[2] == graph::f32({shape.tasks(), shape.seq}));
  SUANLI_CHECK(spec.outputs[0] == graph::f32(spec.inputs[0].shape));
  auto kernel = std::make_unique<AttentionGradKernel>(shape);
  SUANLI_RETURN_IF_ERROR(kernel->prepare());
  return kernel;
}

}  // namespace

void register_attention_grad(KernelTable& table) {
  table.add("attention_grad", make_attention_grad);
}

}  // namespace suanli::engine
