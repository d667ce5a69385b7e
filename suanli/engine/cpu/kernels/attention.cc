// attention and attention_stats: one task per sequence and head; blocks of queries against all keys
// up to the last of them, so that scores of one block at a time exist, in the worker's scratch.
#include <cmath>

#include "suanli/engine/cpu/attention_rows.h"
#include "suanli/engine/cpu/attention_shape.h"
#include "suanli/engine/cpu/onednn.h"
#include "suanli/engine/cpu/scratch_layout.h"
#include "suanli/engine/kernel.h"

namespace suanli::engine {
namespace {

class AttentionKernel final : public Kernel {
 public:
  // Outputs by index, -1: not wanted.
  AttentionKernel(const AttentionShape& shape, int out, int stats)
      : shape_(shape), out_(out), stats_(stats) {}
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
    std::shared_ptr<const TileGemm> scores;  // S [rows, extent] = Q K^T
    std::shared_ptr<const TileGemm> mix;     // Y [rows, d] = P V
  };
  void run_task(const KernelArgs& args, std::int64_t task, std::byte* own) const;

  AttentionShape shape_;
  int out_;
  int stats_;
  std::vector<Block> blocks_;
  ScratchLayout layout_;                         // of one worker
  std::int64_t q_at_ = 0, k_at_ = 0, v_at_ = 0;  // [seq, d]
  std::int64_t scores_at_ = 0;                   // f32 [rows, extent], and P if f32
  std::int64_t rounded_at_ = 0;                  // bf16 [rows, extent]: P
  std::int64_t mixed_at_ = 0;                    // f32 [rows, d]
  std::int64_t onednn_at_ = 0;
};

Status AttentionKernel::prepare() {
  const std::int64_t depth = shape_.depth;
  Bytes onednn{};
  if (shape_.batch == 0) return {};
  for (std::int64_t b = 0; b < shape_.blocks(); ++b) {
    const std::int64_t rows = shape_.rows(b), extent = shape_.extent(b);
    Block block;
    SUANLI_ASSIGN_OR_RETURN(block.scores, TileGemm::make({.m = rows,
                                                          .n = extent,
                                                          .k = depth,
                                                          .operands = shape_.dtype,
                                                          .a_row = depth,
                                                          .b_row = 1,
                                                          .b_column = depth,
                                                          .c_row = extent}));
    SUANLI_ASSIGN_OR_RETURN(block.mix, TileGemm::make({.m = rows,
                                                       .n = depth,
                                                       .k = extent,
                                                       .operands = shape_.dtype,
                                                       .a_row = extent,
                                                       .b_row = depth,
                                                       .c_row = depth}));
    onednn = std::max({onednn, block.scores->scratch(), block.mix->scratch()});
    blocks_.push_back(std::move(block));
  }
  const std::int64_t head = shape_.seq * depth * shape_.element();
  const std::int64_t scores = shape_.max_rows() * shape_.seq;
  q_at_ = layout_.add(head);
  k_at_ = layout_.add(head);
  v_at_ = layout_.add(head);
  scores_at_ = layout_.add(scores * std::int64_t{sizeof(float)});
  if (shape_.dtype == graph::DType::bf16)
    rounded_at_ = layout_.add(scores * std::int64_t{sizeof(Bf16)});
  mixed_at_ = layout_.add(shape_.max_rows() * depth * std::int64_t{sizeof(float)});
  onednn_at_ = layout_.add(onednn);
  return {};
}

void AttentionKernel::run_task(const KernelArgs& args, std::int64_t task, std::byte* own) const {
  const std::int64_t depth = shape_.depth;
  const float scale = 1.0f / std::sqrt(static_cast<float>(depth));
  const bool rounds = shape_.dtype == graph::DType::bf16;
  shape_.gather(args.inputs[0], task, 0, own + q_at_);
  shape_.gather(args.inputs[0], task, 1, own + k_at_);
  if (out_ >= 0) shape_.gather(args.inputs[0], task, 2, own + v_at_);
  float* const scores = reinterpret_cast<float*>(own + scores_at_);
  Bf16* const rounded = rounds ? reinterpret_cast<Bf16*>(own + rounded_at_) : nullptr;
  float* const mixed = reinterpret_cast<float*>(own + mixed_at_);

  for (std::int64_t b = 0; b < shape_.blocks(); ++b) {
    const std::int64_t begin = shape_.begin(b), rows = shape_.rows(b), extent = shape_.extent(b);
    const Block& block = blocks_[static_cast<std::size_t>(b)];
    block.scores->run(own + q_at_ + begin * depth * shape_.element(), own + k_at_, scores,
                      own + onednn_at_);
    float sums[kAttentionBlock];
    for (std::int64_t r = 0; r < rows; ++r) {
      const SoftmaxRow row = softmax_row(scores + r * extent, begin + r + 1, extent, scale,
                                         rounds ? rounded + r * extent : nullptr);
      sums[r] = row.sum;
      if (stats_ >= 0)
        reinterpret_cast<float*>(args.outputs[stats_])[task * shape_.seq + begin + r] =
            row.top + std::log(row.sum);
    }
    if (out_ < 0) continue;
    block.mix->run(rounds ? static_cast<const void*>(rounded) : scores, own + v_at_, mixed,
                   own + onednn_at_);
    float* out = reinterpret_cast<float*>(args.outputs[out_]) + shape_.out_offset(task);
    for (std::int64_t r = 0; r < rows; ++r)
      scale_row(mixed + r * depth, 1.0f / sums[r], out + (begin + r) * shape_.width(), depth);
  }
}

Result<std::unique_ptr<Kernel>> make(const KernelSpec& spec, int out, int stats) {
  const AttentionShape shape = attention_shape(spec);
  const graph::TensorType out_type = graph::f32({shape.batch * shape.seq, shape.width()});
  const graph::TensorType stats_type = graph::f32({shape.tasks(), shape.seq});
  SUANLI_CHECK(out < 0 || spec.outputs[static_cast<std::size_t>(out)] == out_type);
  SUANLI_CHECK(stats < 0 || spec.outputs[static_cast<std::size_t>(stats)] == stats_type);
  auto kernel = std::make_unique<AttentionKernel>(shape, out, stats);
  SUANLI_RETURN_IF_ERROR(kernel->prepare());
  return kernel;
}

Result<std::unique_ptr<Kernel>> make_attention(const KernelSpec& spec) {
  SUANLI_CHECK(spec.inputs.size() == 1 && (spec.outputs.size() == 1 || spec.outputs.size() == 2));
  return make(spec, 0, spec.outputs.size() == 2 ? 1 : -1);
}

Result<std::unique_ptr<Kernel>> make_attention_stats(const KernelSpec& spec) {
  SUANLI_CHECK(spec.inputs.size() == 1 && spec.outputs.size() == 1);
  return make(spec, -1, 0);
}

}  // namespace

void register_attention(KernelTable& table) {
  table.add("attention", make_attention);
  table.add("attention_stats", make_attention_stats);
}

}  // namespace suanli::engine
