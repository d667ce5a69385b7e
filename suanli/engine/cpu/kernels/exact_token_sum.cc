// Token sums of exact arithmetic (cpu/exact/token_sum.h) as kernels. What several tasks find of one sum is put together by
// largest and by bitwise or, whose order does not show.
#include <atomic>

#include "suanli/engine/cpu/exact/token_sum.h"
#include "suanli/engine/cpu/kernel_support.h"

namespace suanli::engine {
namespace {

using graph::DType;

constexpr std::int64_t kPiece = 16384;  // elements of one task

void keep_larger(std::uint32_t& kept, std::uint32_t found) {
  const std::atomic_ref<std::uint32_t> shared(kept);
  std::uint32_t known = shared.load(std::memory_order_relaxed);
  while (known < found && !shared.compare_exchange_weak(known, found, std::memory_order_relaxed)) {
  }
}

// Is `index` one of the sums of both tables?
bool has_index(const KernelSpec& spec, const graph::TensorType& a, const graph::TensorType& b) {
  const std::int64_t index = spec.attrs.integer("index", -1);
  return index >= 0 && index < a.elements() && index < b.elements();
}

Result<std::unique_ptr<Kernel>> make_token_sum(const KernelSpec& spec) {
  if (!has_dtypes(spec, {DType::f32, DType::i32}, {DType::i64, DType::i32}) ||
      !has_index(spec, spec.inputs[1], spec.outputs[1]) || spec.inputs[0].elements() != spec.outputs[0].elements())
    return unsupported(spec);
  const std::int64_t n = spec.inputs[0].elements(), index = spec.attrs.integer("index");
  return simple_kernel("added as int64", [=](const KernelArgs& args) {
    const std::int32_t exponent = input<std::int32_t>(args, 1)[index];
    std::uint32_t& largest = output<std::uint32_t>(args, 1)[index];
    parallel_ranges(args.pool, n, kPiece, [&](std::int64_t begin, std::int64_t end, int) {
      keep_larger(largest, exact::add_terms(input<float>(args, 0) + begin, end - begin, exponent,
                                            output<std::int64_t>(args, 0) + begin));
    });
  });
}

Result<std::unique_ptr<Kernel>> make_token_sum_value(const KernelSpec& spec) {
  if (!has_dtypes(spec, {DType::i64, DType::i32}, {DType::f32, DType::i64}) ||
      !has_index(spec, spec.inputs[1], spec.outputs[1]) || spec.inputs[0].elements() != spec.outputs[0].elements())
    return unsupported(spec);
  const std::int64_t n = spec.inputs[0].elements(), index = spec.attrs.integer("index");
  return simple_kernel("rounded once", [=](const KernelArgs& args) {
    const std::int32_t exponent = input<std::int32_t>(args, 1)[index];
    std::uint64_t& magnitudes = output<std::uint64_t>(args, 1)[index];
    parallel_ranges(args.pool, n, kPiece, [&](std::int64_t begin, std::int64_t end, int) {
      const std::uint64_t found = exact::round_sums(input<std::int64_t>(args, 0) + begin, end - begin, exponent,
                                                    output<float>(args, 0) + begin);
      std::atomic_ref<std::uint64_t>(magnitudes).fetch_or(found, std::memory_order_relaxed);
    });
  });
}

class NextExponents final : public Kernel {
 public:
  explicit NextExponents(std::int64_t sums) : sums_(sums) {}
  void run(const KernelArgs& args) const override {
    for (std::int64_t i = 0; i < sums_; ++i)
      output<std::int32_t>(args, 0)[i] =
          exact::next_exponent(input<std::uint64_t>(args, 1)[i], input<std::int32_t>(args, 0)[i]);
  }
  std::string implementation() const override { return "scalar"; }
  bool in_place(int in, int) const override { return in == 0; }

 private:
  std::int64_t sums_;
};

Result<std::unique_ptr<Kernel>> make_token_sum_exponents(const KernelSpec& spec) {
  if (!has_dtypes(spec, {DType::i32, DType::i64}, {DType::i32}) || spec.inputs[0] != spec.outputs[0] ||
      spec.inputs[0].shape != spec.inputs[1].shape)
    return unsupported(spec);
  return std::make_unique<NextExponents>(spec.inputs[0].elements());
}

}  // namespace

void register_exact_token_sum(KernelTable& table) {
  table.add("exact_token_sum", make_token_sum);
  table.add("exact_token_sum_value", make_token_sum_value);
  table.add("exact_token_sum_exponents", make_token_sum_exponents);
}

}  // namespace suanli::engine
