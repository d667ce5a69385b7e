// Products of panels with TDPBSSD (Intel SDM, vol. 2): digits as int8, with sums of their own for hh, for hl + lh and, of four
// terms, for ll.
#include "suanli/engine/cpu/exact/product_panels.h"

#include "suanli/base/error.h"

#if defined(__x86_64__)

#include "suanli/engine/cpu/amx.h"
#include "suanli/engine/cpu/exact/finish_avx512.h"

#define SUANLI_AMX_INT8 __attribute__((target("amx-tile,amx-int8,avx512f,avx512bw,avx512vl,avx512dq")))

namespace suanli::engine::exact {
namespace {

constexpr std::int64_t kTile = 1024;
constexpr std::int64_t kSums = kPanel * kPanel;

struct alignas(64) Sums {
  std::int32_t high[kSums], cross[kSums], low[kSums];
};

// The way of a finished panel's sums to C, a row at a time between the tile products of the next panel: they use other ports
// of the core, and too many instructions lie between them for the core to find that out by itself.
struct Finish {
  PanelProduct product{};
  PanelSums sums{};
  std::int64_t row = 0;
  bool tame = false;

  Finish() = default;
  Finish(const PanelProduct& p, const Sums& s)
      : product(p), sums{s.high, s.cross, p.terms == 4 ? s.low : nullptr}, tame(p.tame()) {}
  SUANLI_FINISH inline void step() {
    if (row < product.rows) finish_row(sums, product, row++, tame);
  }
};

SUANLI_AMX_INT8 inline void clear_sums() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}
SUANLI_AMX_INT8 inline void store_sums(std::int32_t* sums) {
  constexpr std::size_t kRow = kPanel * sizeof(std::int32_t);
  _tile_stored(0, sums, kRow);
  _tile_stored(1, sums + 16, kRow);
  _tile_stored(2, sums + 16 * kPanel, kRow);
  _tile_stored(3, sums + 16 * kPanel + 16, kRow);
}

// Tiles 0-3 += one step of 32 x 32 products, A in tiles 4 and 5, B in 6 and 7.
SUANLI_AMX_INT8 inline void add_step(const std::byte* a, const std::byte* b, Finish& last) {
  _tile_loadd(4, a, 64);
  _tile_loadd(6, b, 64);
  _tile_dpbssd(0, 4, 6);
  last.step();
  _tile_loadd(7, b + kTile, 64);
  _tile_dpbssd(1, 4, 7);
  _tile_loadd(5, a + kTile, 64);
  last.step();
  _tile_dpbssd(2, 5, 6);
  _tile_dpbssd(3, 5, 7);
}

SUANLI_AMX_INT8 void add_products(const PanelProduct& p, Sums& sums, Finish& last) {
  constexpr std::int64_t kStep = amx::kStepBytes;
  const std::int64_t plane = (p.length + amx::kStepInt8 - 1) / amx::kStepInt8 * kStep;
  const std::byte* const al = p.a + plane;
  const std::byte* const bl = p.b + plane;
  clear_sums();
  for (std::int64_t at = 0; at < plane; at += kStep) add_step(p.a + at, p.b + at, last);
  store_sums(sums.high);
  clear_sums();
  for (std::int64_t at = 0; at < plane; at += kStep) {
    add_step(p.a + at, bl + at, last);
    add_step(al + at, p.b + at, last);
  }
  store_sums(sums.cross);
  if (p.terms == 3) return;
  clear_sums();
  for (std::int64_t at = 0; at < plane; at += kStep) add_step(al + at, bl + at, last);
  store_sums(sums.low);
}

}  // namespace

SUANLI_AMX_INT8 void multiply_panels_amx(const PanelProduct& first, std::int64_t a_panel_bytes, std::int64_t rows,
                                         std::int64_t b_panel_bytes, std::int64_t columns) {
  Sums sums[2];
  int turn = 0;
  Finish last;
  for (std::int64_t i = 0; i < rows; i += kPanel)
    for (std::int64_t j = 0; j < columns; j += kPanel) {
      const PanelProduct product = first.at(i, j, a_panel_bytes, b_panel_bytes, rows, columns);
      Sums& own = sums[turn];
      turn = 1 - turn;
      add_products(product, own, last);
      while (last.row < last.product.rows) last.step();
      last = Finish(product, own);
    }
  while (last.row < last.product.rows) last.step();
}

}  // namespace suanli::engine::exact

#else

namespace suanli::engine::exact {

void multiply_panels_amx(const PanelProduct&, std::int64_t, std::int64_t, std::int64_t, std::int64_t) {
  SUANLI_CHECK(false);
}

}  // namespace suanli::engine::exact

#endif
