// layer_norm and its gradients (graph/ops/layer_norm.cc). Rows of C elements; a row is read several
// times from L1.
//
// f32 and bf16 rows come in; the first result goes through an epilogue (kernel.h). All are exact: the order of every
// operation is written down in docs/formats/exact-arithmetic.md, section 3, and no product is fused into a sum.
#include <cmath>
#include <optional>

#include "suanli/engine/cpu/epilogue.h"
#include "suanli/engine/cpu/kernel_support.h"
#include "suanli/engine/cpu/scratch_layout.h"
#include "suanli/engine/cpu/simd_targets.h"
#include "suanli/engine/cpu/sums.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "suanli/engine/cpu/kernels/layer_norm.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "suanli/engine/cpu/exact/math-inl.h"
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

// As strided_sum of vector-inl.h, of two values in one pass: value(i, part, second) gives the
// first.
template <class Value>
HWY_INLINE float strided_sums(std::size_t n, const Value& value, float& second) {
  Vec sums[kAccumulators], seconds[kAccumulators];
  for (std::size_t k = 0; k < kAccumulators; ++k) sums[k] = seconds[k] = splat(0);
  const auto add = [&](std::size_t i, std::size_t k, auto part) {
    Vec b = splat(0);
    const Vec a = value(i, part, b);
    sums[k] = hn::Add(sums[k], first_lanes(a, part));
    seconds[k] = hn::Add(seconds[k], first_lanes(b, part));
  };
  std::size_t i = 0;
  for (; i + kPartials <= n; i += kPartials)
    for (std::size_t k = 0; k < kAccumulators; ++k) add(i + k * kLanes, k, Whole());
  for (std::size_t k = 0; i < n; ++k, i += kLanes) {
    if (i + kLanes <= n)
      add(i, k, Whole());
    else
      add(i, k, Part{n - i});
  }
  const auto plus = [](Vec a, Vec b) { return hn::Add(a, b); };
  second = fold(seconds, plus);
  return fold(sums, plus);
}

HWY_INLINE Vec normalised(const float* x, std::size_t i, Vec mean, Vec r, auto part) {
  return hn::Mul(hn::Sub(load(x + i, part), mean), r);
}

void LayerNormRow(const float* x, const float* gamma, const float* beta, float eps, float* y,
                  std::size_t n) {
  const RowNorm norm = normalise(x, n, eps);
  const Vec mean = splat(norm.mean);
  const Vec r = splat(norm.r);
  for_vectors(n, [&](std::size_t i, auto part) {
    const Vec h = normalised(x, i, mean, r, part);
    store(canonical(hn::Add(hn::Mul(h, load(gamma + i, part)), load(beta + i, part))), y + i, part);
  });
}

// One row of the backward pass; dx or dgamma may be null. dx = r (g - mean(g) - h mean(g h)), g = dy
// gamma; dgamma += dy h.
void LayerNormBackwardRow(const float* x, const float* gamma, const float* dy, float eps, float* dx,
                          float* dgamma, std::size_t n) {
  const RowNorm norm = normalise(x, n, eps);
  const Vec mean = splat(norm.mean);
  const Vec r = splat(norm.r);
  // Adds one vector's part of dgamma; gives dy gamma h, and dy gamma in `g`.
  const auto visit = [&](std::size_t i, auto part, Vec& g) {
    const Vec d = load(dy + i, part);
    const Vec h = normalised(x, i, mean, r, part);
    if (dgamma != nullptr) store(hn::Add(load(dgamma + i, part), hn::Mul(d, h)), dgamma + i, part);
    if (dx == nullptr) return d;
    g = hn::Mul(d, load(gamma + i, part));
    return hn::Mul(g, h);
  };
  if (dx == nullptr) {
    for_vectors(n, [&](std::size_t i, auto part) {
      Vec unused;
      visit(i, part, unused);
    });
    return;
  }
  float sum_g;
  const float sum_gh = strided_sums(n, visit, sum_g);
  const Vec mean_g = splat(sum_g / static_cast<float>(n));
  const Vec mean_gh = splat(sum_gh / static_cast<float>(n));
  // dx may lie where x or dy does: every vector is read before it is written.
  for_vectors(n, [&](std::size_t i, auto part) {
    const Vec g = hn::Mul(load(dy + i, part), load(gamma + i, part));
    const Vec h = normalised(x, i, mean, r, part);
    store(canonical(hn::Mul(r, hn::Sub(hn::Sub(g, mean_g), hn::Mul(h, mean_gh)))), dx + i, part);
  });
}

}  // namespace suanli::engine::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace suanli::engine {
namespace {

using graph::DType;
using graph::Shape;

HWY_EXPORT(LayerNormRow);
HWY_EXPORT(LayerNormBackwardRow);

// Rows that go through L1 one at a time: read as f32 from f32 or bf16, and the result handed to the
// epilogue. A f32 result without an epilogue is written in place.
class Rows {
 public:
  // `inputs`: which inputs hold such rows. `own_inputs` are the kernel's own, behind them stand the
  // region's.
  Rows(const KernelSpec& spec, std::vector<int> inputs, int own_inputs, bool has_result)
      : rows_(spec.inputs[0].shape.at(0)),
        columns_(spec.inputs[0].shape.at(1)),
        own_inputs_(own_inputs) {
    for (const int index : inputs) {
      const DType dtype = spec.inputs[index].dtype;
      row_inputs_.push_back({index, dtype, dtype == DType::bf16 ? add_row() : -1});
    }
    if (!has_result || (spec.region == nullptr && spec.outputs[0].dtype == DType::f32)) return;
    epilogue_.emplace(make_epilogue(spec, columns_));
    result_ = add_row();
    epilogue_scratch_ = layout_.add(epilogue_->scratch());
  }

  std::int64_t rows() const { return rows_; }
  std::int64_t columns() const { return columns_; }
  std::int64_t scratch() const { return layout_.size().value(); }  // of one worker

  // The row of the k-th of `inputs`.
  const float* read(const KernelArgs& args, std::size_t k, std::int64_t row,
                    std::byte* scratch) const {
    const RowInput& from = row_inputs_[k];
    if (from.dtype == DType::f32) return input<float>(args, from.index) + row * columns_;
    auto* to = reinterpret_cast<float*>(scratch + from.at);
    widen(input<Bf16>(args, from.index) + row * columns_, to, columns_);
    return to;
  }
  // Where the row's result is to be computed; finish() takes it from there.
  float* result(const KernelArgs& args, std::int64_t row, std::byte* scratch) const {
    if (epilogue_) return reinterpret_cast<float*>(scratch + result_);
    return output<float>(args, 0) + row * columns_;
  }
  void finish(const KernelArgs& args, std::int64_t row, std::byte* scratch) const {
    if (!epilogue_) return;
    const float* data = reinterpret_cast<const float*>(scratch + result_);
    epilogue_->run(
        {args.inputs + own_inputs_, args.outputs},
        {.data = data, .stride = columns_, .row = row, .rows = 1, .column = 0, .columns = columns_},
        scratch + epilogue_scratch_);
  }

  // A row's inputs are read before its result is written; operands of the region are the epilogue's to judge.
  bool in_place(const KernelSpec& spec, int in, int out) const {
    if (in >= own_inputs_) return epilogue_->in_place(in, own_inputs_, out);
    if (spec.inputs[in].dtype != spec.outputs[out].dtype) return false;
    return std::any_of(row_inputs_.begin(), row_inputs_.end(),
                       [&](const RowInput& row) { return row.index == in; });
  }
  std::string to_string() const { return epilogue_ ? epilogue_->to_string() : ""; }

 private:
  struct RowInput {
    int index;
    DType dtype;
    std::int64_t at;  // of the f32 copy in scratch, or -1
  };
  std::int64_t add_row() {
    return layout_.add(divide_up(columns_, kTileStep) * kTileStep * std::int64_t{sizeof(float)});
  }

  std::int64_t rows_, columns_;
  int own_inputs_;
  std::vector<RowInput> row_inputs_;
  ScratchLayout layout_;
  std::optional<Epilogue> epilogue_;
  std::int64_t result_ = 0, epilogue_scratch_ = 0;
};

class LayerNorm final : public Kernel {
 public:
  explicit LayerNorm(const KernelSpec& spec)
      : rows_(spec, {0}, 3, true), eps_(static_cast<float>(spec.attrs.real("eps"))), spec_(spec) {
    spec_.region = nullptr;
  }

  void run(const KernelArgs& args) const override {
    parallel_ranges(args.pool, rows_.rows(), rows_per_task(rows_.columns()),
                    [&](std::int64_t begin, std::int64_t end, int worker) {
                      std::byte* own = args.scratch + worker * rows_.scratch();
                      for (std::int64_t row = begin; row < end; ++row) run_row(args, row, own);
                    });
  }
  Bytes scratch(int workers) const override { return Bytes(workers * rows_.scratch()); }
  std::string implementation() const override { return "hwy:" + simd_name() + rows_.to_string(); }
  bool in_place(int in, int out) const override {
    return rows_.in_place(spec_, in, out);
  }

 private:
  void run_row(const KernelArgs& args, std::int64_t row, std::byte* own) const {
    HWY_DYNAMIC_DISPATCH(LayerNormRow)
    (rows_.read(args, 0, row, own), input<float>(args, 1), input<float>(args, 2), eps_,
     rows_.result(args, row, own), static_cast<std::size_t>(rows_.columns()));
    rows_.finish(args, row, own);
  }

  Rows rows_;
  float eps_;
  KernelSpec spec_;
};

// Sums over rows go by blocks of rows, their number fixed by shape; the blocks are then added in
// order. Blocks are those of reduce_to, so that dbeta has its bits.
constexpr std::int64_t kMostBlocks = 64;
constexpr std::int64_t kLeastBlockRows = 32;

// (x, gamma, dy) -> dx [, dgamma, dbeta], or (x, dy) -> dgamma.
class LayerNormBackward final : public Kernel {
 public:
  // `single_column`: for dbeta if that is one element, which reduce_to sums in another order.
  LayerNormBackward(const KernelSpec& spec, bool has_dx, int sums,
                    std::unique_ptr<Kernel> single_column = nullptr)
      : rows_(spec, has_dx ? std::vector<int>{0, 2} : std::vector<int>{0, 1}, has_dx ? 3 : 2,
              has_dx),
        eps_(static_cast<float>(spec.attrs.real("eps"))),
        has_dx_(has_dx),
        sums_(sums),
        dgamma_(static_cast<int>(spec.outputs.size()) - sums),
        block_rows_(std::max(kLeastBlockRows, divide_up(rows_.rows(), kMostBlocks))),
        blocks_(std::max<std::int64_t>(1, divide_up(rows_.rows(), block_rows_))),
        spec_(spec),
        single_column_(std::move(single_column)) {
    spec_.region = nullptr;
  }

  void run(const KernelArgs& args) const override {
    const std::int64_t n = rows_.columns();
    const bool sums_betas = sums_ > 1 && single_column_ == nullptr;
    // First, since dx may lie where dy does.
    if (single_column_) single_column_->run({args.inputs + kDy, args.outputs + dgamma_ + 1, args.scratch, args.pool});
    auto* gammas = reinterpret_cast<float*>(args.scratch);
    float* betas = gammas + blocks_ * n;
    args.pool.parallel_for(blocks_, [&](std::int64_t block, int worker) {
      if (sums_betas) sum_block(args, block, betas + block * n);
      run_block(args, block, sums_ > 0 ? gammas + block * n : nullptr,
                args.scratch + sums_bytes() + worker * rows_.scratch());
    });
    if (sums_ > 0) sum_rows(gammas, blocks_, n, output<float>(args, dgamma_), n);
    if (sums_betas) sum_rows(betas, blocks_, n, output<float>(args, dgamma_ + 1), n);
  }
  Bytes scratch(int workers) const override {
    const Bytes own(sums_bytes() + workers * rows_.scratch());
    return single_column_ ? std::max(own, single_column_->scratch(workers)) : own;
  }
  std::string implementation() const override {
    return "hwy:" + simd_name() + " " + std::to_string(blocks_) + " blocks of rows" +
           rows_.to_string();
  }
  bool in_place(int in, int out) const override {
    return out < dgamma_ && rows_.in_place(spec_, in, out);
  }

 private:
  std::int64_t sums_bytes() const {
    return divide_up(sums_ * blocks_ * rows_.columns() * std::int64_t{sizeof(float)}, 64) * 64;
  }

  static constexpr int kDy = 2;  // of the inputs, where dx is an output

  // betas = the sum of dy over a block's rows, which its dx has not replaced yet.
  void sum_block(const KernelArgs& args, std::int64_t block, float* betas) const {
    const std::int64_t n = rows_.columns(), first = block * block_rows_;
    const std::int64_t count = std::min(rows_.rows() - first, block_rows_);
    if (count <= 0)
      std::fill_n(betas, n, 0.0F);
    else if (spec_.inputs[kDy].dtype == DType::f32)
      sum_rows(input<float>(args, kDy) + first * n, count, n, betas, n);
    else
      sum_rows(input<Bf16>(args, kDy) + first * n, count, n, betas, n);
  }

  void run_block(const KernelArgs& args, std::int64_t block, float* gammas, std::byte* own) const {
    const auto n = static_cast<std::size_t>(rows_.columns());
    if (gammas != nullptr) std::fill_n(gammas, n, 0.0F);
    const std::int64_t end = std::min(rows_.rows(), (block + 1) * block_rows_);
    for (std::int64_t row = block * block_rows_; row < end; ++row) {
      const float* x = rows_.read(args, 0, row, own);
      const float* dy = rows_.read(args, 1, row, own);
      HWY_DYNAMIC_DISPATCH(LayerNormBackwardRow)
      (x, has_dx_ ? input<float>(args, 1) : nullptr, dy, eps_,
       has_dx_ ? rows_.result(args, row, own) : nullptr, gammas, n);
      if (has_dx_) rows_.finish(args, row, own);
    }
  }

  Rows rows_;
  float eps_;
  bool has_dx_;
  int sums_;    // how many of dgamma, dbeta are outputs
  int dgamma_;  // their first
  std::int64_t block_rows_, blocks_;
  KernelSpec spec_;
  std::unique_ptr<Kernel> single_column_;
};

bool is_real(DType dtype) { return dtype == DType::f32 || dtype == DType::bf16; }

// Are the kernel's own inputs rows or f32 vectors as `rows` says, and the outputs those of the
// region, then `sums` of f32?
bool fits(const KernelSpec& spec, const std::vector<bool>& rows, bool has_result, int sums) {
  const std::size_t operands = spec.region == nullptr ? 0 : spec.region->inputs.size() - 1;
  const std::size_t results = spec.region != nullptr ? spec.region->outputs.size()
                              : has_result           ? 1
                                                     : 0;
  const Shape& shape = spec.inputs[0].shape;
  if (spec.region != nullptr &&
      (!has_result || spec.region->shape.empty() || spec.region->shape.back() != shape.back() ||
       graph::element_count(spec.region->shape) != graph::element_count(shape)))
    return false;
  if (spec.inputs.size() != rows.size() + operands || spec.outputs.size() != results + sums)
    return false;
  for (std::size_t i = 0; i < spec.inputs.size(); ++i) {
    const bool real = i >= rows.size() || rows[i];
    if (real ? !is_real(spec.inputs[i].dtype) : spec.inputs[i].dtype != DType::f32) return false;
  }
  for (std::size_t o = 0; o < spec.outputs.size(); ++o)
    if (o < results ? !is_real(spec.outputs[o].dtype) : spec.outputs[o].dtype != DType::f32)
      return false;
  return true;
}

Result<std::unique_ptr<Kernel>> make_forward(const KernelSpec& spec) {
  if (!fits(spec, {true, false, false}, true, 0)) return unsupported(spec);
  return std::make_unique<LayerNorm>(spec);
}

template <int kSums>
Result<std::unique_ptr<Kernel>> make_backward(const KernelSpec& spec) {
  if (!fits(spec, {true, false, true}, true, kSums)) return unsupported(spec);
  std::unique_ptr<Kernel> single_column;
  if (kSums > 1 && spec.inputs[0].shape[1] == 1) {
    const KernelSpec sum{.name = "reduce_to",
                         .inputs = {spec.inputs[2]},
                         .outputs = {spec.outputs.back()},
                         .attrs = {{"shape", spec.outputs.back().shape}}};
    SUANLI_ASSIGN_OR_RETURN(single_column, cpu_kernels().find("reduce_to")(sum));
  }
  return std::make_unique<LayerNormBackward>(spec, true, kSums, std::move(single_column));
}

Result<std::unique_ptr<Kernel>> make_dgamma(const KernelSpec& spec) {
  if (!fits(spec, {true, true}, false, 1)) return unsupported(spec);
  return std::make_unique<LayerNormBackward>(spec, false, 1);
}

}  // namespace

void register_layer_norm(KernelTable& table) {
  table.add("layer_norm", make_forward);
  table.add("layer_norm_dx", make_backward<0>);
  table.add("layer_norm_dgamma", make_dgamma);
  table.add("layer_norm_backward", make_backward<2>);
}

}  // namespace suanli::engine
#endif
