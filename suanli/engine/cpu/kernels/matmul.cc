// matmul{ta, tb} on oneDNN tiles: [..., M, K] x [..., K, N] -> f32 [..., M, N]; ta: A is given as
// [..., K, M], tb: B as
// [..., N, K]. Both operands f32 or both bf16. K is never cut, so each element is one sum in an
// order that oneDNN fixes for the tile; the tiles depend on the shape alone (gemm_plan.h).
#include <algorithm>
#include <cstring>

#include "suanli/engine/cpu/gemm_plan.h"
#include "suanli/engine/cpu/onednn.h"
#include "suanli/engine/cpu/scratch_layout.h"
#include "suanli/engine/cpu/transpose_tile.h"
#include "suanli/engine/kernel.h"

namespace suanli::engine {
namespace {

// Packed B and transposed A are prepared in groups of tiles of at most about this size, so that a
// product with a vocabulary does not need a second copy of it.
constexpr std::int64_t kGroupBytes = std::int64_t{32} << 20;
constexpr std::int64_t kMinGroupTiles = 4;
// Elements of K per task of transposing.
constexpr std::int64_t kTransposeDepth = 512;

struct Problem {
  std::int64_t batch, m, n, k;
  graph::DType dtype;
  bool ta, tb;

  std::int64_t element() const { return graph::size_of(dtype).value(); }
};

using Gemm = std::shared_ptr<const TileGemm>;

class MatmulKernel final : public Kernel {
 public:
  explicit MatmulKernel(const Problem& problem) : p_(problem) {}
  Status prepare();

  void run(const KernelArgs& args) const override;
  Bytes scratch(int workers) const override {
    return shared_.size() + per_worker_.size() * std::int64_t{workers};
  }
  std::string implementation() const override;

 private:
  struct Place {  // one product of the batch, and the scratch
    const std::byte* a;
    const std::byte* b;
    float* c;
    std::byte* shared;
    std::byte* own;  // of worker 0
  };
  Status prepare_packed();
  Status prepare_plain();
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
};

Status MatmulKernel::prepare() {
  if (p_.batch * p_.m * p_.n * p_.k == 0) return {};
  plan_ = plan_gemm(p_.batch, p_.m, p_.n, p_.k);
  SUANLI_RETURN_IF_ERROR(plan_.packed ? prepare_packed() : prepare_plain());
  Bytes largest{};
  for (const auto& row : gemms_)
    for (const Gemm& gemm : row) largest = std::max(largest, gemm->scratch());
  onednn_at_ = per_worker_.add(largest);
  return {};
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
  const bool direct = plan_.n.count == 1;
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
  if (!direct)
    tile_at_ = per_worker_.add(plan_.m.longest() * plan_.n.longest() *
                               static_cast<std::int64_t>(sizeof(float)));
  return {};
}

void MatmulKernel::run(const KernelArgs& args) const {
  float* c = reinterpret_cast<float*>(args.outputs[0]);
  if (!gemms_[0][0]) {  // an empty sum, or nothing at all
    std::fill_n(c, p_.batch * p_.m * p_.n, 0.0f);
    return;
  }
  const auto place = [&](std::int64_t item) {
    return Place{.a = args.inputs[0] + item * p_.m * p_.k * p_.element(),
                 .b = args.inputs[1] + item * p_.k * p_.n * p_.element(),
                 .c = c + item * p_.m * p_.n,
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
  float* c = place.c + row * p_.n + column;
  if (plan_.n.count == 1) {
    gemm(i, j).run(a, b, c, own + onednn_at_);
    return;
  }
  float* tile = reinterpret_cast<float*>(own + tile_at_);
  gemm(i, j).run(a, b, tile, own + onednn_at_);
  for (std::int64_t r = 0; r < rows; ++r)
    std::memcpy(c + r * p_.n, tile + r * columns,
                static_cast<std::size_t>(columns) * sizeof(float));
}

std::string MatmulKernel::implementation() const {
  if (!gemms_[0][0]) return "fill";
  std::string text = gemms_[0][0]->implementation() + " tiles " + std::to_string(plan_.m.size) +
                     "x" + std::to_string(plan_.n.size);
  if (plan_.packed) text += p_.ta ? ", A transposed, B packed" : ", B packed";
  return text;
}

Result<std::unique_ptr<Kernel>> make_matmul(const KernelSpec& spec) {
  SUANLI_CHECK(spec.inputs.size() == 2 && spec.outputs.size() == 1);
  const graph::TensorType& a = spec.inputs[0];
  const graph::TensorType& b = spec.inputs[1];
  const std::size_t rank = a.shape.size();
  SUANLI_CHECK(rank >= 2 && b.shape.size() == rank && spec.outputs[0].shape.size() == rank);
  if (a.dtype != b.dtype || !graph::is_float(a.dtype) || spec.outputs[0].dtype != graph::DType::f32)
    return fail(ErrorCode::unsupported,
                "matmul of " + a.to_string() + " and " + b.to_string() + " into " +
                    spec.outputs[0].to_string() + " has no kernel",
                "matmul", "give both operands in f32 or both in bf16");
  Problem problem{.batch = 1,
                  .m = spec.outputs[0].shape[rank - 2],
                  .n = spec.outputs[0].shape[rank - 1],
                  .k = 0,
                  .dtype = a.dtype,
                  .ta = spec.attrs.integer("ta", 0) != 0,
                  .tb = spec.attrs.integer("tb", 0) != 0};
  problem.k = a.shape[problem.ta ? rank - 2 : rank - 1];
  SUANLI_CHECK(a.shape[problem.ta ? rank - 1 : rank - 2] == problem.m);
  SUANLI_CHECK(b.shape[problem.tb ? rank - 2 : rank - 1] == problem.n);
  SUANLI_CHECK(b.shape[problem.tb ? rank - 1 : rank - 2] == problem.k);
  for (std::size_t i = 0; i + 2 < rank; ++i) problem.batch *= a.shape[i];
  auto kernel = std::make_unique<MatmulKernel>(problem);
  SUANLI_RETURN_IF_ERROR(kernel->prepare());
  return kernel;
}

}  // namespace

void register_matmul(KernelTable& table) { table.add("matmul", make_matmul); }

}  // namespace suanli::engine
