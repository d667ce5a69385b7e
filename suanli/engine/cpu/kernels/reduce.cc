// reduce_to, reduce_max, sum_squares, accumulate. The shape alone decides how a sum is cut and in
// which order its parts are added. reduce_to takes bf16 too. All are exact: docs/formats/exact-arithmetic.md, section 3.
#include "suanli/engine/cpu/exact/math.h"
#include "suanli/engine/cpu/kernel_support.h"
#include "suanli/engine/cpu/strided_copy.h"
#include "suanli/engine/cpu/sums.h"

namespace suanli::engine {
namespace {

using graph::DType;
using graph::Shape;

// All n elements to one: blocks of kSumBlock, ascending.
template <typename T>
class FullSum final : public Kernel {
 public:
  FullSum(std::int64_t elements, double (*block_sum)(const T*, std::int64_t))
      : elements_(elements), block_sum_(block_sum) {}

  void run(const KernelArgs& args) const override {
    double* parts = reinterpret_cast<double*>(args.scratch);
    parallel_ranges(args.pool, elements_, kSumBlock,
                    [&](std::int64_t begin, std::int64_t end, int) {
                      parts[begin / kSumBlock] = block_sum_(input<T>(args, 0) + begin, end - begin);
                    });
    double total = 0;
    for (std::int64_t i = 0; i < divide_up(elements_, kSumBlock); ++i) total += parts[i];
    *output<float>(args, 0) = exact::canonical(static_cast<float>(total));
  }
  Bytes scratch(int) const override {
    return Bytes(divide_up(elements_, kSumBlock) * std::int64_t{sizeof(double)});
  }
  std::string implementation() const override { return "hwy:" + simd_name() + " blocks of 65536"; }

 private:
  std::int64_t elements_;
  double (*block_sum_)(const T*, std::int64_t);
};

// Columns of one task: a strip's sums stay in L1.
constexpr std::int64_t kStrip = 1024;

// [rows, columns] to [columns]: blocks of rows are summed into scratch, then the blocks in order.
template <typename T>
class ColumnSum final : public Kernel {
 public:
  ColumnSum(std::int64_t rows, std::int64_t columns)
      : rows_(rows),
        columns_(columns),
        block_rows_(std::max<std::int64_t>(32, divide_up(rows, 64))),
        blocks_(divide_up(rows, block_rows_)),
        strips_(divide_up(columns, kStrip)) {}

  void run(const KernelArgs& args) const override {
    float* parts = blocks_ > 1 ? reinterpret_cast<float*>(args.scratch) : output<float>(args, 0);
    args.pool.parallel_for(blocks_ * strips_, [&](std::int64_t task, int) {
      const std::int64_t block = task / strips_;
      const std::int64_t column = task % strips_ * kStrip;
      const std::int64_t row = block * block_rows_;
      sum_rows(input<T>(args, 0) + row * columns_ + column, std::min(block_rows_, rows_ - row),
               columns_, parts + block * columns_ + column, std::min(kStrip, columns_ - column));
    });
    if (blocks_ > 1) sum_rows(parts, blocks_, columns_, output<float>(args, 0), columns_);
  }
  Bytes scratch(int) const override {
    return Bytes(blocks_ > 1 ? blocks_ * columns_ * std::int64_t{sizeof(float)} : 0);
  }
  std::string implementation() const override {
    return "hwy:" + simd_name() + " by columns, tasks " + std::to_string(blocks_) + "x" +
           std::to_string(strips_);
  }

 private:
  std::int64_t rows_, columns_, block_rows_, blocks_, strips_;
};

// [rows, columns] to [rows].
std::unique_ptr<Kernel> over_rows(std::int64_t rows, std::int64_t columns,
                                  float (*of_row)(const float*, std::int64_t)) {
  return simple_kernel("hwy:" + simd_name() + " by row", [=](const KernelArgs& args) {
    parallel_ranges(
        args.pool, rows, rows_per_task(columns), [&](std::int64_t begin, std::int64_t end, int) {
          for (std::int64_t row = begin; row < end; ++row)
            output<float>(args, 0)[row] = of_row(input<float>(args, 0) + row * columns, columns);
        });
  });
}

// Dimensions of a tensor, slowest first, each with the distance between its neighbours.
struct Axes {
  Shape sizes, strides;
  std::int64_t count() const { return graph::element_count(sizes); }
  std::int64_t offset(std::int64_t flat) const {
    std::int64_t sum = 0;
    for (std::size_t i = sizes.size(); i-- > 0; flat /= sizes[i])
      sum += flat % sizes[i] * strides[i];
    return sum;
  }
};

// What is kept and what is summed; neighbouring dimensions of one kind are one.
struct Reduction {
  Axes kept, summed;
  bool inner_kept = true;  // the fastest dimension, which is in neither of the lists
  std::int64_t inner = 1;

  // `strides` belong to the input's dimensions and lead to the output, 0 where it is summed.
  Reduction(const Shape& shape, const Shape& strides) {
    const Shape dense = dense_strides(shape);
    Axes* last = nullptr;
    for (std::size_t i = 0; i < shape.size(); ++i) {
      if (shape[i] == 1) continue;
      Axes& axes = strides[i] == 0 ? summed : kept;
      if (&axes == last) {
        axes.sizes.back() *= shape[i];
        axes.strides.back() = dense[i];
      } else {
        axes.sizes.push_back(shape[i]);
        axes.strides.push_back(dense[i]);
      }
      last = &axes;
    }
    if (last == nullptr) return;
    inner_kept = last == &kept;
    inner = last->sizes.back();
    last->sizes.pop_back();
    last->strides.pop_back();
  }
};

// Any dimensions, the last summed: sums of rows in f32, added in double in their order.
template <typename T>
std::unique_ptr<Kernel> sum_of_rows(const Reduction& r) {
  const std::int64_t rows = r.summed.count();
  return simple_kernel("hwy:" + simd_name() + " by row", [=](const KernelArgs& args) {
    parallel_ranges(args.pool, r.kept.count(), rows_per_task(rows * r.inner),
                    [&](std::int64_t begin, std::int64_t end, int) {
                      for (std::int64_t i = begin; i < end; ++i) {
                        const T* x = input<T>(args, 0) + r.kept.offset(i);
                        double total = 0;
                        for (std::int64_t t = 0; t < rows; ++t)
                          total += row_sum(x + r.summed.offset(t), r.inner);
                        output<float>(args, 0)[i] = exact::canonical(static_cast<float>(total));
                      }
                    });
  });
}

// Any dimensions, the last kept: strips of it are summed over the nearest summed dimension, then
// over the others in order.
template <typename T>
std::unique_ptr<Kernel> sum_of_strips(Reduction r) {
  const std::int64_t count = r.summed.sizes.empty() ? 1 : r.summed.sizes.back();
  const std::int64_t stride = r.summed.sizes.empty() ? 0 : r.summed.strides.back();
  if (!r.summed.sizes.empty()) {
    r.summed.sizes.pop_back();
    r.summed.strides.pop_back();
  }
  const std::int64_t groups = r.summed.count();
  const std::int64_t strips = divide_up(r.inner, kStrip);
  const std::int64_t grain = rows_per_task(count * groups * std::min(kStrip, r.inner));
  return simple_kernel("hwy:" + simd_name() + " by strips", [=](const KernelArgs& args) {
    parallel_ranges(args.pool, r.kept.count() * strips, grain,
                    [&](std::int64_t begin, std::int64_t end, int) {
                      alignas(64) float group[kStrip];
                      for (std::int64_t task = begin; task < end; ++task) {
                        const std::int64_t row = task / strips;
                        const std::int64_t column = task % strips * kStrip;
                        const std::int64_t n = std::min(kStrip, r.inner - column);
                        const T* x = input<T>(args, 0) + r.kept.offset(row) + column;
                        float* to = output<float>(args, 0) + row * r.inner + column;
                        sum_rows(x, count, stride, to, n);
                        for (std::int64_t g = 1; g < groups; ++g) {
                          sum_rows(x + r.summed.offset(g), count, stride, group, n);
                          add_to(group, to, n);
                        }
                      }
                    });
  });
}

template <typename T>
std::unique_ptr<Kernel> make_sum(const KernelSpec& spec) {
  const Shape& shape = spec.inputs[0].shape;
  const std::int64_t total = spec.inputs[0].elements();
  const std::int64_t kept = spec.outputs[0].elements();
  if (total == 0)
    return simple_kernel("zeros", [kept](const KernelArgs& args) {
      std::fill_n(output<float>(args, 0), kept, 0.0F);
    });
  if (kept == 1)
    return std::make_unique<FullSum<T>>(total,
                                        static_cast<double (*)(const T*, std::int64_t)>(sum));
  const Reduction r(shape, broadcast_strides(spec.outputs[0].shape, shape));
  if (!r.inner_kept) return sum_of_rows<T>(r);
  if (r.kept.sizes.empty()) return std::make_unique<ColumnSum<T>>(total / kept, kept);
  return sum_of_strips<T>(r);
}

Result<std::unique_ptr<Kernel>> make_reduce_to(const KernelSpec& spec) {
  if (has_dtypes(spec, {DType::f32}, {DType::f32})) return make_sum<float>(spec);
  if (has_dtypes(spec, {DType::bf16}, {DType::f32})) return make_sum<Bf16>(spec);
  return unsupported(spec);
}

Result<std::unique_ptr<Kernel>> make_reduce_max(const KernelSpec& spec) {
  if (!has_dtypes(spec, {DType::f32}, {DType::f32})) return unsupported(spec);
  const std::int64_t columns = spec.inputs[0].shape.back();
  return over_rows(spec.inputs[0].elements() / columns, columns, row_max);
}

Result<std::unique_ptr<Kernel>> make_sum_squares(const KernelSpec& spec) {
  if (!has_dtypes(spec, {DType::f32}, {DType::f32})) return unsupported(spec);
  return std::make_unique<FullSum<float>>(spec.inputs[0].elements(), sum_of_squares);
}

Result<std::unique_ptr<Kernel>> make_accumulate(const KernelSpec& spec) {
  if (!has_dtypes(spec, {DType::f32}, {DType::f32})) return unsupported(spec);
  const std::int64_t n = spec.inputs[0].elements();
  return simple_kernel("hwy:" + simd_name(), [n](const KernelArgs& args) {
    parallel_ranges(args.pool, n, 16384, [&](std::int64_t begin, std::int64_t end, int) {
      add_to(input<float>(args, 0) + begin, output<float>(args, 0) + begin, end - begin);
    });
  });
}

}  // namespace

void register_reduce(KernelTable& table) {
  table.add("reduce_to", make_reduce_to);
  table.add("reduce_max", make_reduce_max);
  table.add("sum_squares", make_sum_squares);
  table.add("accumulate", make_accumulate);
}

}  // namespace suanli::engine
