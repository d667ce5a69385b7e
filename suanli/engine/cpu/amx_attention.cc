#include "suanli/engine/cpu/amx_attention.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "suanli/engine/cpu/amx.h"
#include "suanli/engine/cpu/amx_attention_result.h"
#include "suanli/engine/cpu/amx_attention_rows.h"
#include "suanli/engine/cpu/attention_rows.h"
#include "suanli/engine/cpu/attention_shape.h"
#include "suanli/engine/cpu/scratch_layout.h"

namespace suanli::engine {
namespace {

using amx::kPanel;

constexpr std::int64_t kFloat = sizeof(float);
constexpr std::int64_t kBlockFloats = kPanel * kPanel;  // of a block of scores
constexpr std::int64_t kFewTasks = 16;                  // fewer heads than this are cut into runs of queries
constexpr std::int64_t kLeastRun = 4;                   // panels

class AmxAttention final : public Kernel {
 public:
  AmxAttention(const KernelSpec& spec, const AttentionShape& shape, AttentionOutputs outputs);

  void run(const KernelArgs& args) const override {
    const std::int64_t runs = static_cast<std::int64_t>(ends_.size()) - 1;
    args.pool.parallel_for(shape_.tasks() * runs, [&](std::int64_t index, int worker) {
      // The longest runs, those at the end of the sequence, first.
      const auto part = static_cast<std::size_t>(runs - 1 - index % runs);
      run_task(args, index / runs, ends_[part], ends_[part + 1], args.scratch + worker * layout_.size().value());
    });
  }
  Bytes scratch(int workers) const override { return layout_.size() * std::int64_t{workers}; }
  std::string implementation() const override {
    return "amx bf16 panels of " + std::to_string(kPanel) + (out_ ? out_->to_string() : "");
  }

 private:
  // Where the q, k and v of a task begin, and their rows in elements.
  struct Head {
    const Bf16 *q, *k, *v;
    std::int64_t stride;
  };
  void run_task(const KernelArgs& args, std::int64_t task, std::int64_t first, std::int64_t end, std::byte* own) const;
  void pack_keys(const Head& head, std::int64_t panel, std::byte* own) const;
  void prefetch(const Head& head, std::int64_t panel) const;
  EpiloguePiece piece_of(std::int64_t task, std::int64_t panel, const std::byte* own) const {
    return head_piece(shape_, task, 0, panel * kPanel, rows_of(panel), reinterpret_cast<const float*>(own + y_at_),
                      across_ * kPanel);
  }
  void finish(const KernelArgs& args, std::int64_t task, std::int64_t panel, std::byte* own) const;

  std::int64_t rows_of(std::int64_t panel) const { return std::min(kPanel, shape_.seq - panel * kPanel); }

  AttentionShape shape_;
  int stats_;                              // index of the output, -1: not wanted
  std::optional<AmxAttentionResult> out_;  // if wanted
  std::int64_t panels_;                    // of queries or keys
  std::int64_t across_;                    // panels of 32 along the depth
  std::vector<std::int64_t> ends_;         // run r has the panels of queries ends_[r] .. ends_[r + 1]
  ScratchLayout layout_;                   // of one worker
  std::int64_t q_at_ = 0;                  // a panel of Q
  std::int64_t k_at_ = 0;                  // panels of B = K^T, one per 32 keys
  std::int64_t v_at_ = 0;                  // panels of B = V, one per 32 columns, a step per 32 keys
  std::int64_t s_at_ = 0, p_at_ = 0;       // S and P of one panel of queries, as in softmax_panel()
  std::int64_t y_at_ = 0;                  // f32 [32, 32 across]
  std::int64_t top_at_ = 0, sum_at_ = 0;   // f32 [32]
  std::int64_t epilogue_at_ = 0;
};

AmxAttention::AmxAttention(const KernelSpec& spec, const AttentionShape& shape, AttentionOutputs outputs)
    : shape_(shape), stats_(outputs.stats), panels_(amx::panels_of(shape.seq)), across_(amx::panels_of(shape.depth)) {
  // Work grows with the square of the run's end.
  const std::int64_t wanted = shape_.tasks() == 0 ? 1 : (kFewTasks + shape_.tasks() - 1) / shape_.tasks();
  const std::int64_t runs = std::clamp<std::int64_t>(panels_ / kLeastRun, 1, wanted);
  for (std::int64_t r = 0; r <= runs; ++r) {
    const double share = std::sqrt(static_cast<double>(r) / static_cast<double>(runs));
    ends_.push_back(std::llround(share * static_cast<double>(panels_)));
  }
  q_at_ = layout_.add(amx::panel_bytes(shape_.depth));
  k_at_ = layout_.add(panels_ * amx::panel_bytes(shape_.depth));
  s_at_ = layout_.add(panels_ * kBlockFloats * kFloat);
  p_at_ = layout_.add(panels_ * amx::kStepBytes);
  for (std::int64_t* at : {&top_at_, &sum_at_}) *at = layout_.add(kPanel * kFloat);
  if (!outputs.out) return;
  out_.emplace(spec, 1, shape_.depth);
  v_at_ = layout_.add(across_ * amx::panel_bytes(shape_.seq));
  y_at_ = layout_.add(across_ * kBlockFloats * kFloat);
  epilogue_at_ = layout_.add(out_->scratch());
}

void AmxAttention::pack_keys(const Head& head, std::int64_t panel, std::byte* own) const {
  const std::int64_t from = panel * kPanel * head.stride, rows = rows_of(panel);
  const std::int64_t bytes = amx::panel_bytes(shape_.depth);
  amx::pack_b_transposed(head.k + from, head.stride, shape_.depth, rows, own + k_at_ + panel * bytes);
  if (!out_) return;
  for (std::int64_t n = 0; n < across_; ++n)
    amx::pack_b(head.v + from + n * kPanel, head.stride, rows, std::min(kPanel, shape_.depth - n * kPanel),
                own + v_at_ + n * amx::panel_bytes(shape_.seq) + panel * amx::kStepBytes);
}

// Rows that the next panel of queries will pack.
void AmxAttention::prefetch(const Head& head, std::int64_t panel) const {
  for (const Bf16* part : {head.q, head.k, head.v})
    amx::prefetch_rows({.data = reinterpret_cast<const std::byte*>(part + panel * kPanel * head.stride),
                        .dtype = graph::DType::bf16,
                        .stride = head.stride},
                       rows_of(panel), shape_.depth);
}

// The panel's results from its sums.
void AmxAttention::finish(const KernelArgs& args, std::int64_t task, std::int64_t panel, std::byte* own) const {
  const std::int64_t begin = panel * kPanel, rows = rows_of(panel), stride = across_ * kPanel;
  const float* sum = reinterpret_cast<const float*>(own + sum_at_);
  if (stats_ >= 0)
    log_sum_row(reinterpret_cast<const float*>(own + top_at_), sum,
                reinterpret_cast<float*>(args.outputs[stats_]) + task * shape_.seq + begin, rows);
  if (!out_) return;
  float* y = reinterpret_cast<float*>(own + y_at_);
  for (std::int64_t n = 0; n < across_; ++n)
    amx::multiply(own + p_at_, own + v_at_ + n * amx::panel_bytes(shape_.seq), panel + 1, y + n * kPanel, stride, false);
  amx::divide_rows(y, stride, shape_.depth, sum);
  out_->store(args, piece_of(task, panel, own), own + epilogue_at_);
}

void AmxAttention::run_task(const KernelArgs& args, std::int64_t task, std::int64_t first, std::int64_t end,
                            std::byte* own) const {
  const auto part = [&](std::int64_t p) {
    return reinterpret_cast<const Bf16*>(args.inputs[0]) + shape_.qkv_offset(task, p);
  };
  const Head head{.q = part(0), .k = part(1), .v = part(2), .stride = 3 * shape_.width()};
  const std::int64_t bytes = amx::panel_bytes(shape_.depth), steps = amx::steps_of(shape_.depth);
  float* s = reinterpret_cast<float*>(own + s_at_);
  const amx::Tiles tiles;
  for (std::int64_t panel = 0; panel < first; ++panel) pack_keys(head, panel, own);
  for (std::int64_t panel = first; panel < end; ++panel) {
    pack_keys(head, panel, own);
    amx::pack_a(head.q + panel * kPanel * head.stride, head.stride, rows_of(panel), shape_.depth, own + q_at_);
    if (panel + 1 < end) prefetch(head, panel + 1);
    if (out_) out_->prefetch(args, piece_of(task, panel, own));
    for (std::int64_t j = 0; j <= panel; ++j)
      amx::multiply(own + q_at_, own + k_at_ + j * bytes, steps, s + j * kBlockFloats, kPanel, false);
    amx::softmax_panel(s, panel + 1, shape_.scale(), own + p_at_, reinterpret_cast<float*>(own + top_at_),
                       reinterpret_cast<float*>(own + sum_at_));
    finish(args, task, panel, own);
  }
}

}  // namespace

std::unique_ptr<Kernel> make_amx_attention(const KernelSpec& spec) {
  const AttentionShape shape = attention_shape(spec);
  return std::make_unique<AmxAttention>(spec, shape, attention_outputs(spec, shape));
}

}  // namespace suanli::engine
