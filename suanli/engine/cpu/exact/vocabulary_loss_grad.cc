// A chunk of the vocabulary after the other: its probabilities p [N, entries]; dx += p w; dw of the chunk = p^T y. Then what the
// targets take away, which is never part of a product.
#include <algorithm>

#include "suanli/engine/cpu/exact/cross_entropy_rows.h"
#include "suanli/engine/cpu/exact/product.h"
#include "suanli/engine/cpu/exact/vocabulary.h"
#include "suanli/engine/cpu/exact/vocabulary_logits.h"
#include "suanli/engine/cpu/kernel_support.h"
#include "suanli/engine/cpu/scratch_layout.h"

namespace suanli::engine::exact {
namespace {

constexpr std::int64_t kFloat = sizeof(float);
constexpr std::int64_t kEntryRows = 64;      // of dw per task
constexpr std::int64_t kTargetColumns = 64;  // of dw per task, when targets are taken away

class VocabularyLossGrad final : public Kernel {
 public:
  VocabularyLossGrad(const VocabularyShape& shape, bool with_dx)
      : s_(shape), with_dx_(with_dx), logits_(shape, kVocabularyChunk) {
    x_at_ = shared_.add(logits_.x().size());
    w_at_ = shared_.add(logits_.w(0).size());
    if (with_dx_) w_columns_at_ = shared_.add(w_columns(0).size());
    y_at_ = shared_.add(s_.rows * s_.width * kFloat);
    y_columns_size_ = y_columns(0).size().value();
    y_columns_at_ = shared_.add(token_blocks() * y_columns_size_);
    p_at_ = shared_.add(s_.rows * logits_.entries(0) * kFloat);
    packed_at_ = own_.add(std::max(p_rows(kLogitRows, 0).size(), p_columns(kEntryRows, 0).size()));
  }

  Bytes scratch(int workers) const override { return shared_.size() + own_.size() * std::int64_t{workers}; }
  std::string implementation() const override {
    return "exact:" + std::string(name_of(logits_.isa())) + ", chunks of " + std::to_string(kVocabularyChunk) +
           " entries, logits again";
  }
  void run(const KernelArgs& args) const override;

 private:
  // Operands: w of a chunk along its entries; p of a tile of rows along the same; y and p of a block of tokens along those.
  Packing w_columns(std::int64_t chunk) const { return operand(Side::b, s_.width, logits_.entries(chunk)); }
  Packing p_rows(std::int64_t rows, std::int64_t chunk) const { return operand(Side::a, rows, logits_.entries(chunk)); }
  Packing y_columns(std::int64_t block) const { return operand(Side::b, s_.width, tokens(block)); }
  Packing p_columns(std::int64_t entries, std::int64_t block) const { return operand(Side::a, entries, tokens(block)); }
  Packing operand(Side side, std::int64_t rows, std::int64_t k) const {
    return {.isa = logits_.isa(), .side = side, .rows = rows, .k = k};
  }
  std::int64_t token_blocks() const { return divide_up(s_.rows, kLongestBlock); }
  std::int64_t tokens(std::int64_t block) const { return std::min(kLongestBlock, s_.rows - block * kLongestBlock); }

  float* floats(const KernelArgs& args, std::int64_t at) const { return reinterpret_cast<float*>(args.scratch + at); }
  int dw_output() const { return with_dx_ ? 1 : 0; }

  void make_y(const KernelArgs& args) const;
  void rows_task(const KernelArgs& args, std::int64_t chunk, std::int64_t tile, std::byte* own) const;
  void entries_task(const KernelArgs& args, std::int64_t chunk, std::int64_t first, std::byte* own) const;
  void finish_dx(const KernelArgs& args) const;
  void finish_dw(const KernelArgs& args) const;

  VocabularyShape s_;
  bool with_dx_;
  VocabularyLogits logits_;
  ScratchLayout shared_, own_;
  std::int64_t x_at_ = 0, w_at_ = 0;                    // packed along C
  std::int64_t w_columns_at_ = 0;                       // of a chunk
  std::int64_t y_at_ = 0;                               // f32 [N, C]
  std::int64_t y_columns_at_ = 0, y_columns_size_ = 0;  // packed, one operand per block of tokens
  std::int64_t p_at_ = 0;                               // f32 [N, entries] of a chunk
  std::int64_t packed_at_ = 0;                          // of p
};

void VocabularyLossGrad::run(const KernelArgs& args) const {
  const auto mine = [&](int worker) { return args.scratch + shared_.size().value() + worker * own_.size().value(); };
  const float* w = input<float>(args, 1);
  logits_.pack_x(args.pool, input<float>(args, 0), args.scratch + x_at_);
  make_y(args);
  const double products = with_dx_ ? 3 : 2;
  for (std::int64_t chunk = 0; chunk < logits_.groups(); ++chunk) {
    const std::int64_t entries = logits_.entries(chunk);
    const double part = static_cast<double>(entries) / static_cast<double>(s_.vocabulary);
    logits_.pack_w(args.pool, chunk, w, args.scratch + w_at_);
    if (with_dx_)
      VocabularyLogits::pack_rows(args.pool, w_columns(chunk), {w + chunk * kVocabularyChunk * s_.width, 1, s_.width},
                                  args.scratch + w_columns_at_);
    args.pool.parallel_for(
        logits_.row_tiles(), [&](std::int64_t tile, int worker) { rows_task(args, chunk, tile, mine(worker)); },
        part * (products - 1) / products);
    args.pool.parallel_for(
        divide_up(entries, kEntryRows),
        [&](std::int64_t i, int worker) { entries_task(args, chunk, i * kEntryRows, mine(worker)); }, part / products);
  }
  if (with_dx_) finish_dx(args);
  finish_dw(args);
}

// y, and its columns packed.
void VocabularyLossGrad::make_y(const KernelArgs& args) const {
  parallel_ranges(
      args.pool, s_.rows, rows_per_task(s_.width),
      [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t n = begin; n < end; ++n) {
          float* y = floats(args, y_at_) + n * s_.width;
          if (input<std::int32_t>(args, 2)[n] == kIgnoredTarget)
            std::fill_n(y, s_.width, 0.0F);
          else
            scaled_row(input<float>(args, 0) + n * s_.width, input<float>(args, 4)[n], s_.width, y);
        }
      },
      /*share=*/0);
  for (std::int64_t block = 0; block < token_blocks(); ++block)
    VocabularyLogits::pack_rows(args.pool, y_columns(block),
                                {floats(args, y_at_) + block * kLongestBlock * s_.width, 1, s_.width},
                                args.scratch + y_columns_at_ + block * y_columns_size_);
}

// p of a chunk for a tile of rows, and what it adds to their dx.
void VocabularyLossGrad::rows_task(const KernelArgs& args, std::int64_t chunk, std::int64_t tile, std::byte* own) const {
  const Range rows = logits_.rows(tile);
  const std::int64_t entries = logits_.entries(chunk);
  float* p = floats(args, p_at_) + rows.begin * entries;
  multiply({logits_.x(), args.scratch + x_at_}, rows, {logits_.w(chunk), args.scratch + w_at_}, {0, entries}, {.terms = 3},
           {p, entries});
  for (std::int64_t r = 0; r < rows.count; ++r) {
    const std::int32_t target = input<std::int32_t>(args, 2)[rows.begin + r];
    if (target >= 0 && target < s_.vocabulary)
      probability_row(p + r * entries, entries, input<float>(args, 3)[rows.begin + r], 1, p + r * entries);
    else
      std::fill_n(p + r * entries, entries, target == kIgnoredTarget ? 0.0F : kNotANumber);
  }
  if (!with_dx_) return;
  const Packing packing = p_rows(rows.count, chunk);
  pack(packing, Matrix{p, entries, 1}, {0, rows.count}, own + packed_at_);
  multiply({packing, own + packed_at_}, {0, rows.count}, {w_columns(chunk), args.scratch + w_columns_at_}, {0, s_.width},
           {.terms = 3, .accumulate = chunk > 0}, {output<float>(args, 0) + rows.begin * s_.width, s_.width});
}

// p^T y for entries `first` on of a chunk.
void VocabularyLossGrad::entries_task(const KernelArgs& args, std::int64_t chunk, std::int64_t first, std::byte* own) const {
  const std::int64_t entries = logits_.entries(chunk), count = std::min(kEntryRows, entries - first);
  float* dw = output<float>(args, dw_output()) + (chunk * kVocabularyChunk + first) * s_.width;
  for (std::int64_t block = 0; block < token_blocks(); ++block) {
    const Packing packing = p_columns(count, block);
    const float* p = floats(args, p_at_) + block * kLongestBlock * entries + first;
    pack(packing, Matrix{p, 1, entries}, {0, count}, own + packed_at_);
    multiply({packing, own + packed_at_}, {0, count}, {y_columns(block), args.scratch + y_columns_at_ + block * y_columns_size_},
             {0, s_.width}, {.terms = 4, .accumulate = block > 0}, {dw, s_.width});
  }
}

void VocabularyLossGrad::finish_dx(const KernelArgs& args) const {
  parallel_ranges(
      args.pool, s_.rows, rows_per_task(s_.width),
      [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t n = begin; n < end; ++n) {
          float* dx = output<float>(args, 0) + n * s_.width;
          const std::int32_t target = input<std::int32_t>(args, 2)[n];
          if (target >= 0 && target < s_.vocabulary)
            subtract_and_scale_row(dx, input<float>(args, 1) + target * s_.width, input<float>(args, 4)[n], s_.width);
          else
            std::fill_n(dx, s_.width, target == kIgnoredTarget ? 0.0F : kNotANumber);
        }
      },
      /*share=*/0);
}

// Threads share columns, so that each takes the rows in their order.
void VocabularyLossGrad::finish_dw(const KernelArgs& args) const {
  parallel_ranges(
      args.pool, s_.width, kTargetColumns,
      [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t n = 0; n < s_.rows; ++n) {
          const std::int64_t target = input<std::int32_t>(args, 2)[n];
          if (target < 0 || target >= s_.vocabulary) continue;
          subtract_row(output<float>(args, dw_output()) + target * s_.width + begin, floats(args, y_at_) + n * s_.width + begin,
                       end - begin);
        }
      },
      /*share=*/0);
}

}  // namespace

std::unique_ptr<Kernel> make_vocabulary_loss_grad(const VocabularyShape& shape, bool with_dx) {
  return std::make_unique<VocabularyLossGrad>(shape, with_dx);
}

}  // namespace suanli::engine::exact
