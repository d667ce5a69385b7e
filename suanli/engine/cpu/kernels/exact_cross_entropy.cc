// exact_softmax_cross_entropy, exact_log_sum_exp and exact_softmax_cross_entropy_grad: their namesakes (kernel.h) over rows of
// whole logits [N, V] in exact arithmetic (docs/formats/exact-arithmetic.md, section 6). Targets outside [0, V) other than -1 are
// refused before a step; here they give NaN and touch no foreign memory.
#include "suanli/engine/cpu/exact/cross_entropy_rows.h"
#include "suanli/engine/cpu/kernel_support.h"
#include "suanli/engine/cpu/scratch_layout.h"

namespace suanli::engine {
namespace {

using namespace exact;
using graph::DType;

bool is_matrix(const KernelSpec& spec) { return spec.inputs[0].shape.size() == 2 && spec.inputs[0].shape[1] >= 1; }

// Losses and perhaps L, or L alone.
class CrossEntropy final : public Kernel {
 public:
  CrossEntropy(const KernelSpec& spec, int losses, int sums)
      : rows_(spec.inputs[0].shape.at(0)), columns_(spec.inputs[0].shape.at(1)), losses_(losses), sums_(sums) {
    const std::int64_t size = vocabulary_chunks(columns_) * std::int64_t{sizeof(float)};
    for (std::int64_t* at : {&tops_at_, &sums_at_}) *at = layout_.add(size);
  }

  void run(const KernelArgs& args) const override {
    parallel_ranges(args.pool, rows_, rows_per_task(columns_), [&](std::int64_t begin, std::int64_t end, int worker) {
      std::byte* own = args.scratch + worker * layout_.size().value();
      for (std::int64_t row = begin; row < end; ++row) run_row(args, row, own);
    });
  }
  Bytes scratch(int workers) const override { return layout_.size() * std::int64_t{workers}; }
  std::string implementation() const override { return "exact:" + simd_name(); }

 private:
  void run_row(const KernelArgs& args, std::int64_t row, std::byte* own) const {
    const float* x = input<float>(args, 0) + row * columns_;
    const std::int32_t target = losses_ < 0 ? 0 : input<std::int32_t>(args, 1)[row];
    const bool counts = target >= 0 && target < columns_;
    RowSum sum{};
    if (sums_ >= 0 || counts) {
      float *const tops = reinterpret_cast<float*>(own + tops_at_), *const sums = reinterpret_cast<float*>(own + sums_at_);
      const std::int64_t chunks = vocabulary_chunks(columns_);
      for (std::int64_t c = 0; c < chunks; ++c) {
        const std::int64_t first = c * kVocabularyChunk;
        chunk_sum(x + first, std::min(kVocabularyChunk, columns_ - first), tops + c, sums + c);
      }
      sum = join_chunks(tops, sums, chunks);
    }
    if (losses_ >= 0)
      output<float>(args, losses_)[row] = counts ? sum.loss(x[target]) : target == kIgnoredTarget ? 0 : kNotANumber;
    if (sums_ >= 0) output<float>(args, sums_)[row] = sum.total();
  }

  std::int64_t rows_, columns_;
  int losses_, sums_;  // which output, -1: none
  ScratchLayout layout_;
  std::int64_t tops_at_ = 0, sums_at_ = 0;  // f32 [chunks]
};

class CrossEntropyGrad final : public Kernel {
 public:
  explicit CrossEntropyGrad(const KernelSpec& spec) : rows_(spec.inputs[0].shape.at(0)), columns_(spec.inputs[0].shape.at(1)) {}

  void run(const KernelArgs& args) const override {
    parallel_ranges(args.pool, rows_, rows_per_task(columns_), [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t row = begin; row < end; ++row) run_row(args, row);
    });
  }
  std::string implementation() const override { return "exact:" + simd_name(); }
  bool in_place(int in, int) const override { return in == 0; }

 private:
  void run_row(const KernelArgs& args, std::int64_t row) const {
    const std::int32_t target = input<std::int32_t>(args, 1)[row];
    const float* x = input<float>(args, 0) + row * columns_;
    float* out = output<float>(args, 0) + row * columns_;
    if (target < 0 || target >= columns_) {
      std::fill_n(out, columns_, target == kIgnoredTarget ? 0.0F : kNotANumber);
      return;
    }
    const float total = input<float>(args, 2)[row], dloss = input<float>(args, 3)[row];
    const float hit = target_gradient(x[target], total, dloss);  // before `out`, which may lie where x does
    probability_row(x, columns_, total, dloss, out);
    out[target] = hit;
  }

  std::int64_t rows_, columns_;
};

Result<std::unique_ptr<Kernel>> make_loss(const KernelSpec& spec) {
  const std::vector<DType> inputs = {DType::f32, DType::i32};
  const bool with_sums = spec.outputs.size() == 2;
  if (!has_dtypes(spec, inputs, std::vector<DType>(with_sums ? 2 : 1, DType::f32)) || !is_matrix(spec)) return unsupported(spec);
  return std::make_unique<CrossEntropy>(spec, 0, with_sums ? 1 : -1);
}

Result<std::unique_ptr<Kernel>> make_sums(const KernelSpec& spec) {
  if (!has_dtypes(spec, {DType::f32}, {DType::f32}) || !is_matrix(spec)) return unsupported(spec);
  return std::make_unique<CrossEntropy>(spec, -1, 0);
}

Result<std::unique_ptr<Kernel>> make_grad(const KernelSpec& spec) {
  if (!has_dtypes(spec, {DType::f32, DType::i32, DType::f32, DType::f32}, {DType::f32}) || !is_matrix(spec))
    return unsupported(spec);
  return std::make_unique<CrossEntropyGrad>(spec);
}

}  // namespace

void register_exact_cross_entropy(KernelTable& table) {
  table.add("exact_softmax_cross_entropy", make_loss);
  table.add("exact_log_sum_exp", make_sums);
  table.add("exact_softmax_cross_entropy_grad", make_grad);
}

}  // namespace suanli::engine
