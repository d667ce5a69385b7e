#include "suanli/engine/cpu/amx_matmul.h"

#include <algorithm>

#include "suanli/engine/cpu/amx.h"
#include "suanli/engine/cpu/epilogue.h"
#include "suanli/engine/cpu/kernel_support.h"
#include "suanli/engine/cpu/scratch_layout.h"

namespace suanli::engine {
namespace {

using amx::kPanel;

constexpr std::int64_t kGroupBytes = std::int64_t{32} << 20;
constexpr std::int64_t kPackDepth = 128;    // k and columns per task of packing
constexpr std::int64_t kPackColumns = 1024;

std::int64_t round_up(std::int64_t n) { return divide_up(n, kPanel) * kPanel; }

class AmxMatmul final : public Kernel {
 public:
  AmxMatmul(const KernelSpec& spec, const MatmulShape& shape);

  void run(const KernelArgs& args) const override;
  Bytes scratch(int workers) const override { return shared_.size() + own_.size() * std::int64_t{workers}; }
  bool in_place(int input, int output) const override { return epilogue_.in_place(input, 2, output); }
  std::string implementation() const override {
    return "amx bf16 blocks " + std::to_string(plan_.m.longest()) + "x" + std::to_string(plan_.n.longest()) + "x" +
           std::to_string(plan_.k.longest()) + epilogue_.to_string() + (s_.column_sums ? ", column sums" : "");
  }

 private:
  // A block of C in work: rows [row, row + rows), columns [column, column + columns).
  struct Block {
    std::int64_t row, rows, column, columns;
    std::int64_t stride() const { return round_up(columns); }  // of the sums in scratch
  };
  void share_b(const KernelArgs& args, std::int64_t column, std::int64_t columns) const;
  void share_a(const KernelArgs& args) const;
  void run_block(const KernelArgs& args, const Block& block, std::int64_t group, std::byte* own) const;
  void pack_a(const KernelArgs& args, std::int64_t row, std::int64_t rows, std::int64_t k0, std::int64_t k,
              std::byte* to, std::int64_t panel) const;
  void pack_b(const KernelArgs& args, std::int64_t column, std::int64_t columns, std::int64_t k0, std::int64_t k,
              std::byte* to, std::int64_t panel) const;
  void prefetch(const KernelArgs& args, const Block& block, std::int64_t step, std::int64_t r, std::int64_t first,
                std::int64_t last) const;
  void add_sums(const KernelArgs& args, const Block& block, std::int64_t k0, std::int64_t k, const std::byte* b,
                std::int64_t panel) const;

  MatmulShape s_;
  AmxPlan plan_;
  bool a_f32_, b_f32_;
  std::size_t sums_output_;  // the region's outputs come first
  Epilogue epilogue_;
  ScratchLayout shared_, own_;
  std::int64_t a_at_ = 0, b_at_ = 0;          // panels: of the shared operand in shared_, of the other in own_
  std::int64_t c_at_ = 0, epilogue_at_ = 0;   // own_: sums of a block of C
};

AmxMatmul::AmxMatmul(const KernelSpec& spec, const MatmulShape& shape)
    : s_(shape),
      plan_(plan_amx(shape)),
      a_f32_(spec.inputs[0].dtype == graph::DType::f32),
      b_f32_(spec.inputs[1].dtype == graph::DType::f32),
      sums_output_(spec.outputs.size() - 1),
      epilogue_(make_epilogue(spec, plan_.n.longest())) {
  if (s_.ta) {
    a_at_ = shared_.add(amx::panels_of(s_.m) * amx::panel_bytes(s_.k));
    b_at_ = own_.add(amx::panels_of(plan_.n.longest()) * amx::panel_bytes(plan_.k.longest()));
  } else {
    b_at_ = shared_.add(amx::panels_of(std::min(plan_.group, s_.n)) * amx::panel_bytes(s_.k));
    a_at_ = own_.add(amx::panel_bytes(plan_.k.longest()));
  }
  const std::int64_t rows = plan_.k.count == 1 ? kPanel : round_up(plan_.m.longest());
  c_at_ = own_.add(rows * round_up(plan_.n.longest()) * std::int64_t{sizeof(float)});
  epilogue_at_ = own_.add(epilogue_.scratch());
}

void AmxMatmul::run(const KernelArgs& args) const {
  if (s_.ta) share_a(args);
  const double blocks = static_cast<double>(plan_.m.count * plan_.n.count);
  std::byte* own = args.scratch + shared_.size().value();
  for (std::int64_t j0 = 0; j0 < plan_.n.count;) {
    const std::int64_t column = plan_.n.begin(j0);
    const auto columns_to = [&](std::int64_t j) { return plan_.n.begin(j - 1) + plan_.n.length(j - 1) - column; };
    std::int64_t j1 = j0 + 1;
    while (j1 < plan_.n.count && (s_.ta || columns_to(j1 + 1) <= plan_.group)) ++j1;
    if (!s_.ta) share_b(args, column, columns_to(j1));
    const std::int64_t tasks = plan_.m.count * (j1 - j0);
    args.pool.parallel_for(
        tasks,
        [&](std::int64_t task, int worker) {
          const std::int64_t i = task % plan_.m.count, j = j0 + task / plan_.m.count;
          const Block block{plan_.m.begin(i), plan_.m.length(i), plan_.n.begin(j), plan_.n.length(j)};
          run_block(args, block, column, own + worker * own_.size().value());
        },
        static_cast<double>(tasks) / blocks);
    j0 = j1;
  }
}

void AmxMatmul::pack_a(const KernelArgs& args, std::int64_t row, std::int64_t rows, std::int64_t k0, std::int64_t k,
                       std::byte* to, std::int64_t panel) const {
  const auto pack_from = [&](const auto* a) {
    if (s_.ta)
      amx::pack_a_transposed(a + k0 * s_.m + row, s_.m, rows, k, to, panel);
    else
      amx::pack_a(a + row * s_.k + k0, s_.k, rows, k, to, panel);
  };
  if (a_f32_)
    pack_from(input<float>(args, 0));
  else
    pack_from(input<Bf16>(args, 0));
}

void AmxMatmul::pack_b(const KernelArgs& args, std::int64_t column, std::int64_t columns, std::int64_t k0,
                       std::int64_t k, std::byte* to, std::int64_t panel) const {
  const auto pack_from = [&](const auto* b) {
    if (s_.tb)
      amx::pack_b_transposed(b + column * s_.k + k0, s_.k, k, columns, to, panel);
    else
      amx::pack_b(b + k0 * s_.n + column, s_.n, k, columns, to, panel);
  };
  if (b_f32_)
    pack_from(input<float>(args, 1));
  else
    pack_from(input<Bf16>(args, 1));
}

// All of A^T, for all tasks; a stretch of K per task.
void AmxMatmul::share_a(const KernelArgs& args) const {
  args.pool.parallel_for(
      divide_up(s_.k, kPackDepth),
      [&](std::int64_t task, int) {
        const std::int64_t k0 = task * kPackDepth, k = std::min(kPackDepth, s_.k - k0);
        pack_a(args, 0, s_.m, k0, k, args.scratch + a_at_ + amx::panel_bytes(k0), amx::panel_bytes(s_.k));
      },
      /*share=*/0);
}

// The group of columns of B that begins at `column`, for all tasks: a stretch of K per task, or of columns if K is short.
void AmxMatmul::share_b(const KernelArgs& args, std::int64_t column, std::int64_t columns) const {
  const std::int64_t panel = amx::panel_bytes(s_.k), stretches = divide_up(s_.k, kPackDepth);
  args.pool.parallel_for(
      stretches * divide_up(columns, kPackColumns),
      [&](std::int64_t task, int) {
        const std::int64_t k0 = task % stretches * kPackDepth, k = std::min(kPackDepth, s_.k - k0);
        const std::int64_t c0 = task / stretches * kPackColumns, width = std::min(kPackColumns, columns - c0);
        pack_b(args, column + c0, width, k0, k, args.scratch + b_at_ + c0 / kPanel * panel + amx::panel_bytes(k0), panel);
      },
      /*share=*/0);
}

// Adds to the column sums what K [k0, k0 + k) gives; the first block of rows does it for all.
void AmxMatmul::add_sums(const KernelArgs& args, const Block& block, std::int64_t k0, std::int64_t k,
                         const std::byte* b, std::int64_t panel) const {
  if (!s_.column_sums || block.row > 0) return;
  float* to = output<float>(args, static_cast<int>(sums_output_)) + block.column;
  for (std::int64_t c = 0; c < block.columns; c += kPanel) {
    float sums[kPanel];
    amx::column_sums(b + c / kPanel * panel, amx::steps_of(k), sums);
    for (std::int64_t j = c; j < std::min(c + kPanel, block.columns); ++j) to[j] = (k0 == 0 ? 0 : to[j]) + sums[j - c];
  }
}

// While a panel is multiplied: rows [first, last) of what its epilogue reads and writes, and of the next panel of A.
void AmxMatmul::prefetch(const KernelArgs& args, const Block& block, std::int64_t step, std::int64_t r, std::int64_t first,
                         std::int64_t last) const {
  if (step + 1 == plan_.k.count)
    epilogue_.prefetch({args.inputs + 2, args.outputs}, block.row + r + first, last - first, block.column, block.columns);
  if (s_.ta) return;
  const bool more = r + kPanel < block.rows;
  if (!more && step + 1 == plan_.k.count) return;
  const std::int64_t row = more ? block.row + r + kPanel : block.row;
  const std::int64_t k0 = plan_.k.begin(more ? step : step + 1), k = plan_.k.length(more ? step : step + 1);
  const std::int64_t size = a_f32_ ? 4 : 2;
  for (std::int64_t i = row + first; i < std::min(row + last, s_.m); ++i) {
    const std::byte* from = args.inputs[0] + (i * s_.k + k0) * size;
    for (std::int64_t at = 0; at < k * size; at += 64) __builtin_prefetch(from + at, 0, 2);
  }
}

// One block of C; if B is shared, its packed columns begin at `group`.
void AmxMatmul::run_block(const KernelArgs& args, const Block& block, std::int64_t group, std::byte* own) const {
  const amx::Tiles tiles;
  float* const sums = reinterpret_cast<float*>(own + c_at_);
  for (std::int64_t step = 0; step < plan_.k.count; ++step) {
    const std::int64_t k0 = plan_.k.begin(step), k = plan_.k.length(step);
    const std::int64_t b_panel = amx::panel_bytes(s_.ta ? k : s_.k);
    const std::byte* b = s_.ta ? own + b_at_
                               : args.scratch + b_at_ + (block.column - group) / kPanel * b_panel + amx::panel_bytes(k0);
    if (s_.ta) pack_b(args, block.column, block.columns, k0, k, own + b_at_, b_panel);
    add_sums(args, block, k0, k, b, b_panel);
    for (std::int64_t r = 0; r < block.rows; r += kPanel) {
      const std::int64_t row = block.row + r, rows = std::min(kPanel, block.rows - r);
      const std::byte* a = own + a_at_;
      if (s_.ta)
        a = args.scratch + a_at_ + row / kPanel * amx::panel_bytes(s_.k) + amx::panel_bytes(k0);
      else
        pack_a(args, row, rows, k0, k, own + a_at_, 0);
      float* c = sums + (plan_.k.count == 1 ? 0 : r * block.stride());
      const std::int64_t panels = block.stride() / kPanel;
      for (std::int64_t p = 0; p < panels; ++p) {
        prefetch(args, block, step, r, rows * p / panels, rows * (p + 1) / panels);
        amx::multiply(a, b + p * b_panel, amx::steps_of(k), c + p * kPanel, block.stride(), step > 0);
      }
      if (step + 1 == plan_.k.count)
        epilogue_.run({args.inputs + 2, args.outputs}, {c, block.stride(), row, rows, block.column, block.columns},
                      own + epilogue_at_);
    }
  }
}

}  // namespace

AmxPlan plan_amx(const MatmulShape& s) {
  // Found by measurement: a panel of A of 384 k is 24 KiB of a L1 of 48; with 512 the product of panels is a tenth slower.
  constexpr std::int64_t kDepth = 384;
  AmxPlan plan{.m = {}, .n = {}, .k = split(s.k, kDepth, kPanel)};
  // Forward (B shared, A packed anew for every block of columns): broad blocks. Weight gradient (A shared, B packed anew
  // for every block of rows): tall ones. The sums of a block stay below half of a L2 of 2 MiB.
  std::int64_t rows = s.ta ? 768 : 256;
  std::int64_t columns = s.ta ? 256 : plan.k.count == 1 ? 1152 : 768;
  constexpr std::int64_t kEnoughTasks = 4;
  plan.m = split(s.m, rows, kPanel);
  plan.n = split(s.n, columns, kPanel);
  while (plan.m.count * plan.n.count < kEnoughTasks) {
    std::int64_t& longer = plan.n.size >= plan.m.size ? columns : rows;
    const std::int64_t size = std::max(plan.n.size, plan.m.size);
    if (size <= kPanel) break;
    longer = round_up(size / 2);
    plan.m = split(s.m, rows, kPanel);
    plan.n = split(s.n, columns, kPanel);
  }
  const std::int64_t blocks = std::max<std::int64_t>(1, kGroupBytes / (2 * plan.n.size * round_up(s.k)));
  plan.group = std::min(plan.n.count, blocks) * plan.n.size + plan.n.last - std::min(plan.n.last, plan.n.size);
  return plan;
}

std::unique_ptr<Kernel> make_amx_matmul(const KernelSpec& spec, const MatmulShape& shape) {
  return std::make_unique<AmxMatmul>(spec, shape);
}

}  // namespace suanli::engine
