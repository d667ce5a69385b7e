// reduce_to, reduce_max, sum_squares, accumulate. The shape alone decides how a sum is cut and in
// which order its parts are added.
#include "suanli/engine/cpu/kernel_support.h"
#include "suanli/engine/cpu/strided_copy.h"
#include "suanli/engine/cpu/sums.h"

namespace suanli::engine {
namespace {

using graph::DType;
using graph::Shape;

// All n elements to one: blocks of kSumBlock, ascending.
class FullSum final : public Kernel {
 public:
  FullSum(std::int64_t elements, double (*block_sum)(const float*, std::int64_t))
      : elements_(elements), block_sum_(block_sum) {}

  void run(const KernelArgs& args) const override {
    double* parts = reinterpret_cast<double*>(args.scratch);
    parallel_ranges(
        args.pool, elements_, kSumBlock, [&](std::int64_t begin, std::int64_t end, int) {
          parts[begin / kSumBlock] = block_sum_(input<float>(args, 0) + begin, end - begin);
        });
    double total = 0;
    for (std::int64_t i = 0; i < divide_up(elements_, kSumBlock); ++i) total += parts[i];
    *output<float>(args, 0) = static_cast<float>(total);
  }
  Bytes scratch(int) const override {
    return Bytes(divide_up(elements_, kSumBlock) * std::int64_t{sizeof(double)});
  }
  std::string implementation() const override { return "hwy:" + simd_name() + " blocks of 65536"; }

 private:
  std::int64_t elements_;
  double (*block_sum_)(const float*, std::int64_t);
};

// [rows, columns] to [columns]: blocks of rows are summed into scratch, then the blocks in order.
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
      sum_rows(input<float>(args, 0) + row * columns_ + column, std::min(block_rows_, rows_ - row),
               columns_, parts + block * columns_ + column, std::min(kStrip, columns_ - column));
    });
    if (blocks_ > 1) sum_rows(parts, blocks_, columns_, output<float>(args, 0), columns_);
  }
  Bytes scratch(int) const override {
    return Bytes(blocks_ > 1 ? blocks_ * columns_ * std::int64_t{sizeof(float)} : 0);
  }
  std::string implementation() const override {
    return "hwy:" + simd_name() + " " + std::to_string(blocks_) + " blocks of rows";
  }

 private:
  static constexpr std::int64_t kStrip = 1024;  // columns of one task
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

// Any other sum: per output element in double, in the order of the input.
class AnySum final : public Kernel {
 public:
  // `strides` belong to the input's dimensions and lead to the output, 0 where it is summed.
  AnySum(const Shape& shape, const Shape& strides) {
    const Shape dense = dense_strides(shape);
    for (std::size_t i = 0; i < shape.size(); ++i) {
      Axes& axes = strides[i] == 0 ? summed_ : kept_;
      axes.sizes.push_back(shape[i]);
      axes.strides.push_back(dense[i]);
    }
  }

  void run(const KernelArgs& args) const override {
    const std::int64_t terms = graph::element_count(summed_.sizes);
    parallel_ranges(args.pool, graph::element_count(kept_.sizes), rows_per_task(terms),
                    [&](std::int64_t begin, std::int64_t end, int) {
                      for (std::int64_t i = begin; i < end; ++i) {
                        const float* x = input<float>(args, 0) + kept_.offset(i);
                        double total = 0;
                        for (std::int64_t t = 0; t < terms; ++t) total += x[summed_.offset(t)];
                        output<float>(args, 0)[i] = static_cast<float>(total);
                      }
                    });
  }
  std::string implementation() const override { return "scalar, any axes"; }

 private:
  struct Axes {
    Shape sizes, strides;
    std::int64_t offset(std::int64_t flat) const {
      std::int64_t sum = 0;
      for (std::size_t i = sizes.size(); i-- > 0; flat /= sizes[i])
        sum += flat % sizes[i] * strides[i];
      return sum;
    }
  };
  Axes kept_, summed_;
};

Result<std::unique_ptr<Kernel>> make_reduce_to(const KernelSpec& spec) {
  if (!has_dtypes(spec, {DType::f32}, {DType::f32})) return unsupported(spec);
  const Shape& shape = spec.inputs[0].shape;
  const std::int64_t total = spec.inputs[0].elements();
  const std::int64_t kept = spec.outputs[0].elements();
  const Shape strides = broadcast_strides(spec.outputs[0].shape, shape);
  if (total == 0) return std::make_unique<AnySum>(shape, strides);
  if (kept == 1) return std::make_unique<FullSum>(total, sum);

  // Summed dimensions of size > 1 all before the kept ones, or all behind?
  std::string order;
  for (std::size_t i = 0; i < shape.size(); ++i)
    if (shape[i] > 1) order += strides[i] == 0 ? 's' : 'k';
  const bool summed_first = std::is_sorted(order.rbegin(), order.rend());
  const bool summed_last = std::is_sorted(order.begin(), order.end());
  if (summed_first) return std::make_unique<ColumnSum>(total / kept, kept);
  if (summed_last) return over_rows(kept, total / kept, row_sum);
  return std::make_unique<AnySum>(shape, strides);
}

Result<std::unique_ptr<Kernel>> make_reduce_max(const KernelSpec& spec) {
  if (!has_dtypes(spec, {DType::f32}, {DType::f32})) return unsupported(spec);
  const std::int64_t columns = spec.inputs[0].shape.back();
  return over_rows(spec.inputs[0].elements() / columns, columns, row_max);
}

Result<std::unique_ptr<Kernel>> make_sum_squares(const KernelSpec& spec) {
  if (!has_dtypes(spec, {DType::f32}, {DType::f32})) return unsupported(spec);
  return std::make_unique<FullSum>(spec.inputs[0].elements(), sum_of_squares);
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
