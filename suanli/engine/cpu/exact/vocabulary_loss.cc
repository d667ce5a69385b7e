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
// Entries whose w is packed at a time: some chunks, so that threads meet less often.
constexpr std::int64_t kGroup = 4 * kVocabularyChunk;

class VocabularyLoss final : public Kernel {
 public:
  VocabularyLoss(const VocabularyShape& shape, bool with_sums)
      : s_(shape), with_sums_(with_sums), logits_(shape, kGroup), chunks_(vocabulary_chunks(shape.vocabulary)) {
    x_at_ = layout_.add(logits_.x().size());
    w_at_ = layout_.add(logits_.w(0).size());
    for (std::int64_t* at : {&tops_at_, &sums_at_}) *at = layout_.add(shape.rows * chunks_ * kFloat);
    picked_at_ = layout_.add(shape.rows * kFloat);
    tile_size_ = (kLogitRows * kVocabularyChunk * kFloat + 63) / 64 * 64;
    tiles_at_ = layout_.add(0);
  }

  Bytes scratch(int workers) const override { return layout_.size() + Bytes(tile_size_) * std::int64_t{workers}; }
  std::string implementation() const override {
    return "exact:" + std::string(name_of(logits_.isa())) + ", logits of " + std::to_string(kLogitRows) + "x" +
           std::to_string(kVocabularyChunk) + ", dropped";
  }

  void run(const KernelArgs& args) const override {
    logits_.pack_x(args.pool, input<float>(args, 0), args.scratch + x_at_);
    for (std::int64_t group = 0; group < logits_.groups(); ++group) {
      logits_.pack_w(args.pool, group, input<float>(args, 1), args.scratch + w_at_);
      const std::int64_t chunks = vocabulary_chunks(logits_.entries(group));
      args.pool.parallel_for(
          chunks * logits_.row_tiles(),
          [&](std::int64_t task, int worker) {
            run_tile(args, group, task % chunks, task / chunks,
                     reinterpret_cast<float*>(args.scratch + tiles_at_ + worker * tile_size_));
          },
          static_cast<double>(logits_.entries(group)) / static_cast<double>(s_.vocabulary));
    }
    parallel_ranges(
        args.pool, s_.rows, rows_per_task(chunks_), [&](std::int64_t begin, std::int64_t end, int) { finish(args, begin, end); },
        /*share=*/0);
  }

 private:
  float* floats(const KernelArgs& args, std::int64_t at) const { return reinterpret_cast<float*>(args.scratch + at); }

  // The sums of a chunk for a tile of rows, and the logits of targets in it.
  void run_tile(const KernelArgs& args, std::int64_t group, std::int64_t chunk, std::int64_t tile, float* logits) const {
    const Range rows = logits_.rows(tile);
    const Range entries{chunk * kVocabularyChunk, std::min(kVocabularyChunk, logits_.entries(group) - chunk * kVocabularyChunk)};
    const std::int64_t first = group * kGroup + entries.begin;
    multiply({logits_.x(), args.scratch + x_at_}, rows, {logits_.w(group), args.scratch + w_at_}, entries, {.terms = 3},
             {logits, entries.count});
    const std::int32_t* targets = input<std::int32_t>(args, 2) + rows.begin;
    for (std::int64_t r = 0; r < rows.count; ++r) {
      const float* row = logits + r * entries.count;
      const std::int64_t at = (rows.begin + r) * chunks_ + first / kVocabularyChunk;
      chunk_sum(row, entries.count, floats(args, tops_at_) + at, floats(args, sums_at_) + at);
      const std::int64_t target = targets[r] - first;
      if (target >= 0 && target < entries.count) floats(args, picked_at_)[rows.begin + r] = row[target];
    }
  }

  void finish(const KernelArgs& args, std::int64_t begin, std::int64_t end) const {
    for (std::int64_t n = begin; n < end; ++n) {
      const std::int64_t at = n * chunks_;
      const RowSum sum = join_chunks(floats(args, tops_at_) + at, floats(args, sums_at_) + at, chunks_);
      const std::int32_t target = input<std::int32_t>(args, 2)[n];
      float loss = target == kIgnoredTarget ? 0 : kNotANumber;
      if (target >= 0 && target < s_.vocabulary) loss = sum.loss(floats(args, picked_at_)[n]);
      output<float>(args, 0)[n] = loss;
      if (with_sums_) output<float>(args, 1)[n] = sum.total();
    }
  }

  VocabularyShape s_;
  bool with_sums_;
  VocabularyLogits logits_;
  std::int64_t chunks_;
  ScratchLayout layout_;                       // shared
  std::int64_t x_at_ = 0, w_at_ = 0;           // packed
  std::int64_t tops_at_ = 0, sums_at_ = 0;     // f32 [N, chunks]
  std::int64_t picked_at_ = 0;                 // f32 [N]: the target's logit
  std::int64_t tiles_at_ = 0, tile_size_ = 0;  // a worker's logits
};

}  // namespace

std::unique_ptr<Kernel> make_vocabulary_loss(const VocabularyShape& shape, bool with_sums) {
  return std::make_unique<VocabularyLoss>(shape, with_sums);
}

}  // namespace suanli::engine::exact
