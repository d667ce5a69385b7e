// exact_attention_grad: attention_grad (kernel.h) in exact arithmetic (docs/formats/exact-arithmetic.md, section 5). One task per
// sequence and head; S, P, dP and dS of one block of queries at a time exist, in the worker's scratch. The statistic L is not
// read: the weights are made again, as the forward kernel made them.
#include <algorithm>

#include "suanli/engine/cpu/exact/attention.h"
#include "suanli/engine/cpu/exact/attention_rows.h"
#include "suanli/engine/cpu/kernel_support.h"
#include "suanli/engine/cpu/scratch_layout.h"

namespace suanli::engine {
namespace {

using namespace exact;

constexpr std::int64_t kFloat = sizeof(float);

class ExactAttentionGrad final : public Kernel {
 public:
  ExactAttentionGrad(const AttentionShape& shape, Epilogue epilogue)
      : shape_(shape),
        blocks_{shape.seq},
        epilogue_(std::move(epilogue)),
        rows_a_(along_depth(isa_, Side::a, shape)),
        rows_b_(along_depth(isa_, Side::b, shape)),
        columns_(isa_, shape) {
    const std::int64_t rows = blocks_.longest();
    for (std::int64_t* at : {&q_at_, &dy_at_}) *at = layout_.add(rows_a_.size());
    for (std::int64_t* at : {&k_at_, &v_at_}) *at = layout_.add(rows_b_.size());
    for (std::int64_t* at : {&q_columns_at_, &k_columns_at_, &dy_columns_at_}) *at = layout_.add(columns_.size());
    for (std::int64_t* at : {&p_at_, &ds_at_}) *at = layout_.add(rows * shape.seq * kFloat);
    packed_at_ = layout_.add(std::max(along_block(isa_, Side::a, rows, rows).size().value(),
                                      along_block(isa_, Side::a, shape.seq, rows).size().value()));
    dq_at_ = layout_.add(rows * shape.depth * kFloat);
    for (std::int64_t* at : {&dk_at_, &dv_at_}) *at = layout_.add(shape.seq * shape.depth * kFloat);
    delta_at_ = layout_.add(rows * kFloat);
    epilogue_at_ = layout_.add(epilogue_.scratch());
  }

  void run(const KernelArgs& args) const override {
    args.pool.parallel_for(shape_.tasks(), [&](std::int64_t task, int worker) {
      run_task(args, task, args.scratch + worker * layout_.size().value());
    });
  }
  Bytes scratch(int workers) const override { return layout_.size() * std::int64_t{workers}; }
  std::string implementation() const override {
    return "exact:" + std::string(name_of(isa_)) + " blocks of " + std::to_string(blocks_.longest()) + epilogue_.to_string();
  }

 private:
  void run_task(const KernelArgs& args, std::int64_t task, std::byte* own) const;
  void pack_head(const KernelArgs& args, std::int64_t task, std::byte* own) const;
  void softmax_grad(const KernelArgs& args, std::int64_t task, std::int64_t b, std::byte* own) const;
  void add_keys(std::int64_t b, const float* by_query, std::int64_t columns_at, std::byte* own, float* to) const;
  void make_dq(std::int64_t b, std::byte* own) const;
  void store(const KernelArgs& args, std::int64_t task, std::int64_t part, std::int64_t begin, std::int64_t rows, float factor,
             float* data, std::byte* own) const;

  float* floats(std::byte* own, std::int64_t at) const { return reinterpret_cast<float*>(own + at); }

  Isa isa_ = best_isa();
  AttentionShape shape_;
  AttentionBlocks blocks_;
  Epilogue epilogue_;
  Packing rows_a_, rows_b_;
  HeadColumns columns_;
  ScratchLayout layout_;                                                  // of one worker
  std::int64_t q_at_ = 0, k_at_ = 0, v_at_ = 0, dy_at_ = 0;               // packed along depth
  std::int64_t q_columns_at_ = 0, k_columns_at_ = 0, dy_columns_at_ = 0;  // packed along the sequence
  std::int64_t p_at_ = 0, ds_at_ = 0;                                     // f32 [rows, extent]: S, then w, then P; dP, then dS
  std::int64_t packed_at_ = 0;                                            // of P or dS, the other operand of a product
  std::int64_t dq_at_ = 0, dk_at_ = 0, dv_at_ = 0;                        // f32 [rows, d] and [seq, d]
  std::int64_t delta_at_ = 0;                                             // f32 [rows]
  std::int64_t epilogue_at_ = 0;
};

void ExactAttentionGrad::pack_head(const KernelArgs& args, std::int64_t task, std::byte* own) const {
  const float *const qkv = input<float>(args, 0), *const dy = input<float>(args, 3) + shape_.out_offset(task);
  const float *const q = qkv + shape_.qkv_offset(task, 0), *const k = qkv + shape_.qkv_offset(task, 1);
  const float* const v = qkv + shape_.qkv_offset(task, 2);
  const std::int64_t stride = 3 * shape_.width();
  const Range all{0, shape_.seq};
  pack(rows_a_, Matrix{q, stride, 1}, all, own + q_at_);
  pack(rows_a_, Matrix{dy, shape_.width(), 1}, all, own + dy_at_);
  pack(rows_b_, Matrix{k, stride, 1}, all, own + k_at_);
  pack(rows_b_, Matrix{v, stride, 1}, all, own + v_at_);
  columns_.pack_all(q, stride, own + q_columns_at_);
  columns_.pack_all(k, stride, own + k_columns_at_);
  columns_.pack_all(dy, shape_.width(), own + dy_columns_at_);
}

// P and dS of the queries of block b.
void ExactAttentionGrad::softmax_grad(const KernelArgs& args, std::int64_t task, std::int64_t b, std::byte* own) const {
  const std::int64_t begin = blocks_.begin(b), rows = blocks_.rows(b), extent = blocks_.extent(b);
  const float scale = shape_.scale();
  float *const p = floats(own, p_at_), *const ds = floats(own, ds_at_), *const delta = floats(own, delta_at_);
  multiply_causal(blocks_, b, {rows_a_, own + q_at_}, {rows_b_, own + k_at_}, p);
  multiply_causal(blocks_, b, {rows_a_, own + dy_at_}, {rows_b_, own + v_at_}, ds);
  const auto of_head = [&](int index) { return head_rows(shape_, task, begin, args.inputs[index], graph::DType::f32); };
  dot_rows(of_head(3), of_head(1), rows, shape_.depth, delta);
  const std::int64_t next = std::min(task + args.pool.size(), shape_.tasks() - 1);
  for (std::int64_t r = 0; r < rows; ++r) {
    for (const std::int64_t part : {0, 1, 2})
      prefetch_row(input<float>(args, 0) + shape_.qkv_offset(next, part) + (begin + r) * 3 * shape_.width(), shape_.depth);
    for (const int index : {1, 3})
      prefetch_row(input<float>(args, index) + shape_.out_offset(next) + (begin + r) * shape_.width(), shape_.depth);
    const std::int64_t valid = begin + r + 1;
    const WeightRow row = weigh_row(p + r * extent, valid, extent, scale);
    weight_grad_row(p + r * extent, ds + r * extent, valid, extent, row.count(), delta[r]);
  }
}

// to [extent, d] += by_query^T [extent, rows] times the columns of block b.
void ExactAttentionGrad::add_keys(std::int64_t b, const float* by_query, std::int64_t columns_at, std::byte* own,
                                  float* to) const {
  const std::int64_t rows = blocks_.rows(b), extent = blocks_.extent(b);
  const Packing packing = along_block(isa_, Side::a, extent, rows);
  pack(packing, Matrix{by_query, 1, extent}, {0, extent}, own + packed_at_);
  columns_.multiply_by({packing, own + packed_at_}, extent, b, own + columns_at, true, to);
}

// dQ of the queries of block b, not yet scaled.
void ExactAttentionGrad::make_dq(std::int64_t b, std::byte* own) const {
  const std::int64_t rows = blocks_.rows(b), extent = blocks_.extent(b);
  for (std::int64_t keys = 0; keys <= b; ++keys) {
    const Packing packing = along_block(isa_, Side::a, rows, blocks_.rows(keys));
    pack(packing, Matrix{floats(own, ds_at_) + blocks_.begin(keys), extent, 1}, {0, rows}, own + packed_at_);
    columns_.multiply_by({packing, own + packed_at_}, rows, keys, own + k_columns_at_, keys > 0, floats(own, dq_at_));
  }
}

// Rows [begin, begin + rows) of dQ, dK or dV (part 0, 1, 2), times the factor.
void ExactAttentionGrad::store(const KernelArgs& args, std::int64_t task, std::int64_t part, std::int64_t begin,
                               std::int64_t rows, float factor, float* data, std::byte* own) const {
  multiply_row(data, factor, rows * shape_.depth);
  epilogue_.run({args.inputs + 4, args.outputs}, head_piece(shape_, task, part, begin, rows, data, shape_.depth),
                own + epilogue_at_);
}

void ExactAttentionGrad::run_task(const KernelArgs& args, std::int64_t task, std::byte* own) const {
  const float scale = shape_.scale();
  float *const dk = floats(own, dk_at_), *const dv = floats(own, dv_at_);
  pack_head(args, task, own);
  std::fill_n(dk, shape_.seq * shape_.depth, 0.0F);
  std::fill_n(dv, shape_.seq * shape_.depth, 0.0F);
  for (std::int64_t b = 0; b < blocks_.count(); ++b) {
    softmax_grad(args, task, b, own);
    add_keys(b, floats(own, p_at_), dy_columns_at_, own, dv);
    add_keys(b, floats(own, ds_at_), q_columns_at_, own, dk);
    make_dq(b, own);
    store(args, task, 0, blocks_.begin(b), blocks_.rows(b), scale, floats(own, dq_at_), own);
  }
  for (std::int64_t b = 0; b < blocks_.count(); ++b) {
    const std::int64_t begin = blocks_.begin(b), rows = blocks_.rows(b);
    store(args, task, 1, begin, rows, scale, dk + begin * shape_.depth, own);
    store(args, task, 2, begin, rows, 1, dv + begin * shape_.depth, own);
  }
}

Result<std::unique_ptr<Kernel>> make(const KernelSpec& spec) {
  if (!all_float32(spec, 4)) return unsupported(spec);
  const AttentionShape shape = attention_shape(spec);
  check_attention_grad(spec, shape);
  return std::make_unique<ExactAttentionGrad>(shape, make_epilogue(spec, shape.depth));
}

}  // namespace

void register_exact_attention_grad(KernelTable& table) { table.add("exact_attention_grad", make); }

}  // namespace suanli::engine
