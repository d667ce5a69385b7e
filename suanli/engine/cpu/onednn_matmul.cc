#include "suanli/engine/cpu/onednn_matmul.h"

#include <algorithm>

#include "suanli/engine/cpu/epilogue.h"
#include "suanli/engine/cpu/gemm_plan.h"
#include "suanli/engine/cpu/kernel_support.h"
#include "suanli/engine/cpu/onednn.h"
#include "suanli/engine/cpu/scratch_layout.h"
#include "suanli/engine/cpu/transpose_tile.h"

namespace suanli::engine {
namespace {

// Packed B and transposed A are prepared in groups of tiles of at most about this size, so that a
// product with a vocabulary does not need a second copy of it.
constexpr std::int64_t kGroupBytes = std::int64_t{32} << 20;
constexpr std::int64_t kMinGroupTiles = 4;
// Elements of K per task of transposing.
constexpr std::int64_t kTransposeDepth = 512;
constexpr std::int64_t kRoundGrain = 65536;  // elements per task of rounding

struct Problem {
  std::int64_t batch, m, n, k;
  graph::DType dtype;
  bool ta, tb;
  bool rounds[2] = {};  // is the operand f32, to be rounded to bf16 first?

  std::int64_t elements(int operand) const { return batch * k * (operand == 0 ? m : n); }
  std::int64_t element() const { return graph::size_of(dtype).value(); }
};

using Gemm = std::shared_ptr<const TileGemm>;

class MatmulKernel final : public Kernel {
 public:
  MatmulKernel(const Problem& problem, Epilogue epilogue, bool direct)
      : p_(problem), epilogue_(std::move(epilogue)), direct_(direct) {}
  Status prepare();

  void run(const KernelArgs& args) const override;
  Bytes scratch(int workers) const override {
    return shared_.size() + per_worker_.size() * std::int64_t{workers};
  }
  bool in_place(int input, int output) const override { return epilogue_.in_place(input, 2, output); }
  std::string implementation() const override;

 private:
  struct Place {  // one product of the batch, and the scratch
    const std::byte* a;
    const std::byte* b;
    float* c;                // where the product goes, if it is direct or plain
    EpilogueArgs epilogue;
    std::int64_t first_row;  // of this product among the rows of all
    std::byte* shared;
    std::byte* own;  // of worker 0
  };
  Status prepare_packed();
  Status prepare_plain();
  const std::byte* rounded(const KernelArgs& args, int operand, std::int64_t at) const;
  void finish_rows(const KernelArgs& args, const float* product) const;
  void run_packed(const Place& place, ThreadPool& pool) const;
  void run_plain(const Place& place, std::int64_t j, std::byte* own) const;
  void transpose_rows(const Place& place, std::int64_t begin, std::int64_t end,
                      ThreadPool& pool) const;
  void run_tile(const Place& place, std::int64_t i, std::int64_t group_i, std::int64_t j,
                std::int64_t group_j, std::byte* own) const;
  const TileGemm& gemm(std::int64_t i, std::int64_t j) const {
    return *gemms_[i + 1 == plan_.m.count][j + 1 == plan_.n.count];
  }

  Problem p_;
  Epilogue epilogue_;
  bool direct_;  // the product itself is the output
  GemmPlan plan_;
  Gemm gemms_[2][2];               // [last row of tiles?][last column of tiles?]
  std::int64_t row_group_ = 1;     // tiles
  std::int64_t column_group_ = 1;  // tiles
  std::int64_t panel_ = 0;         // bytes of one packed tile of B
  ScratchLayout shared_, per_worker_;
  std::int64_t packed_at_ = 0;      // in shared_: B, packed, of one group of columns
  std::int64_t transposed_at_ = 0;  // in shared_: [rows of one group, K], A transposed
  std::int64_t tile_at_ = 0;        // in per_worker_: one tile of C
  std::int64_t onednn_at_ = 0;      // in per_worker_
  std::int64_t epilogue_at_ = 0;    // in per_worker_
  std::int64_t product_at_ = 0;     // in shared_: the product, if it is plain and not direct
  std::int64_t rounded_at_[2] = {};  // in shared_: bf16 of an operand that is f32
};

Status MatmulKernel::prepare() {
  plan_ = plan_gemm(p_.batch, p_.m, p_.n, p_.k);
  SUANLI_RETURN_IF_ERROR(plan_.packed ? prepare_packed() : prepare_plain());
  Bytes largest{};
  for (const auto& row : gemms_)
    for (const Gemm& gemm : row) largest = std::max(largest, gemm->scratch());
  onednn_at_ = per_worker_.add(largest);
  epilogue_at_ = per_worker_.add(epilogue_.scratch());
  if (!direct_ && !plan_.packed)
    product_at_ = shared_.add(p_.batch * p_.m * p_.n * static_cast<std::int64_t>(sizeof(float)));
  for (const int operand : {0, 1})
    if (p_.rounds[operand])
      rounded_at_[operand] = shared_.add(p_.elements(operand) * static_cast<std::int64_t>(sizeof(Bf16)));
  return {};
}

// The operand in the type of the product.
const std::byte* MatmulKernel::rounded(const KernelArgs& args, int operand, std::int64_t at) const {
  if (!p_.rounds[operand]) return args.inputs[operand];
  auto* to = reinterpret_cast<Bf16*>(args.scratch + at);
  const float* from = input<float>(args, operand);
  parallel_ranges(args.pool, p_.elements(operand), kRoundGrain,
                  [&](std::int64_t begin, std::int64_t end, int) { narrow(from + begin, to + begin, end - begin); },
                  /*share=*/0);
  return args.scratch + at;
}

// The epilogue over a whole product.
void MatmulKernel::finish_rows(const KernelArgs& args, const float* product) const {
  const EpilogueArgs operands{args.inputs + 2, args.outputs};
  std::byte* own = args.scratch + shared_.size().value() + epilogue_at_;
  parallel_ranges(args.pool, p_.batch * p_.m, rows_per_task(p_.n), [&](std::int64_t begin, std::int64_t end, int worker) {
    epilogue_.run(operands, {product + begin * p_.n, p_.n, begin, end - begin, 0, p_.n},
                  own + worker * per_worker_.size().value());
  });
}

Status MatmulKernel::prepare_plain() {
  for (const bool last : {false, true}) {
    const std::int64_t n = last ? plan_.n.last : plan_.n.size;
    SUANLI_ASSIGN_OR_RETURN(gemms_[1][last], TileGemm::make({.m = p_.m,
                                                             .n = n,
                                                             .k = p_.k,
                                                             .operands = p_.dtype,
                                                             .a_row = p_.ta ? 1 : p_.k,
                                                             .a_column = p_.ta ? p_.m : 1,
                                                             .b_row = p_.tb ? 1 : p_.n,
                                                             .b_column = p_.tb ? p_.k : 1,
                                                             .c_row = p_.n}));
    gemms_[0][last] = gemms_[1][last];
  }
  return {};
}

Status MatmulKernel::prepare_packed() {
  const bool dense = direct_ && plan_.n.count == 1;
  for (const bool last_row : {false, true})
    for (const bool last_column : {false, true}) {
      const std::int64_t n = last_column ? plan_.n.last : plan_.n.size;
      SUANLI_ASSIGN_OR_RETURN(gemms_[last_row][last_column],
                              TileGemm::make({.m = last_row ? plan_.m.last : plan_.m.size,
                                              .n = n,
                                              .k = p_.k,
                                              .operands = p_.dtype,
                                              .a_row = p_.k,
                                              .a_column = 1,
                                              .b_row = p_.tb ? 1 : p_.n,
                                              .b_column = p_.tb ? p_.k : 1,
                                              .c_row = n,
                                              .packed_for = plan_.m.size}));
    }
  panel_ = std::max(gemms_[0][0]->packed_size(), gemms_[0][1]->packed_size()).value();
  panel_ = (panel_ + 63) / 64 * 64;
  column_group_ =
      std::clamp(kGroupBytes / panel_, std::min(kMinGroupTiles, plan_.n.count), plan_.n.count);
  packed_at_ = shared_.add(column_group_ * panel_);
  row_group_ = plan_.m.count;
  if (p_.ta) {
    const std::int64_t tile = plan_.m.longest() * p_.k * p_.element();
    row_group_ =
        std::clamp(kGroupBytes / tile, std::min(kMinGroupTiles, plan_.m.count), plan_.m.count);
    transposed_at_ = shared_.add(row_group_ * tile);
  }
  if (!dense)
    tile_at_ = per_worker_.add(plan_.m.longest() * plan_.n.longest() *
                               static_cast<std::int64_t>(sizeof(float)));
  return {};
}

void MatmulKernel::run(const KernelArgs& args) const {
  const std::byte* a = rounded(args, 0, rounded_at_[0]);
  const std::byte* b = rounded(args, 1, rounded_at_[1]);
  float* c = reinterpret_cast<float*>(direct_ ? args.outputs[0] : args.scratch + product_at_);
  const auto place = [&](std::int64_t item) {
    return Place{.a = a + item * p_.m * p_.k * p_.element(),
                 .b = b + item * p_.k * p_.n * p_.element(),
                 .c = c + item * p_.m * p_.n,
                 .epilogue = {args.inputs + 2, args.outputs},
                 .first_row = item * p_.m,
                 .shared = args.scratch,
                 .own = args.scratch + shared_.size().value()};
  };
  if (plan_.packed) {
    for (std::int64_t item = 0; item < p_.batch; ++item) run_packed(place(item), args.pool);
    return;
  }
  args.pool.parallel_for(p_.batch * plan_.n.count, [&](std::int64_t task, int worker) {
    const Place here = place(task / plan_.n.count);
    run_plain(here, task % plan_.n.count, here.own + worker * per_worker_.size().value());
  });
  if (!direct_) finish_rows(args, c);
}

void MatmulKernel::run_plain(const Place& place, std::int64_t j, std::byte* own) const {
  const std::int64_t column = plan_.n.begin(j);
  gemm(0, j).run(place.a, place.b + column * (p_.tb ? p_.k : 1) * p_.element(), place.c + column,
                 own + onednn_at_);
}

void MatmulKernel::run_packed(const Place& place, ThreadPool& pool) const {
  const bool pack_once = column_group_ == plan_.n.count;
  for (std::int64_t i0 = 0; i0 < plan_.m.count; i0 += row_group_) {
    const std::int64_t rows = std::min(row_group_, plan_.m.count - i0);
    if (p_.ta) transpose_rows(place, i0, i0 + rows, pool);
    for (std::int64_t j0 = 0; j0 < plan_.n.count; j0 += column_group_) {
      const std::int64_t columns = std::min(column_group_, plan_.n.count - j0);
      if (i0 == 0 || !pack_once)
        pool.parallel_for(
            columns,
            [&](std::int64_t j, int) {
              const std::int64_t offset = plan_.n.begin(j0 + j) * (p_.tb ? p_.k : 1);
              gemm(0, j0 + j).pack(place.b + offset * p_.element(),
                                   place.shared + packed_at_ + j * panel_);
            },
            /*share=*/0);
      const double all_tiles = static_cast<double>(p_.batch * plan_.m.count * plan_.n.count);
      pool.parallel_for(
          rows * columns,
          [&](std::int64_t tile, int worker) {
            run_tile(place, i0 + tile / columns, i0, j0 + tile % columns, j0,
                     place.own + worker * per_worker_.size().value());
          },
          static_cast<double>(rows * columns) / all_tiles);
    }
  }
}

// A [K, M], columns of the tiles [begin, end), into rows of K.
void MatmulKernel::transpose_rows(const Place& place, std::int64_t begin, std::int64_t end,
                                  ThreadPool& pool) const {
  const std::int64_t depths = (p_.k + kTransposeDepth - 1) / kTransposeDepth;
  std::byte* to = place.shared + transposed_at_;
  pool.parallel_for((end - begin) * depths,
                    [&](std::int64_t task, int) {
                      const std::int64_t i = begin + task / depths;
                      const std::int64_t k0 = task % depths * kTransposeDepth;
                      const std::int64_t depth = std::min(kTransposeDepth, p_.k - k0);
                      const std::int64_t from_offset = k0 * p_.m + plan_.m.begin(i);
                      const std::int64_t to_offset =
                          (plan_.m.begin(i) - plan_.m.begin(begin)) * p_.k + k0;
                      const auto transpose = [&](const auto* from_base, auto* to_base) {
                        transpose_tile(from_base + from_offset, p_.m, to_base + to_offset, p_.k,
                                       depth, plan_.m.length(i));
                      };
                      if (p_.element() == 2)
                        transpose(reinterpret_cast<const std::uint16_t*>(place.a),
                                  reinterpret_cast<std::uint16_t*>(to));
                      else
                        transpose(reinterpret_cast<const std::uint32_t*>(place.a),
                                  reinterpret_cast<std::uint32_t*>(to));
                    },
                    /*share=*/0);
}

void MatmulKernel::run_tile(const Place& place, std::int64_t i, std::int64_t group_i,
                            std::int64_t j, std::int64_t group_j, std::byte* own) const {
  const std::int64_t row = plan_.m.begin(i), rows = plan_.m.length(i);
  const std::int64_t column = plan_.n.begin(j), columns = plan_.n.length(j);
  const std::byte* a =
      p_.ta ? place.shared + transposed_at_ + (row - plan_.m.begin(group_i)) * p_.k * p_.element()
            : place.a + row * p_.k * p_.element();
  const std::byte* b = place.shared + packed_at_ + (j - group_j) * panel_;
  if (direct_ && plan_.n.count == 1) {
    gemm(i, j).run(a, b, place.c + row * p_.n, own + onednn_at_);
    return;
  }
  float* tile = reinterpret_cast<float*>(own + tile_at_);
  gemm(i, j).run(a, b, tile, own + onednn_at_);
  epilogue_.run(place.epilogue, {tile, columns, place.first_row + row, rows, column, columns}, own + epilogue_at_);
}

std::string MatmulKernel::implementation() const {
  std::string text = gemms_[0][0]->implementation() + " tiles " + std::to_string(plan_.m.size) +
                     "x" + std::to_string(plan_.n.size);
  if (plan_.packed) text += p_.ta ? ", A transposed, B packed" : ", B packed";
  return text + epilogue_.to_string();
}

}  // namespace

Result<std::unique_ptr<Kernel>> make_onednn_matmul(const KernelSpec& spec, const MatmulShape& shape) {
  Problem problem{.batch = shape.batch,
                  .m = shape.m,
                  .n = shape.n,
                  .k = shape.k,
                  .dtype = rounds_to_bf16(spec) ? graph::DType::bf16 : graph::DType::f32,
                  .ta = shape.ta,
                  .tb = shape.tb};
  for (const int operand : {0, 1}) problem.rounds[operand] = spec.inputs[operand].dtype != problem.dtype;
  const bool direct = spec.region == nullptr && spec.outputs[0].dtype == graph::DType::f32;
  auto kernel = std::make_unique<MatmulKernel>(problem, make_epilogue(spec, shape.n), direct);
  SUANLI_RETURN_IF_ERROR(kernel->prepare());
  return kernel;
}

}  // namespace suanli::engine
