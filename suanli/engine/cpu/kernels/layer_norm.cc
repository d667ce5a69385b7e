// layer_norm and its gradients (graph/ops/layer_norm.cc). Rows of C elements; a row is read several
// times from L1.
#include <cmath>

#include "suanli/engine/cpu/kernel_support.h"
#include "suanli/engine/cpu/simd_targets.h"
#include "suanli/engine/cpu/sums.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "suanli/engine/cpu/kernels/layer_norm.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "suanli/engine/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace suanli::engine::HWY_NAMESPACE {

struct RowNorm {
  float mean;
  float r;  // 1 / sqrt(variance + eps)
};

HWY_INLINE RowNorm normalise(const float* x, std::size_t n, float eps) {
  const float mean = strided_sum(n, [&](std::size_t i, auto part) { return load(x + i, part); }) /
                     static_cast<float>(n);
  const float squares = strided_sum(n, [&](std::size_t i, auto part) {
    const Vec centred = hn::Sub(load(x + i, part), splat(mean));
    return hn::Mul(centred, centred);
  });
  return {mean, 1 / std::sqrt(squares / static_cast<float>(n) + eps)};
}

HWY_INLINE Vec normalised(const float* x, std::size_t i, Vec mean, Vec r, auto part) {
  return hn::Mul(hn::Sub(load(x + i, part), mean), r);
}

template <typename Out>
HWY_INLINE void forward_row(const float* x, const float* gamma, const float* beta, float eps,
                            Out* y, std::size_t n) {
  const RowNorm norm = normalise(x, n, eps);
  const Vec mean = splat(norm.mean);
  const Vec r = splat(norm.r);
  for_vectors(n, [&](std::size_t i, auto part) {
    const Vec h = normalised(x, i, mean, r, part);
    store(hn::MulAdd(h, load(gamma + i, part), load(beta + i, part)), y + i, part);
  });
}

void LayerNormRow(const float* x, const float* gamma, const float* beta, float eps, float* y,
                  std::size_t n) {
  forward_row(x, gamma, beta, eps, y, n);
}
void LayerNormRowBf16(const float* x, const float* gamma, const float* beta, float eps, Bf16* y,
                      std::size_t n) {
  forward_row(x, gamma, beta, eps, y, n);
}

// One row of the backward pass; any of dx, dgamma, dbeta may be null. dx = r (g - mean(g) - h
// mean(g h)), g = dy gamma; dgamma += dy h; dbeta += dy.
void LayerNormBackwardRow(const float* x, const float* gamma, const float* dy, float eps, float* dx,
                          float* dgamma, float* dbeta, std::size_t n) {
  const RowNorm norm = normalise(x, n, eps);
  const Vec mean = splat(norm.mean);
  const Vec r = splat(norm.r);
  if (dgamma != nullptr)
    for_vectors(n, [&](std::size_t i, auto part) {
      const Vec h = normalised(x, i, mean, r, part);
      store(hn::MulAdd(load(dy + i, part), h, load(dgamma + i, part)), dgamma + i, part);
    });
  if (dbeta != nullptr)
    for_vectors(n, [&](std::size_t i, auto part) {
      store(hn::Add(load(dbeta + i, part), load(dy + i, part)), dbeta + i, part);
    });
  if (dx == nullptr) return;
  const auto count = static_cast<float>(n);
  const float mean_g = strided_sum(n,
                                   [&](std::size_t i, auto part) {
                                     return hn::Mul(load(dy + i, part), load(gamma + i, part));
                                   }) /
                       count;
  const float mean_gh = strided_sum(n,
                                    [&](std::size_t i, auto part) {
                                      const Vec g =
                                          hn::Mul(load(dy + i, part), load(gamma + i, part));
                                      return hn::Mul(g, normalised(x, i, mean, r, part));
                                    }) /
                        count;
  // dx may lie where x or dy does: every vector is read before it is written.
  for_vectors(n, [&](std::size_t i, auto part) {
    const Vec g = hn::Mul(load(dy + i, part), load(gamma + i, part));
    const Vec h = normalised(x, i, mean, r, part);
    const Vec rest = hn::NegMulAdd(h, splat(mean_gh), hn::Sub(g, splat(mean_g)));
    store(hn::Mul(r, rest), dx + i, part);
  });
}

}  // namespace suanli::engine::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace suanli::engine {
namespace {

using graph::DType;

HWY_EXPORT(LayerNormRow);
HWY_EXPORT(LayerNormRowBf16);
HWY_EXPORT(LayerNormBackwardRow);

struct Extent {
  std::int64_t rows, columns;
  explicit Extent(const graph::TensorType& x) : rows(x.shape.at(0)), columns(x.shape.at(1)) {}
};

class LayerNorm final : public Kernel {
 public:
  explicit LayerNorm(const KernelSpec& spec)
      : extent_(spec.inputs[0]),
        eps_(static_cast<float>(spec.attrs.real("eps"))),
        bf16_(spec.outputs[0].dtype == DType::bf16) {}

  void run(const KernelArgs& args) const override {
    const auto row_task = [&](std::int64_t row) {
      const std::int64_t at = row * extent_.columns;
      const float* x = input<float>(args, 0) + at;
      const float* gamma = input<float>(args, 1);
      const float* beta = input<float>(args, 2);
      const auto n = static_cast<std::size_t>(extent_.columns);
      if (bf16_)
        HWY_DYNAMIC_DISPATCH(LayerNormRowBf16)(x, gamma, beta, eps_, output<Bf16>(args, 0) + at, n);
      else
        HWY_DYNAMIC_DISPATCH(LayerNormRow)(x, gamma, beta, eps_, output<float>(args, 0) + at, n);
    };
    parallel_ranges(args.pool, extent_.rows, rows_per_task(extent_.columns),
                    [&](std::int64_t begin, std::int64_t end, int) {
                      for (std::int64_t row = begin; row < end; ++row) row_task(row);
                    });
  }
  std::string implementation() const override { return "hwy:" + simd_name(); }
  bool in_place(int in, int) const override { return in == 0 && !bf16_; }

 private:
  Extent extent_;
  float eps_;
  bool bf16_;
};

// Sums over rows go by blocks of rows, their number fixed by shape; the blocks are then added in
// order.
constexpr std::int64_t kMostBlocks = 64;
constexpr std::int64_t kLeastBlockRows = 16;

// Which of dx, dgamma, dbeta are outputs, and where (-1: not); gamma is input 1 where dx is wanted.
struct Outputs {
  int dx, dgamma, dbeta;
};

class LayerNormBackward final : public Kernel {
 public:
  LayerNormBackward(const KernelSpec& spec, Outputs outputs)
      : extent_(spec.inputs[0]),
        eps_(static_cast<float>(spec.attrs.real("eps"))),
        outputs_(outputs),
        dy_(static_cast<int>(spec.inputs.size()) - 1),
        block_rows_(std::max(kLeastBlockRows, divide_up(extent_.rows, kMostBlocks))),
        blocks_(std::max<std::int64_t>(1, divide_up(extent_.rows, block_rows_))) {}

  void run(const KernelArgs& args) const override {
    float* gammas = outputs_.dgamma < 0 ? nullptr : reinterpret_cast<float*>(args.scratch);
    float* betas = outputs_.dbeta < 0 ? nullptr : gammas + blocks_ * extent_.columns;
    args.pool.parallel_for(blocks_, [&](std::int64_t block, int) {
      const std::int64_t at = block * extent_.columns;
      run_block(args, block, gammas == nullptr ? nullptr : gammas + at,
                betas == nullptr ? nullptr : betas + at);
    });
    const std::int64_t n = extent_.columns;
    if (gammas != nullptr) sum_rows(gammas, blocks_, n, output<float>(args, outputs_.dgamma), n);
    if (betas != nullptr) sum_rows(betas, blocks_, n, output<float>(args, outputs_.dbeta), n);
  }
  Bytes scratch(int) const override {
    const std::int64_t sums = (outputs_.dgamma >= 0) + (outputs_.dbeta >= 0);
    return Bytes(sums * blocks_ * extent_.columns * std::int64_t{sizeof(float)});
  }
  std::string implementation() const override {
    return "hwy:" + simd_name() + " " + std::to_string(blocks_) + " blocks of rows";
  }
  bool in_place(int in, int out) const override {
    return out == outputs_.dx && (in == 0 || in == dy_);
  }

 private:
  void run_block(const KernelArgs& args, std::int64_t block, float* gammas, float* betas) const {
    const auto n = static_cast<std::size_t>(extent_.columns);
    if (gammas != nullptr) std::fill_n(gammas, n, 0.0F);
    if (betas != nullptr) std::fill_n(betas, n, 0.0F);
    const std::int64_t end = std::min(extent_.rows, (block + 1) * block_rows_);
    for (std::int64_t row = block * block_rows_; row < end; ++row) {
      const std::int64_t at = row * extent_.columns;
      HWY_DYNAMIC_DISPATCH(LayerNormBackwardRow)
      (input<float>(args, 0) + at, outputs_.dx < 0 ? nullptr : input<float>(args, 1),
       input<float>(args, dy_) + at, eps_,
       outputs_.dx < 0 ? nullptr : output<float>(args, outputs_.dx) + at, gammas, betas, n);
    }
  }

  Extent extent_;
  float eps_;
  Outputs outputs_;
  int dy_;
  std::int64_t block_rows_, blocks_;
};

Result<std::unique_ptr<Kernel>> make_forward(const KernelSpec& spec) {
  const std::vector<DType> inputs(3, DType::f32);
  if (!has_dtypes(spec, inputs, {DType::f32}) && !has_dtypes(spec, inputs, {DType::bf16}))
    return unsupported(spec);
  return std::make_unique<LayerNorm>(spec);
}

template <int kInputs, int kOutputs, int kDx, int kDgamma, int kDbeta>
Result<std::unique_ptr<Kernel>> make_backward(const KernelSpec& spec) {
  if (!has_dtypes(spec, std::vector<DType>(kInputs, DType::f32),
                  std::vector<DType>(kOutputs, DType::f32)))
    return unsupported(spec);
  return std::make_unique<LayerNormBackward>(spec, Outputs{kDx, kDgamma, kDbeta});
}

}  // namespace

void register_layer_norm(KernelTable& table) {
  table.add("layer_norm", make_forward);
  table.add("layer_norm_dx", make_backward<3, 1, 0, -1, -1>);
  table.add("layer_norm_dgamma", make_backward<2, 1, -1, 0, -1>);
  table.add("layer_norm_backward", make_backward<3, 3, 0, 1, 2>);
}

}  // namespace suanli::engine
#endif
