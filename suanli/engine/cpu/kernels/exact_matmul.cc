// exact_matmul{ta, tb, terms, column_sums}: as "matmul" (kernel.h), of f32 operands, exact (exact/product.h): the same bits on
// every instruction set. terms: 3 (default) or 4.
//
// The smaller operand is packed once, for all tasks; of the larger one each task packs what it needs, where it needs it, so
// that it is read from memory once and its digits never leave the caches. The cut is made for speed only: each element is
// computed the same way in any.
#include <algorithm>

#include "suanli/engine/cpu/column_sums.h"
#include "suanli/engine/cpu/epilogue.h"
#include "suanli/engine/cpu/exact/product.h"
#include "suanli/engine/cpu/gemm_plan.h"
#include "suanli/engine/cpu/kernel_support.h"
#include "suanli/engine/cpu/matmul_shape.h"
#include "suanli/engine/cpu/scratch_layout.h"

namespace suanli::engine {
namespace {

using exact::kPanel;
using exact::Matrix;
using exact::Packing;
using exact::Range;

constexpr std::int64_t kGroupBytes = std::int64_t{32} << 20;  // of packed shared operands of a batch
constexpr std::int64_t kPackRows = 128;                       // of what lies across K: read in pieces of 512 bytes
constexpr std::int64_t kOwn = 256, kShared = 768;             // rows of the two operands in a task
constexpr std::int64_t kSharedIfOneBlock = 1536;              // while the sums are of one panel only
constexpr std::int64_t kEnoughTasks = 4;

struct Plan {
  bool a_is_shared = false;
  std::int64_t group = 1;  // products of the batch whose shared operand is packed at a time
  Split own, shared;       // rows of A, columns of B
};

Plan plan_of(const MatmulShape& s, const Packing& a, const Packing& b) {
  Plan plan{.a_is_shared = s.m < s.n, .group = 1, .own = {}, .shared = {}};
  if (s.batch * s.m * s.n == 0) return plan;
  const Packing& shared = plan.a_is_shared ? a : b;
  plan.group = std::clamp<std::int64_t>(kGroupBytes / std::max<std::int64_t>(1, shared.size().value()), 1, s.batch);
  plan.shared = split(shared.rows, a.k <= 384 ? kSharedIfOneBlock : kShared, kPanel);
  std::int64_t own = kOwn;
  do {
    plan.own = split(std::max(s.m, s.n), own, kPanel);
    own = divide_up(plan.own.size / 2, kPanel) * kPanel;
  } while (plan.group * plan.own.count * plan.shared.count < kEnoughTasks && plan.own.size > kPanel);
  return plan;
}

class ExactMatmul final : public Kernel {
 public:
  ExactMatmul(const KernelSpec& spec, const MatmulShape& shape, int terms)
      : s_(shape),
        terms_(terms),
        a_(exact::packing(exact::Side::a, s_.m, s_.k)),
        b_(exact::packing(exact::Side::b, s_.n, s_.k)),
        plan_(plan_of(s_, a_, b_)),
        pack_rows_((plan_.a_is_shared ? s_.tb : !s_.ta) ? kPanel : kPackRows),
        epilogue_(make_epilogue(spec, plan_.a_is_shared ? plan_.own.longest() : plan_.shared.longest())) {
    shared_at_ = shared_.add(plan_.group * shared().size().value());
    own_at_ = own_.add(exact::packing(own().side, pack_rows_, std::min(s_.k, own().block)).size());
    const bool panel_only = a_.blocks() <= 1 && !plan_.a_is_shared;  // sums that go on before the next are begun
    const std::int64_t rows = std::min(plan_.own.longest(), panel_only ? pack_rows_ : plan_.own.longest());
    c_at_ = own_.add(rows * plan_.shared.longest() * std::int64_t{sizeof(float)});
    epilogue_at_ = own_.add(epilogue_.scratch());
  }

  void run(const KernelArgs& args) const override;
  Bytes scratch(int workers) const override { return shared_.size() + own_.size() * std::int64_t{workers}; }
  bool in_place(int input, int output) const override { return epilogue_.in_place(input, 2, output); }
  std::string implementation() const override {
    return "exact/1 " + std::string(name_of(a_.isa)) + " " + std::to_string(terms_) + " terms, " +
           (plan_.a_is_shared ? "a" : "b") + " packed once, blocks " + std::to_string(plan_.own.longest()) + "x" +
           std::to_string(plan_.shared.longest()) + epilogue_.to_string();
  }

 private:
  const Packing& shared() const { return plan_.a_is_shared ? a_ : b_; }
  const Packing& own() const { return plan_.a_is_shared ? b_ : a_; }
  Matrix matrix(const KernelArgs& args, exact::Side side, std::int64_t item) const {
    if (side == exact::Side::a) {
      const float* a = input<float>(args, 0) + item * s_.m * s_.k;
      return s_.ta ? Matrix{a, 1, s_.m} : Matrix{a, s_.k, 1};
    }
    const float* b = input<float>(args, 1) + item * s_.k * s_.n;
    return s_.tb ? Matrix{b, s_.k, 1} : Matrix{b, 1, s_.n};
  }
  void pack_shared(const KernelArgs& args, std::int64_t first, std::int64_t count) const;
  void run_task(const KernelArgs& args, std::int64_t item, const std::byte* shared_data, Range own_rows, Range shared_rows,
                std::byte* scratch) const;
  void finish(const KernelArgs& args, std::int64_t item, Range rows, Range columns, const float* c, std::int64_t stride,
              std::byte* scratch) const {
    epilogue_.run({args.inputs + 2, args.outputs},
                  {c, stride, item * s_.m + rows.begin, rows.count, columns.begin, columns.count}, scratch + epilogue_at_);
  }

  MatmulShape s_;
  int terms_;
  Packing a_, b_;
  Plan plan_;
  std::int64_t pack_rows_;  // of the task's own operand at a time
  Epilogue epilogue_;
  ScratchLayout shared_, own_;
  std::int64_t shared_at_ = 0;                            // shared_: the packed shared operands of a group
  std::int64_t own_at_ = 0, c_at_ = 0, epilogue_at_ = 0;  // own_: the packed own operand in one block, sums
};

void ExactMatmul::run(const KernelArgs& args) const {
  const std::int64_t tasks = plan_.own.count * plan_.shared.count;
  if (s_.batch * tasks == 0) return;
  for (std::int64_t first = 0; first < s_.batch; first += plan_.group) {
    const std::int64_t count = std::min(plan_.group, s_.batch - first);
    pack_shared(args, first, count);
    args.pool.parallel_for(
        count * tasks,
        [&](std::int64_t task, int worker) {
          const std::int64_t slot = task / tasks, i = task % plan_.own.count, j = task % tasks / plan_.own.count;
          run_task(args, first + slot, args.scratch + shared_at_ + slot * shared().size().value(),
                   {plan_.own.begin(i), plan_.own.length(i)}, {plan_.shared.begin(j), plan_.shared.length(j)},
                   args.scratch + shared_.size().value() + worker * own_.size().value());
        },
        static_cast<double>(count) / static_cast<double>(s_.batch));
  }
}

// A task of packing is some rows in one block of K.
void ExactMatmul::pack_shared(const KernelArgs& args, std::int64_t first, std::int64_t count) const {
  const Packing& p = shared();
  const std::int64_t tasks = divide_up(p.rows, kPackRows) * p.blocks();
  args.pool.parallel_for(
      count * tasks,
      [&](std::int64_t task, int) {
        const std::int64_t slot = task / tasks, part = task % tasks, row = part / p.blocks() * kPackRows;
        exact::pack(p, matrix(args, p.side, first + slot), {row, std::min(kPackRows, p.rows - row)},
                    {part % p.blocks(), 1}, args.scratch + shared_at_ + slot * p.size().value());
      },
      /*share=*/0);
}

void ExactMatmul::run_task(const KernelArgs& args, std::int64_t item, const std::byte* shared_data, Range own_rows,
                           Range shared_rows, std::byte* scratch) const {
  float* const sums = reinterpret_cast<float*>(scratch + c_at_);
  const std::int64_t stride = plan_.a_is_shared ? own_rows.count : shared_rows.count;
  const std::int64_t blocks = std::max<std::int64_t>(1, own().blocks());
  const Matrix matrix = this->matrix(args, own().side, item);
  for (std::int64_t block = 0; block < blocks; ++block) {
    // What the task packs is an operand of one block, the product's block `block`.
    Packing part = own();
    part.k = own().blocks() == 0 ? 0 : own().length(block);
    for (std::int64_t r = 0; r < own_rows.count; r += pack_rows_) {
      const Range rows{own_rows.begin + r, std::min(pack_rows_, own_rows.count - r)};
      part.rows = rows.count;
      const Range all{0, rows.count};
      exact::pack(part,
                  {matrix.data + rows.begin * matrix.row_stride + block * own().block * matrix.k_stride, matrix.row_stride,
                   matrix.k_stride},
                  all, scratch + own_at_);
      const exact::ProductOptions options{.terms = terms_, .accumulate = block > 0, .blocks = {block, part.blocks()}};
      const exact::Operand mine{part, scratch + own_at_, block}, other{shared(), shared_data};
      if (!plan_.a_is_shared) {
        float* const c = sums + (blocks == 1 ? 0 : r * stride);
        exact::multiply(mine, all, other, shared_rows, options, {c, stride});
        if (block + 1 == blocks) finish(args, item, rows, shared_rows, c, stride, scratch);
        continue;
      }
      float* const c = sums + r;
      exact::multiply(other, shared_rows, mine, all, options, {c, stride});
      if (block + 1 < blocks) continue;
      for (std::int64_t i = 0; i < shared_rows.count; i += kPanel)
        finish(args, item, {shared_rows.begin + i, std::min(kPanel, shared_rows.count - i)}, rows, c + i * stride, stride,
               scratch);
    }
  }
}

Result<std::unique_ptr<Kernel>> make_exact_matmul(const KernelSpec& spec) {
  const MatmulShape shape = matmul_shape(spec);
  const std::int64_t terms = spec.attrs.integer("terms", 3);
  if (spec.inputs[0].dtype != graph::DType::f32 || spec.inputs[1].dtype != graph::DType::f32)
    return fail(ErrorCode::unsupported,
                "an exact product of " + spec.inputs[0].to_string() + " and " + spec.inputs[1].to_string() + " has no kernel",
                "exact_matmul", "give operands in f32");
  if (terms != 3 && terms != 4)
    return fail(ErrorCode::unsupported, "an exact product has 3 or 4 terms, not " + std::to_string(terms), "exact_matmul",
                "give terms = 3, or 4 where both operands have spikes");
  std::unique_ptr<Kernel> product = std::make_unique<ExactMatmul>(spec, shape, static_cast<int>(terms));
  return shape.column_sums ? with_column_sums(std::move(product), spec) : std::move(product);
}

}  // namespace

void register_exact_matmul(KernelTable& table) { table.add("exact_matmul", make_exact_matmul); }

}  // namespace suanli::engine
