// Rows of a table by number (graph/ops/embedding.cc) and other ops on whole numbers. Numbers are
// checked before a step; here one outside the table only must not touch foreign memory: embedding
// gives NaN, the others leave it out. embedding rounds to bf16 by the CPU's own instructions, unless attr exact = 1.
#include <bit>
#include <limits>

#include "suanli/engine/cpu/exact/math.h"
#include "suanli/engine/cpu/exact/tile.h"
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
  const auto narrow_row = spec.attrs.integer("exact", 0) != 0 ? exact::narrow : narrow;
  return simple_kernel("copied rows", [=](const KernelArgs& args) {
    const auto copy_row = [&](std::int64_t index) {
      const std::int64_t id = input<std::int32_t>(args, 1)[index];
      const bool known = id >= 0 && id < rows;
      const float* from = input<float>(args, 0) + (known ? id : 0) * columns;
      float* to = output<float>(args, 0) + index * columns;
      Bf16* to_bf16 = output<Bf16>(args, 0) + index * columns;
      if (to_f32 && known) std::copy_n(from, columns, to);
      if (to_f32 && !known) std::fill_n(to, columns, std::numeric_limits<float>::quiet_NaN());
      if (!to_f32 && known) narrow_row(from, to_bf16, columns);
      if (!to_f32 && !known) std::fill_n(to_bf16, columns, Bf16{0x7FC0});
    };
    parallel_ranges(args.pool, ids, rows_per_task(columns),
                    [&](std::int64_t begin, std::int64_t end, int) {
                      for (std::int64_t i = begin; i < end; ++i) copy_row(i);
                    });
  });
}

// (ids, dy) -> gradient, or (ids, dy, sum) -> sum + gradient, in place where the buffers are one:
// tables are long, and few of their rows are touched. First every row is made 0 or that of the sum.
// Then each task owns a rectangle of the table and goes through all tokens in order, so every
// element is summed in the order of tokens. Columns are cut first: frequent tokens then load all
// tasks alike.
class EmbeddingGrad final : public Kernel {
 public:
  explicit EmbeddingGrad(const KernelSpec& spec)
      : rows_(spec.outputs[0].shape.at(0)),
        columns_(spec.outputs[0].shape.at(1)),
        ids_(spec.inputs[0].elements()),
        bf16_(spec.inputs[1].dtype == DType::bf16),
        adds_(spec.inputs.size() == 3),
        across_(divide_up(columns_, kColumns)),
        down_(std::clamp<std::int64_t>(divide_up(kLeastTasks, std::max<std::int64_t>(1, across_)),
                                       1, std::max<std::int64_t>(1, rows_))) {}

  void run(const KernelArgs& args) const override {
    float* out = output<float>(args, 0);
    const float* sum = adds_ ? input<float>(args, 2) : nullptr;
    if (sum != out)
      parallel_ranges(args.pool, rows_ * columns_, kPiece,
                      [&](std::int64_t begin, std::int64_t end, int) {
                        if (sum != nullptr)
                          std::copy_n(sum + begin, end - begin, out + begin);
                        else
                          std::fill_n(out + begin, end - begin, 0.0F);
                      },
                      /*share=*/0);
    args.pool.parallel_for(across_ * down_, [&](std::int64_t task, int) {
      if (bf16_)
        add_tokens(args, task, input<Bf16>(args, 1));
      else
        add_tokens(args, task, input<float>(args, 1));
    });
  }
  std::string implementation() const override {
    return adds_ ? "added by rectangles" : "summed by rectangles";
  }
  bool in_place(int in, int) const override { return in == 2; }

 private:
  static constexpr std::int64_t kColumns = 64;
  static constexpr std::int64_t kLeastTasks = 16;
  static constexpr std::int64_t kPiece = 1 << 18;  // elements of one task that fills or copies

  static float value_of(float x) { return x; }
  static float value_of(Bf16 x) { return std::bit_cast<float>(std::uint32_t{x.bits} << 16); }

  template <typename T>
  void add_tokens(const KernelArgs& args, std::int64_t task, const T* dy) const {
    const std::int64_t column = task % across_ * kColumns;
    const std::int64_t width = std::min(kColumns, columns_ - column);
    const std::int64_t height = divide_up(rows_, down_);
    const std::int64_t first = std::min(rows_, task / across_ * height);
    const std::int64_t end = std::min(rows_, first + height);
    for (std::int64_t i = 0; i < ids_; ++i) {
      const std::int64_t row = input<std::int32_t>(args, 0)[i];
      if (row < first || row >= end) continue;
      float* to = output<float>(args, 0) + row * columns_ + column;
      const T* from = dy + i * columns_ + column;
      for (std::int64_t c = 0; c < width; ++c) to[c] = exact::canonical(to[c] + value_of(from[c]));
    }
  }

  std::int64_t rows_, columns_, ids_;
  bool bf16_, adds_;
  std::int64_t across_, down_;
};

Result<std::unique_ptr<Kernel>> make_embedding_grad(const KernelSpec& spec) {
  for (const DType dy : {DType::f32, DType::bf16})
    if (has_dtypes(spec, {DType::i32, dy}, {DType::f32}) ||
        has_dtypes(spec, {DType::i32, dy, DType::f32}, {DType::f32}))
      return std::make_unique<EmbeddingGrad>(spec);
  return unsupported(spec);
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
