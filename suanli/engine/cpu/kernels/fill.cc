// Constants, and constants over part of a value.
#include "suanli/engine/cpu/kernel_support.h"

namespace suanli::engine {
namespace {

using graph::DType;

Result<std::unique_ptr<Kernel>> make_fill(const KernelSpec& spec) {
  if (!has_dtypes(spec, {}, {DType::f32})) return unsupported(spec);
  const auto value = static_cast<float>(spec.attrs.real("value"));
  const std::int64_t n = spec.outputs[0].elements();
  return simple_kernel("scalar", [=](const KernelArgs& args) {
    parallel_ranges(args.pool, n, 16384, [&](std::int64_t begin, std::int64_t end, int) {
      std::fill(output<float>(args, 0) + begin, output<float>(args, 0) + end, value);
    });
  });
}

// y[.., i, j] = x[.., i, j] for j <= i, else `value`.
class CausalMask final : public Kernel {
 public:
  explicit CausalMask(const KernelSpec& spec)
      : seq_(spec.attrs.integer("seq")),
        rows_(spec.inputs[0].elements() / seq_),
        value_(static_cast<float>(spec.attrs.real("value", -1e30))) {}

  void run(const KernelArgs& args) const override {
    parallel_ranges(args.pool, rows_, rows_per_task(seq_),
                    [&](std::int64_t begin, std::int64_t end, int) {
                      for (std::int64_t row = begin; row < end; ++row) {
                        const float* x = input<float>(args, 0) + row * seq_;
                        float* y = output<float>(args, 0) + row * seq_;
                        const std::int64_t seen = row % seq_ + 1;
                        if (x != y) std::copy_n(x, seen, y);
                        std::fill(y + seen, y + seq_, value_);
                      }
                    });
  }
  std::string implementation() const override { return "scalar"; }
  bool in_place(int, int) const override { return true; }

 private:
  std::int64_t seq_, rows_;
  float value_;
};

Result<std::unique_ptr<Kernel>> make_causal_mask(const KernelSpec& spec) {
  if (!has_dtypes(spec, {DType::f32}, {DType::f32})) return unsupported(spec);
  return std::make_unique<CausalMask>(spec);
}

}  // namespace

void register_fill(KernelTable& table) {
  table.add("fill", make_fill);
  table.add("causal_mask", make_causal_mask);
}

}  // namespace suanli::engine
