// Inside of exact/product.*: packed panels, and the product of two of them on each instruction set.
//
// A packed operand is [panel][block]{digits, Scales}. The digits of a block of length L, for 32 rows, are
//   scalar        v    [row][L] int16
//   avx2, avx512  A: h, then l; B: v, then h; each [L / 2 up][row][2] int16: pairs along K
//   amx           h, then l; each the tiles of amx.h for int8, L / 64 up steps of 2 KiB
// Rows and k that do not exist are zeros.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "suanli/engine/cpu/exact/product.h"

namespace suanli::engine::exact {

// The largest exponents and the smallest for which a block's value is a normal f32 or 0 on every way of computing it:
// 2^(7 - 2 kTameLast) >= 2^-126 and 2^(31 + 7 - 2 kTameFirst) < 2^128.
inline constexpr int kTameFirst = -44;
inline constexpr int kTameLast = 66;

struct alignas(64) Scales {
  double inverse[kPanel];  // 2^-exponent; NaN if the row is poisoned
  float factor[kPanel];    // of a tame panel: 2^(4 - exponent) in A, 2^(3 - exponent) in B
  std::int32_t tame;       // are all rows' exponents tame?
};

std::int64_t digit_bytes(Isa isa, std::int64_t length);
inline std::int64_t block_bytes(Isa isa, std::int64_t length) {
  return digit_bytes(isa, length) + static_cast<std::int64_t>(sizeof(Scales));
}
inline Scales& scales_of(std::byte* block, Isa isa, std::int64_t length) {
  return *reinterpret_cast<Scales*>(block + digit_bytes(isa, length));
}
inline const Scales& scales_of(const std::byte* block, Isa isa, std::int64_t length) {
  return *reinterpret_cast<const Scales*>(block + digit_bytes(isa, length));
}
void set_scales(Side side, const int (&exponents)[kPanel], Scales& scales);

// The value of one block's product of panels goes to C [rows, columns], rows, columns <= 32: added to what is there, or as +0
// plus the value.
struct PanelProduct {
  const std::byte* a;
  const std::byte* b;
  const Scales* a_scales;
  const Scales* b_scales;
  std::int64_t length;  // along K
  int terms;
  std::int64_t rows, columns;
  float* c;
  std::int64_t stride;
  bool add;

  // Of the panels at (row, column), multiples of 32, where this is the one at (0, 0) of a C of `all_rows` x `all_columns` and
  // panels are so many bytes apart.
  PanelProduct at(std::int64_t row, std::int64_t column, std::int64_t a_panel_bytes, std::int64_t b_panel_bytes,
                  std::int64_t all_rows, std::int64_t all_columns) const {
    const auto moved = [](const auto* from, std::int64_t bytes) {
      return reinterpret_cast<decltype(from)>(reinterpret_cast<const std::byte*>(from) + bytes);
    };
    const std::int64_t a_bytes = row / kPanel * a_panel_bytes, b_bytes = column / kPanel * b_panel_bytes;
    PanelProduct other = *this;
    other.a = moved(a, a_bytes);
    other.a_scales = moved(a_scales, a_bytes);
    other.b = moved(b, b_bytes);
    other.b_scales = moved(b_scales, b_bytes);
    other.rows = std::min(kPanel, all_rows - row);
    other.columns = std::min(kPanel, all_columns - column);
    other.c = c + row * stride + column;
    return other;
  }
  // May values be scaled in f32? Else a product of two scales, or T itself, may not fit.
  bool tame() const { return terms == 3 && a_scales->tame != 0 && b_scales->tame != 0; }
};

// By instruction set. The bits are those of the scalar one.
void multiply_panels_scalar(const PanelProduct& product);
void multiply_panels_avx2(const PanelProduct& product);
void multiply_panels_avx512(const PanelProduct& product);
// Consecutive panels of A, a_panel_bytes apart, by consecutive panels of B, with `rows` x `columns` elements of C in all;
// `first` is the first of these products. Inside an amx::Tiles.
void multiply_panels_amx(const PanelProduct& first, std::int64_t a_panel_bytes, std::int64_t rows, std::int64_t b_panel_bytes,
                         std::int64_t columns);

// Packs a block of `rows` rows for AMX, in AVX-512. x: as for pack(), from the first of these rows and the block's first k
// on; one of its strides is 1. `to`: the block in the first row's panel; panels are panel_bytes apart.
void pack_amx(const Packing& packing, const Matrix& x, std::int64_t rows, std::int64_t length, std::byte* to,
              std::int64_t panel_bytes);

}  // namespace suanli::engine::exact
