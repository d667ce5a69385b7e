// Softmax cross-entropy over rows of whole logits [N, V], their log-sum-exp L and their gradient (graph/ops/cross_entropy.cc).
// softmax_cross_entropy may have L as a second output: one kernel for both ops. Target -1: the row does not count. Other
// targets outside [0, V) are refused before a step; here they only must not touch foreign memory, and give NaN.
#include <cmath>
#include <limits>

#include "suanli/engine/cpu/kernel_support.h"
#include "suanli/engine/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "suanli/engine/cpu/kernels/softmax_cross_entropy.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "suanli/engine/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace suanli::engine::HWY_NAMESPACE {

HWY_INLINE float sum_of_exp(const float* logits, std::size_t n, float top) {
  return strided_sum(n, [&](std::size_t i, auto part) {
    return exp_of(hn::Sub(load(logits + i, part), splat(top)));
  });
}

// The largest logit and ln(sum_v e^(logit - largest)); L is their sum.
void LogSumExpRow(const float* logits, std::size_t n, float* top, float* log_sum) {
  *top = largest(logits, n);
  *log_sum = std::log(sum_of_exp(logits, n, *top));
}

// (e^(logit - total) - [target]) dloss.
template <typename Out>
HWY_INLINE void gradient_row(const float* logits, std::size_t n, std::int32_t target, float total, float dloss, Out* out) {
  const auto probability = [&](Vec logit) { return exp_of(hn::Sub(logit, splat(total))); };
  // Read before `out`, which may lie where the logits do, is written; (p - 1) dloss is rounded to Out once.
  const Vec hit = hn::Mul(hn::Sub(probability(splat(logits[target])), splat(1)), splat(dloss));
  for_vectors(n, [&](std::size_t i, auto part) {
    store(hn::Mul(probability(load(logits + i, part)), splat(dloss)), out + i, part);
  });
  store(hit, out + target, Part{1});
}

void CrossEntropyGradRow(const float* logits, std::size_t n, std::int32_t target, float total, float dloss, float* out) {
  gradient_row(logits, n, target, total, dloss, out);
}
void CrossEntropyGradRowBf16(const float* logits, std::size_t n, std::int32_t target, float total, float dloss, Bf16* out) {
  gradient_row(logits, n, target, total, dloss, out);
}

}  // namespace suanli::engine::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace suanli::engine {
namespace {

using graph::DType;

HWY_EXPORT(LogSumExpRow);
HWY_EXPORT(CrossEntropyGradRow);
HWY_EXPORT(CrossEntropyGradRowBf16);

constexpr std::int32_t kIgnored = -1;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Calls visit(row, largest logit, ln of the sum relative to it) for each row; rows that `needed` refuses get zeros.
template <typename Needed, typename Visit>
void for_sums(const KernelArgs& args, std::int64_t rows, std::int64_t columns, const Needed& needed, const Visit& visit) {
  parallel_ranges(args.pool, rows, rows_per_task(columns), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t row = begin; row < end; ++row) {
      float top = 0, log_sum = 0;
      if (needed(row))
        HWY_DYNAMIC_DISPATCH(LogSumExpRow)
        (input<float>(args, 0) + row * columns, static_cast<std::size_t>(columns), &top, &log_sum);
      visit(row, top, log_sum);
    }
  });
}

Result<std::unique_ptr<Kernel>> make_loss(const KernelSpec& spec) {
  const std::vector<DType> inputs = {DType::f32, DType::i32};
  const bool with_sums = spec.outputs.size() == 2;
  if (!has_dtypes(spec, inputs, {DType::f32}) && !has_dtypes(spec, inputs, {DType::f32, DType::f32}))
    return unsupported(spec);
  const std::int64_t rows = spec.inputs[0].shape.at(0), columns = spec.inputs[0].shape.at(1);
  const auto run = [rows, columns, with_sums](const KernelArgs& args) {
    const std::int32_t* targets = input<std::int32_t>(args, 1);
    const auto counts = [&](std::int64_t row) { return targets[row] >= 0 && targets[row] < columns; };
    for_sums(args, rows, columns, [&](std::int64_t row) { return with_sums || counts(row); },
             [&](std::int64_t row, float top, float log_sum) {
               float loss = targets[row] == kIgnored ? 0 : kNan;
               if (counts(row)) loss = log_sum - (input<float>(args, 0)[row * columns + targets[row]] - top);
               output<float>(args, 0)[row] = loss;
               if (with_sums) output<float>(args, 1)[row] = top + log_sum;
             });
  };
  return simple_kernel("hwy:" + simd_name(), run);
}

Result<std::unique_ptr<Kernel>> make_sums(const KernelSpec& spec) {
  if (!has_dtypes(spec, {DType::f32}, {DType::f32})) return unsupported(spec);
  const std::int64_t rows = spec.inputs[0].shape.at(0), columns = spec.inputs[0].shape.at(1);
  const auto run = [rows, columns](const KernelArgs& args) {
    for_sums(args, rows, columns, [](std::int64_t) { return true; },
             [&](std::int64_t row, float top, float log_sum) { output<float>(args, 0)[row] = top + log_sum; });
  };
  return simple_kernel("hwy:" + simd_name(), run);
}

class CrossEntropyGrad final : public Kernel {
 public:
  explicit CrossEntropyGrad(const KernelSpec& spec)
      : rows_(spec.inputs[0].shape.at(0)),
        columns_(spec.inputs[0].shape.at(1)),
        bf16_(spec.outputs[0].dtype == DType::bf16) {}

  void run(const KernelArgs& args) const override {
    parallel_ranges(args.pool, rows_, rows_per_task(columns_),
                    [&](std::int64_t begin, std::int64_t end, int) {
                      for (std::int64_t row = begin; row < end; ++row) {
                        if (bf16_)
                          run_row(args, row, HWY_DYNAMIC_DISPATCH(CrossEntropyGradRowBf16), Bf16{0},
                                  Bf16{0x7FC0});
                        else
                          run_row(args, row, HWY_DYNAMIC_DISPATCH(CrossEntropyGradRow), 0.0F, kNan);
                      }
                    });
  }
  std::string implementation() const override { return "hwy:" + simd_name(); }
  bool in_place(int in, int) const override { return in == 0 && !bf16_; }

 private:
  template <typename Function, typename T>
  void run_row(const KernelArgs& args, std::int64_t row, Function gradient, T zero, T nan) const {
    const std::int32_t target = input<std::int32_t>(args, 1)[row];
    T* out = output<T>(args, 0) + row * columns_;
    if (target < 0 || target >= columns_)
      std::fill_n(out, columns_, target == kIgnored ? zero : nan);
    else
      gradient(input<float>(args, 0) + row * columns_, static_cast<std::size_t>(columns_), target,
               input<float>(args, 2)[row], input<float>(args, 3)[row], out);
  }

  std::int64_t rows_, columns_;
  bool bf16_;
};

Result<std::unique_ptr<Kernel>> make_grad(const KernelSpec& spec) {
  const std::vector<DType> inputs = {DType::f32, DType::i32, DType::f32, DType::f32};
  if (!has_dtypes(spec, inputs, {DType::f32}) && !has_dtypes(spec, inputs, {DType::bf16}))
    return unsupported(spec);
  return std::make_unique<CrossEntropyGrad>(spec);
}

Result<std::unique_ptr<Kernel>> make_count(const KernelSpec& spec) {
  if (!has_dtypes(spec, {DType::i32}, {DType::f32})) return unsupported(spec);
  const std::int64_t n = spec.inputs[0].elements();
  return simple_kernel("scalar", [n](const KernelArgs& args) {
    const std::int32_t* targets = input<std::int32_t>(args, 0);
    const auto count = std::count_if(targets, targets + n, [](std::int32_t t) { return t >= 0; });
    *output<float>(args, 0) = static_cast<float>(count);
  });
}

}  // namespace

void register_softmax_cross_entropy(KernelTable& table) {
  table.add("softmax_cross_entropy", make_loss);
  table.add("log_sum_exp", make_sums);
  table.add("softmax_cross_entropy_grad", make_grad);
  table.add("count_tokens", make_count);
}

}  // namespace suanli::engine
#endif
