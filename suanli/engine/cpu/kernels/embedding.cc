// Rows of a table by number (graph/ops/embedding.cc) and other ops on whole numbers. Numbers are
// checked before a step; here one outside the table only must not touch foreign memory: embedding
// gives NaN, the others leave it out.
#include <cstring>
#include <limits>

#include "suanli/engine/cpu/kernel_support.h"

namespace suanli::engine {
namespace {

using graph::DType;

Result<std::unique_ptr<Kernel>> make_embedding(const KernelSpec& spec) {
  const bool to_f32 = has_dtypes(spec, {DType::f32, DType::i32}, {DType::f32});
  if (!to_f32 && !has_dtypes(spec, {DType::f32, DType::i32}, {DType::bf16}))
    return unsupported(spec);
  const std::int64_t rows = spec.inputs[0].shape.at(0);
  const std::int64_t columns = spec.inputs[0].shape.at(1);
  const std::int64_t ids = spec.inputs[1].elements();
  return simple_kernel("copied rows", [=](const KernelArgs& args) {
    const auto copy_row = [&](std::int64_t index) {
      const std::int64_t id = input<std::int32_t>(args, 1)[index];
      const bool known = id >= 0 && id < rows;
      const float* from = input<float>(args, 0) + (known ? id : 0) * columns;
      float* to = output<float>(args, 0) + index * columns;
      Bf16* to_bf16 = output<Bf16>(args, 0) + index * columns;
      if (to_f32 && known) std::copy_n(from, columns, to);
      if (to_f32 && !known) std::fill_n(to, columns, std::numeric_limits<float>::quiet_NaN());
      if (!to_f32 && known) narrow(from, to_bf16, columns);
      if (!to_f32 && !known) std::fill_n(to_bf16, columns, Bf16{0x7FC0});
    };
    parallel_ranges(args.pool, ids, rows_per_task(columns),
                    [&](std::int64_t begin, std::int64_t end, int) {
                      for (std::int64_t i = begin; i < end; ++i) copy_row(i);
                    });
  });
}

// Each task owns a rectangle of the table's gradient and goes through all tokens in order, so every
// element is summed in the order of tokens. Columns are cut first: frequent tokens then load all
// tasks alike.
constexpr std::int64_t kColumns = 64;
constexpr std::int64_t kLeastTasks = 16;

Result<std::unique_ptr<Kernel>> make_embedding_grad(const KernelSpec& spec) {
  if (!has_dtypes(spec, {DType::i32, DType::f32}, {DType::f32})) return unsupported(spec);
  const std::int64_t rows = spec.outputs[0].shape.at(0);
  const std::int64_t columns = spec.outputs[0].shape.at(1);
  const std::int64_t ids = spec.inputs[0].elements();
  const std::int64_t across = divide_up(columns, kColumns);
  const std::int64_t down = std::clamp<std::int64_t>(divide_up(kLeastTasks, across), 1, rows);
  const std::int64_t height = divide_up(rows, down);
  return simple_kernel("summed by rectangles", [=](const KernelArgs& args) {
    args.pool.parallel_for(across * down, [&](std::int64_t task, int) {
      const std::int64_t column = task % across * kColumns;
      const std::int64_t width = std::min(kColumns, columns - column);
      const std::int64_t first = std::min(rows, task / across * height);
      const std::int64_t end = std::min(rows, first + height);
      float* out = output<float>(args, 0) + column;
      for (std::int64_t row = first; row < end; ++row)
        std::fill_n(out + row * columns, width, 0.0F);
      for (std::int64_t i = 0; i < ids; ++i) {
        const std::int64_t row = input<std::int32_t>(args, 0)[i];
        if (row < first || row >= end) continue;
        const float* dy = input<float>(args, 1) + i * columns + column;
        for (std::int64_t c = 0; c < width; ++c) out[row * columns + c] += dy[c];
      }
    });
  });
}

Result<std::unique_ptr<Kernel>> make_one_hot(const KernelSpec& spec) {
  if (!has_dtypes(spec, {DType::i32}, {DType::f32})) return unsupported(spec);
  const std::int64_t depth = spec.attrs.integer("depth");
  const std::int64_t ids = spec.inputs[0].elements();
  return simple_kernel("scalar", [=](const KernelArgs& args) {
    parallel_ranges(args.pool, ids, rows_per_task(depth),
                    [&](std::int64_t begin, std::int64_t end, int) {
                      for (std::int64_t i = begin; i < end; ++i) {
                        float* row = output<float>(args, 0) + i * depth;
                        const std::int64_t id = input<std::int32_t>(args, 0)[i];
                        std::fill_n(row, depth, 0.0F);
                        if (id >= 0 && id < depth) row[id] = 1;
                      }
                    });
  });
}

}  // namespace

void register_embedding(KernelTable& table) {
  table.add("embedding", make_embedding);
  table.add("embedding_grad", make_embedding_grad);
  table.add("one_hot", make_one_hot);
}

}  // namespace suanli::engine
