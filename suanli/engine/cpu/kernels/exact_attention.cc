// exact_attention and exact_attention_stats: attention and attention_stats (kernel.h) in exact arithmetic
// (docs/formats/exact-arithmetic.md, section 5). One task per sequence and head; scores of one block of queries at a time exist,
// in the worker's scratch.
#include <optional>

#include "suanli/engine/cpu/exact/attention.h"
#include "suanli/engine/cpu/exact/attention_pack.h"
#include "suanli/engine/cpu/exact/attention_rows.h"
#include "suanli/engine/cpu/kernel_support.h"
#include "suanli/engine/cpu/scratch_layout.h"

namespace suanli::engine {
namespace {

using namespace exact;

constexpr std::int64_t kFloat = sizeof(float);

class ExactAttention final : public Kernel {
 public:
  ExactAttention(const AttentionShape& shape, AttentionOutputs outputs, std::optional<Epilogue> epilogue)
      : shape_(shape),
        blocks_{shape.seq},
        outputs_(outputs),
        epilogue_(std::move(epilogue)),
        q_(along_depth(isa_, Side::a, shape)),
        k_(along_depth(isa_, Side::b, shape)),
        v_(isa_, shape) {
    const std::int64_t rows = blocks_.longest();
    q_at_ = layout_.add(q_.size());
    k_at_ = layout_.add(k_.size());
    v_at_ = layout_.add(v_.size());
    scores_at_ = layout_.add(rows * shape.seq * kFloat);
    weights_at_ = layout_.add(rows * shape.seq * std::int64_t{sizeof(std::int16_t)});
    packed_at_ = layout_.add(along_block(isa_, Side::a, rows, rows).size());
    mixed_at_ = layout_.add(rows * shape.depth * kFloat);
    for (std::int64_t* at : {&tops_at_, &sums_at_}) *at = layout_.add(rows * kFloat);
    if (epilogue_) epilogue_at_ = layout_.add(epilogue_->scratch());
  }

  void run(const KernelArgs& args) const override {
    args.pool.parallel_for(shape_.tasks(), [&](std::int64_t task, int worker) {
      run_task(args, task, args.scratch + worker * layout_.size().value());
    });
  }
  Bytes scratch(int workers) const override { return layout_.size() * std::int64_t{workers}; }
  std::string implementation() const override {
    return "exact:" + std::string(name_of(isa_)) + " blocks of " + std::to_string(blocks_.longest()) +
           (epilogue_ ? epilogue_->to_string() : "");
  }

 private:
  void run_task(const KernelArgs& args, std::int64_t task, std::byte* own) const;
  void mix(std::int64_t b, std::byte* own) const;

  float* floats(std::byte* own, std::int64_t at) const { return reinterpret_cast<float*>(own + at); }

  Isa isa_ = best_isa();
  AttentionShape shape_;
  AttentionBlocks blocks_;
  AttentionOutputs outputs_;
  std::optional<Epilogue> epilogue_;  // of out
  Packing q_, k_;
  HeadColumns v_;
  ScratchLayout layout_;  // of one worker
  std::int64_t q_at_ = 0, k_at_ = 0, v_at_ = 0;
  std::int64_t scores_at_ = 0;              // f32 [rows, extent]
  std::int64_t weights_at_ = 0;             // i16 [rows, extent]
  std::int64_t packed_at_ = 0;              // weights of one block of keys
  std::int64_t mixed_at_ = 0;               // f32 [rows, d]
  std::int64_t tops_at_ = 0, sums_at_ = 0;  // f32 [rows]
  std::int64_t epilogue_at_ = 0;
};

// u of the queries of block b: their weights times v, block of keys after block.
void ExactAttention::mix(std::int64_t b, std::byte* own) const {
  const std::int64_t rows = blocks_.rows(b), extent = blocks_.extent(b);
  const std::int16_t* weights = reinterpret_cast<const std::int16_t*>(own + weights_at_);
  for (std::int64_t keys = 0; keys <= b; ++keys) {
    const Packing packing = along_block(isa_, Side::a, rows, blocks_.rows(keys));
    pack_weights(packing, weights + blocks_.begin(keys), extent, own + packed_at_);
    v_.multiply_by({packing, own + packed_at_}, rows, keys, own + v_at_, keys > 0, floats(own, mixed_at_));
  }
}

void ExactAttention::run_task(const KernelArgs& args, std::int64_t task, std::byte* own) const {
  const std::int64_t stride = 3 * shape_.width();
  const float scale = shape_.scale();
  const float* qkv = input<float>(args, 0);
  pack(q_, Matrix{qkv + shape_.qkv_offset(task, 0), stride, 1}, {0, shape_.seq}, own + q_at_);
  pack(k_, Matrix{qkv + shape_.qkv_offset(task, 1), stride, 1}, {0, shape_.seq}, own + k_at_);
  if (outputs_.out) v_.pack_all(qkv + shape_.qkv_offset(task, 2), stride, own + v_at_);
  float *const scores = floats(own, scores_at_), *const mixed = floats(own, mixed_at_);
  float *const tops = floats(own, tops_at_), *const sums = floats(own, sums_at_);
  std::int16_t* const weights = reinterpret_cast<std::int16_t*>(own + weights_at_);
  const std::int64_t next = std::min(task + args.pool.size(), shape_.tasks() - 1);
  for (std::int64_t b = 0; b < blocks_.count(); ++b) {
    const std::int64_t begin = blocks_.begin(b), rows = blocks_.rows(b), extent = blocks_.extent(b);
    multiply_causal(blocks_, b, {q_, own + q_at_}, {k_, own + k_at_}, scores);
    for (std::int64_t r = 0; r < rows; ++r) {
      for (const std::int64_t part : {0, 1, 2})
        prefetch_row(qkv + shape_.qkv_offset(next, part) + (begin + r) * stride, shape_.depth);
      const WeightRow row = weigh_row(scores + r * extent, begin + r + 1, extent, scale, weights + r * extent);
      tops[r] = row.top;
      sums[r] = row.sum_of_exp();
    }
    if (outputs_.stats >= 0)
      exact::log_sum_row(tops, sums, output<float>(args, outputs_.stats) + task * shape_.seq + begin, rows);
    if (!outputs_.out) continue;
    mix(b, own);
    for (std::int64_t r = 0; r < rows; ++r) divide_row(mixed + r * shape_.depth, sums[r], shape_.depth);
    epilogue_->run({args.inputs + 1, args.outputs}, head_piece(shape_, task, 0, begin, rows, mixed, shape_.depth),
                   own + epilogue_at_);
  }
}

Result<std::unique_ptr<Kernel>> make(const KernelSpec& spec) {
  if (!all_float32(spec, 1)) return unsupported(spec);
  const AttentionShape shape = attention_shape(spec);
  KernelSpec plain = spec;
  plain.name = spec.name.substr(std::string_view("exact_").size());
  const AttentionOutputs outputs = attention_outputs(plain, shape);
  std::optional<Epilogue> epilogue;
  if (outputs.out) epilogue = make_epilogue(spec, shape.depth);
  return std::make_unique<ExactAttention>(shape, outputs, std::move(epilogue));
}

}  // namespace

void register_exact_attention(KernelTable& table) {
  table.add("exact_attention", make);
  table.add("exact_attention_stats", make);
}

}  // namespace suanli::engine
