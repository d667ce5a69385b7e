// AdamW (graph/ops/adamw.cc), fused and in its three parts. Both give the same bits: they share the
// formulas below, and no product is fused into a sum, on any instruction set: docs/formats/exact-arithmetic.md, section 4.
#include <cmath>

#include "suanli/engine/cpu/exact/math.h"
#include "suanli/engine/cpu/kernel_support.h"
#include "suanli/engine/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "suanli/engine/cpu/kernels/adamw.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "suanli/engine/cpu/exact/math-inl.h"
#include "suanli/engine/cpu/kernels/adamw_step.h"
#include "suanli/engine/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace suanli::engine::HWY_NAMESPACE {

// m' = beta1 m + (1 - beta1) g, g already scaled
HWY_INLINE Vec next_m(const AdamWStep& s, Vec m, Vec g) {
  return canonical(hn::Add(hn::Mul(splat(s.beta1), m), hn::Mul(splat(s.rest1), g)));
}
// v' = beta2 v + (1 - beta2) g^2
HWY_INLINE Vec next_v(const AdamWStep& s, Vec v, Vec g) {
  return canonical(hn::Add(hn::Mul(splat(s.beta2), v), hn::Mul(splat(s.rest2), hn::Mul(g, g))));
}
// w' = w (1 - lr decay) - lr (m'/c1) / (sqrt(v'/c2) + eps)
HWY_INLINE Vec next_w(const AdamWStep& s, Vec w, Vec m, Vec v) {
  const Vec up = hn::Mul(splat(s.rate), hn::Div(m, splat(s.correction1)));
  const Vec down = hn::Add(hn::Sqrt(hn::Div(v, splat(s.correction2))), splat(s.eps));
  return canonical(hn::Sub(hn::Mul(w, splat(s.keep)), hn::Div(up, down)));
}

void AdamW(const AdamWStep& s, float* w, float* m, float* v, const float* g, std::int64_t n) {
  for_vectors(static_cast<std::size_t>(n), [&](std::size_t i, auto part) {
    const Vec scaled = hn::Mul(load(g + i, part), splat(s.gscale));
    const Vec new_m = next_m(s, load(m + i, part), scaled);
    const Vec new_v = next_v(s, load(v + i, part), scaled);
    store(new_m, m + i, part);
    store(new_v, v + i, part);
    store(next_w(s, load(w + i, part), new_m, new_v), w + i, part);
  });
}

void AdamWM(const AdamWStep& s, const float* m, const float* g, float* out, std::int64_t n) {
  for_vectors(static_cast<std::size_t>(n), [&](std::size_t i, auto part) {
    const Vec scaled = hn::Mul(load(g + i, part), splat(s.gscale));
    store(next_m(s, load(m + i, part), scaled), out + i, part);
  });
}

void AdamWV(const AdamWStep& s, const float* v, const float* g, float* out, std::int64_t n) {
  for_vectors(static_cast<std::size_t>(n), [&](std::size_t i, auto part) {
    const Vec scaled = hn::Mul(load(g + i, part), splat(s.gscale));
    store(next_v(s, load(v + i, part), scaled), out + i, part);
  });
}

void AdamWW(const AdamWStep& s, const float* w, const float* m, const float* v, float* out,
            std::int64_t n) {
  for_vectors(static_cast<std::size_t>(n), [&](std::size_t i, auto part) {
    store(next_w(s, load(w + i, part), load(m + i, part), load(v + i, part)), out + i, part);
  });
}

}  // namespace suanli::engine::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace suanli::engine {
namespace {

using graph::DType;

HWY_EXPORT(AdamW);
HWY_EXPORT(AdamWM);
HWY_EXPORT(AdamWV);
HWY_EXPORT(AdamWW);

constexpr std::int64_t kGrain = 16384;

// 1 - x of the f32 that x is rounded to, exact before it is rounded itself.
float rest_of(double x) {
  return static_cast<float>(1 - static_cast<double>(static_cast<float>(x)));
}

void set_rates(AdamWStep& step, double decay, const KernelArgs& args, int lr_index) {
  step.rate = *input<float>(args, lr_index);
  step.correction1 = *input<float>(args, lr_index + 1);
  step.correction2 = *input<float>(args, lr_index + 2);
  step.keep = static_cast<float>(1 - static_cast<double>(step.rate) * decay);
}

// The step with the constants of the attributes that the op has.
AdamWStep step_of(const graph::Attrs& attrs) {
  AdamWStep step;
  step.beta1 = static_cast<float>(attrs.real("beta1", 0));
  step.rest1 = rest_of(attrs.real("beta1", 0));
  step.beta2 = static_cast<float>(attrs.real("beta2", 0));
  step.rest2 = rest_of(attrs.real("beta2", 0));
  step.eps = static_cast<float>(attrs.real("eps", 0));
  return step;
}

// Runs a task over pieces of the first input, in place or not: every vector is read before it is
// written.
class AdamWKernel final : public Kernel {
 public:
  using Task = void (*)(const AdamWStep&, const KernelArgs&, std::int64_t begin, std::int64_t n);
  // `gscale` and `lr` are input indices, -1 if the op has none.
  AdamWKernel(const KernelSpec& spec, int gscale, int lr, Task task)
      : step_(step_of(spec.attrs)),
        decay_(spec.attrs.real("decay", 0)),
        elements_(spec.inputs[0].elements()),
        gscale_(gscale),
        lr_(lr),
        task_(task) {}

  void run(const KernelArgs& args) const override {
    AdamWStep step = step_;
    if (gscale_ >= 0) step.gscale = *input<float>(args, gscale_);
    if (lr_ >= 0) set_rates(step, decay_, args, lr_);
    parallel_ranges(args.pool, elements_, kGrain, [&](std::int64_t begin, std::int64_t end, int) {
      task_(step, args, begin, end - begin);
    });
  }
  std::string implementation() const override { return "hwy:" + simd_name(); }
  bool in_place(int in, int out) const override { return in == out; }

 private:
  AdamWStep step_;
  double decay_;
  std::int64_t elements_;
  int gscale_, lr_;
  Task task_;
};

Result<std::unique_ptr<Kernel>> make_m(const KernelSpec& spec) {
  if (!has_dtypes(spec, std::vector<DType>(3, DType::f32), {DType::f32})) return unsupported(spec);
  return std::make_unique<AdamWKernel>(
      spec, 2, -1, [](const AdamWStep& s, const KernelArgs& a, std::int64_t at, std::int64_t n) {
        HWY_DYNAMIC_DISPATCH(AdamWM)
        (s, input<float>(a, 0) + at, input<float>(a, 1) + at, output<float>(a, 0) + at, n);
      });
}

Result<std::unique_ptr<Kernel>> make_v(const KernelSpec& spec) {
  if (!has_dtypes(spec, std::vector<DType>(3, DType::f32), {DType::f32})) return unsupported(spec);
  return std::make_unique<AdamWKernel>(
      spec, 2, -1, [](const AdamWStep& s, const KernelArgs& a, std::int64_t at, std::int64_t n) {
        HWY_DYNAMIC_DISPATCH(AdamWV)
        (s, input<float>(a, 0) + at, input<float>(a, 1) + at, output<float>(a, 0) + at, n);
      });
}

Result<std::unique_ptr<Kernel>> make_w(const KernelSpec& spec) {
  if (!has_dtypes(spec, std::vector<DType>(6, DType::f32), {DType::f32})) return unsupported(spec);
  return std::make_unique<AdamWKernel>(
      spec, -1, 3, [](const AdamWStep& s, const KernelArgs& a, std::int64_t at, std::int64_t n) {
        HWY_DYNAMIC_DISPATCH(AdamWW)
        (s, input<float>(a, 0) + at, input<float>(a, 1) + at, input<float>(a, 2) + at,
         output<float>(a, 0) + at, n);
      });
}

Result<std::unique_ptr<Kernel>> make_fused(const KernelSpec& spec) {
  if (!has_dtypes(spec, std::vector<DType>(8, DType::f32), std::vector<DType>(3, DType::f32)))
    return unsupported(spec);
  return std::make_unique<AdamWKernel>(
      spec, 4, 5, [](const AdamWStep& s, const KernelArgs& a, std::int64_t at, std::int64_t n) {
        HWY_DYNAMIC_DISPATCH(AdamW)
        (s, output<float>(a, 0) + at, output<float>(a, 1) + at, output<float>(a, 2) + at,
         input<float>(a, 3) + at, n);
      });
}

Result<std::unique_ptr<Kernel>> make_clip_scale(const KernelSpec& spec) {
  if (!has_dtypes(spec, {DType::f32, DType::f32}, {DType::f32})) return unsupported(spec);
  const double max_norm = spec.attrs.real("max_norm");
  return simple_kernel("scalar", [max_norm](const KernelArgs& args) {
    const double tokens = std::max(1.0, static_cast<double>(*input<float>(args, 1)));
    const double norm = std::sqrt(static_cast<double>(*input<float>(args, 0))) / tokens;
    double scale = 1;
    // A NaN norm must stay one: the step is then refused.
    if (max_norm > 0 && !(max_norm / (norm + 1e-6) >= 1)) scale = max_norm / (norm + 1e-6);
    *output<float>(args, 0) = exact::canonical(static_cast<float>(scale / tokens));
  });
}

}  // namespace

void register_adamw(KernelTable& table) {
  table.add("adamw", make_fused);
  table.add("adamw_m", make_m);
  table.add("adamw_v", make_v);
  table.add("adamw_w", make_w);
  table.add("clip_scale", make_clip_scale);
}

}  // namespace suanli::engine
#endif
