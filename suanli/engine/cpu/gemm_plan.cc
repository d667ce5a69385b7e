#include "suanli/engine/cpu/gemm_plan.h"

#include <algorithm>

#include "suanli/base/error.h"

namespace suanli::engine {
namespace {

// Found by measurement with oneDNN 2.6 on AMX and AVX-512: 256 x 768 is within 10 % of the best
// tile for every shape of a GPT step, and leaves enough tiles to share out.
constexpr std::int64_t kTileRows = 256;
constexpr std::int64_t kTileRowsIfNarrow = 1024;
constexpr std::int64_t kTileColumns = 768;
constexpr std::int64_t kMinTileRows = 64;
constexpr std::int64_t kMinTileColumns = 192;
constexpr std::int64_t kRowUnit = 32;
constexpr std::int64_t kColumnUnit = 64;
constexpr std::int64_t kEnoughTiles = 8;
constexpr double kMinTileFlops = 8e6;        // about 10 us on AMX, 50 us on AVX-512
constexpr double kMinPackedFlops = 8e6;      // below, packing costs more than it gains
constexpr std::int64_t kMinPackedRows = 32;  // each packed element of B must be used that often
constexpr std::int64_t kManyProducts = 8;    // a batch of these is shared out whole
constexpr double kMaxWholeFlops = 1e9;

double flops_of(std::int64_t m, std::int64_t n, std::int64_t k) {
  return 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
}

}  // namespace

Split split(std::int64_t total, std::int64_t limit, std::int64_t unit) {
  SUANLI_CHECK(total >= 1 && limit >= 1 && unit >= 1);
  const std::int64_t pieces = (total + limit - 1) / limit;
  const std::int64_t even = (total + pieces - 1) / pieces;
  Split result;
  result.size = std::min(total, (even + unit - 1) / unit * unit);
  result.count = (total + result.size - 1) / result.size;
  result.last = total - (result.count - 1) * result.size;
  if (result.count > 1 && result.last < unit) {
    result.count -= 1;
    result.last += result.size;
  }
  return result;
}

GemmPlan plan_gemm(std::int64_t batch, std::int64_t m, std::int64_t n, std::int64_t k) {
  const double flops = flops_of(m, n, k);
  const bool whole = batch >= kManyProducts && flops <= kMaxWholeFlops;
  if (m < kMinPackedRows || flops < kMinPackedFlops || whole) {
    // Few rows (generation): cut the columns, each tile reads its own part of B.
    const bool cut = !whole && m < kMinPackedRows;
    return {.packed = false,
            .m = split(m, m, 1),
            .n = cut ? split(n, std::max(kMinTileColumns, n / kEnoughTiles), kColumnUnit)
                     : split(n, n, 1)};
  }
  std::int64_t columns = kTileColumns;
  std::int64_t rows = n < kTileRows ? kTileRowsIfNarrow : kTileRows;
  GemmPlan plan{.packed = true, .m = split(m, rows, kRowUnit), .n = split(n, columns, kColumnUnit)};
  while (plan.m.count * plan.n.count < kEnoughTiles &&
         flops_of(plan.m.size, plan.n.size, k) >= 2 * kMinTileFlops) {
    if (plan.n.size >= 2 * kMinTileColumns && plan.n.size >= plan.m.size) {
      columns = plan.n.size / 2;
      plan.n = split(n, columns, kColumnUnit);
    } else if (plan.m.size >= 2 * kMinTileRows) {
      rows = plan.m.size / 2;
      plan.m = split(m, rows, kRowUnit);
    } else {
      break;
    }
  }
  return plan;
}

}  // namespace suanli::engine
