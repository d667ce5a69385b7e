#include "suanli/engine/cpu/exact/product.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "suanli/base/error.h"
#include "suanli/engine/cpu/amx.h"
#include "suanli/engine/cpu/exact/product_panels.h"
#include "suanli/engine/cpu/transpose_tile.h"

namespace suanli::engine::exact {
namespace {

constexpr std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// One panel of one block as integers, before it is laid out for the instructions.
struct Integers {
  alignas(64) std::int16_t v[kPanel][kLongestBlock];
  int exponents[kPanel];
};

// Rows beyond `rows` and k beyond `length` (to the next even one) become zeros.
void clear_rest(Integers& panel, std::int64_t rows, std::int64_t length) {
  for (std::int64_t r = 0; r < kPanel; ++r) {
    const std::int64_t from = r < rows ? length : 0;
    std::fill(panel.v[r] + from, panel.v[r] + std::min(kLongestBlock, length + 1), std::int16_t{0});
    if (r >= rows) panel.exponents[r] = 0;
  }
}

void split(const Matrix& x, std::int64_t rows, std::int64_t length, Integers& panel) {
  alignas(64) float gathered[kPanel * kLongestBlock];
  const float* from = x.data;
  std::int64_t stride = x.row_stride;
  if (x.k_stride != 1) {
    from = gathered;
    stride = kLongestBlock;
    if (x.row_stride == 1)
      transpose_tile(reinterpret_cast<const std::uint32_t*>(x.data), x.k_stride, reinterpret_cast<std::uint32_t*>(gathered),
                     kLongestBlock, length, rows);
    else
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t p = 0; p < length; ++p)
          gathered[r * kLongestBlock + p] = x.data[r * x.row_stride + p * x.k_stride];
  }
  for (std::int64_t r = 0; r < rows; ++r) {
    panel.exponents[r] = exponent_of(largest_bits(from + r * stride, length));
    scale_to_integers(from + r * stride, length, panel.exponents[r], panel.v[r]);
  }
  clear_rest(panel, rows, length);
}

void gather(const IntegerMatrix& x, std::int64_t rows, std::int64_t length, Integers& panel) {
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t p = 0; p < length; ++p) panel.v[r][p] = x.data[r * x.row_stride + p * x.k_stride];
    panel.exponents[r] = x.exponent;
  }
  clear_rest(panel, rows, length);
}

// plane[pair of k][row][2] = digit(v)
template <typename Digit>
void lay_pairs(const Integers& panel, std::int64_t length, const Digit& digit, std::byte* plane) {
  const std::int64_t pairs = divide_up(length, 2);
  alignas(64) std::int16_t digits[kPanel][kLongestBlock];
  for (std::int64_t r = 0; r < kPanel; ++r)
    for (std::int64_t p = 0; p < 2 * pairs; ++p) digits[r][p] = static_cast<std::int16_t>(digit(panel.v[r][p]));
  transpose_tile(reinterpret_cast<const std::uint32_t*>(&digits[0][0]), kLongestBlock / 2,
                 reinterpret_cast<std::uint32_t*>(plane), kPanel, kPanel, pairs);
}

// The tiles of amx.h: A [step][row / 16][row % 16][64 k], B [step][column / 16][k / 4 (16)][column % 16][4 k].
void lay_tiles(const Integers& panel, Side side, std::int64_t length, std::byte* to) {
  const std::int64_t bytes = digit_bytes(Isa::amx, length);
  std::memset(to, 0, static_cast<std::size_t>(bytes));
  for (std::int64_t r = 0; r < kPanel; ++r)
    for (std::int64_t p = 0; p < length; ++p) {
      const std::int64_t q = p % 64, tile = p / 64 * 2048 + r / 16 * 1024;
      const std::int64_t at = tile + (side == Side::a ? r % 16 * 64 + q : q / 4 * 64 + r % 16 * 4 + q % 4);
      to[at] = static_cast<std::byte>(high_digit(panel.v[r][p]));
      to[bytes / 2 + at] = static_cast<std::byte>(low_digit(panel.v[r][p]));
    }
}

void lay(const Packing& packing, const Integers& panel, std::int64_t length, std::byte* to) {
  const auto whole = [](std::int32_t v) { return v; };
  std::byte* const second = to + digit_bytes(packing.isa, length) / 2;
  switch (packing.isa) {
    case Isa::scalar:
      for (std::int64_t r = 0; r < kPanel; ++r)
        std::memcpy(to + r * length * 2, panel.v[r], static_cast<std::size_t>(length) * 2);
      break;
    case Isa::avx2:
    case Isa::avx512:
      if (packing.side == Side::a) {
        lay_pairs(panel, length, high_digit, to);
        lay_pairs(panel, length, low_digit, second);
      } else {
        lay_pairs(panel, length, whole, to);
        lay_pairs(panel, length, high_digit, second);
      }
      break;
    case Isa::amx: lay_tiles(panel, packing.side, length, to); break;
  }
  set_scales(packing.side, panel.exponents, scales_of(to, packing.isa, length));
}

std::int64_t block_at(const Packing& packing, std::int64_t block) {
  return block * block_bytes(packing.isa, packing.block);
}

void check(const Packing& packing, Range rows, Range blocks) {
  SUANLI_CHECK(rows.begin % kPanel == 0 && rows.count >= 0 && rows.begin + rows.count <= packing.rows);
  SUANLI_CHECK(rows.count % kPanel == 0 || rows.begin + rows.count == packing.rows);
  SUANLI_CHECK(blocks.begin >= 0 && blocks.count >= 0 && blocks.begin + blocks.count <= packing.blocks());
}

// Panel by panel: fill(row, rows, block, panel) makes the integers.
template <typename Fill>
void pack_panels(const Packing& packing, Range rows, Range blocks, std::byte* to, const Fill& fill) {
  Integers panel;
  for (std::int64_t r = rows.begin; r < rows.begin + rows.count; r += kPanel)
    for (std::int64_t b = blocks.begin; b < blocks.begin + blocks.count; ++b) {
      fill(r, std::min(kPanel, packing.rows - r), b, panel);
      lay(packing, panel, packing.length(b), to + r / kPanel * packing.panel_bytes() + block_at(packing, b));
    }
}

// As multiply_panels_amx.
void multiply_block(Isa isa, const PanelProduct& first, std::int64_t a_panel_bytes, std::int64_t rows,
                    std::int64_t b_panel_bytes, std::int64_t columns) {
  if (isa == Isa::amx) {
    const amx::Tiles tiles;
    return multiply_panels_amx(first, a_panel_bytes, rows, b_panel_bytes, columns);
  }
  const auto one = isa == Isa::scalar ? multiply_panels_scalar : isa == Isa::avx2 ? multiply_panels_avx2 : multiply_panels_avx512;
  for (std::int64_t i = 0; i < rows; i += kPanel)
    for (std::int64_t j = 0; j < columns; j += kPanel) one(first.at(i, j, a_panel_bytes, b_panel_bytes, rows, columns));
}

}  // namespace

std::int64_t digit_bytes(Isa isa, std::int64_t length) {
  std::int64_t bytes = 0;
  switch (isa) {
    case Isa::scalar: bytes = 2 * kPanel * length; break;
    case Isa::avx2:
    case Isa::avx512: bytes = 2 * divide_up(length, 2) * kPanel * 4; break;
    case Isa::amx: bytes = 2 * divide_up(length, amx::kStepInt8) * amx::kStepBytes; break;
  }
  return divide_up(bytes, 64) * 64;
}

void set_scales(Side side, const int (&exponents)[kPanel], Scales& scales) {
  scales.tame = 1;
  for (std::int64_t r = 0; r < kPanel; ++r) {
    const int e = exponents[r];
    if (e < kTameFirst || e > kTameLast) scales.tame = 0;
    // 2^-e as a double is normal. As a float it may not be; then the panel is not tame, and it is not used.
    scales.inverse[r] = e == kPoisoned ? std::numeric_limits<double>::quiet_NaN()
                                       : std::bit_cast<double>(static_cast<std::uint64_t>(1023 - e) << 52);
    const int f = (side == Side::a ? 4 : 3) - std::clamp(e, kTameFirst, kTameLast);
    scales.factor[r] = std::bit_cast<float>(static_cast<std::uint32_t>(127 + f) << 23);
  }
}

std::int64_t Packing::panel_bytes() const {
  if (k == 0) return 0;
  return (blocks() - 1) * block_bytes(isa, block) + block_bytes(isa, length(blocks() - 1));
}

Bytes Packing::size() const { return Bytes(panels() * panel_bytes()); }

Packing packing(Side side, std::int64_t rows, std::int64_t k, std::int64_t block) {
  SUANLI_CHECK(rows >= 0 && k >= 0 && block >= 1 && block <= kLongestBlock);
  return {.isa = best_isa(), .side = side, .rows = rows, .k = k, .block = block};
}

void pack(const Packing& packing, const Matrix& matrix, Range rows, std::byte* to) {
  pack(packing, matrix, rows, {0, packing.blocks()}, to);
}

void pack(const Packing& packing, const Matrix& matrix, Range rows, Range blocks, std::byte* to) {
  check(packing, rows, blocks);
  const auto part = [&](std::int64_t row, std::int64_t block) {
    return Matrix{matrix.data + row * matrix.row_stride + block * packing.block * matrix.k_stride, matrix.row_stride,
                  matrix.k_stride};
  };
  if (packing.isa == Isa::amx && (matrix.row_stride == 1 || matrix.k_stride == 1)) {
    for (std::int64_t block = blocks.begin; block < blocks.begin + blocks.count; ++block)
      pack_amx(packing, part(rows.begin, block), rows.count, packing.length(block),
               to + rows.begin / kPanel * packing.panel_bytes() + block_at(packing, block), packing.panel_bytes());
    return;
  }
  pack_panels(packing, rows, blocks, to, [&](std::int64_t row, std::int64_t count, std::int64_t block, Integers& panel) {
    split(part(row, block), count, packing.length(block), panel);
  });
}

void pack(const Packing& packing, const IntegerMatrix& matrix, Range rows, std::byte* to) {
  SUANLI_CHECK(matrix.exponent >= -64 && matrix.exponent <= 64);
  const Range blocks{0, packing.blocks()};
  check(packing, rows, blocks);
  pack_panels(packing, rows, blocks, to, [&](std::int64_t row, std::int64_t count, std::int64_t block, Integers& panel) {
    gather({matrix.data + row * matrix.row_stride + block * packing.block * matrix.k_stride, matrix.row_stride,
            matrix.k_stride, matrix.exponent},
           count, packing.length(block), panel);
  });
}

void multiply(const Operand& a, Range rows, const Operand& b, Range columns, const ProductOptions& options, Result32 c) {
  const Packing& pa = a.packing;
  const Packing& pb = b.packing;
  SUANLI_CHECK(pa.side == Side::a && pb.side == Side::b && pa.isa == pb.isa && pa.block == pb.block);
  SUANLI_CHECK(options.terms == 3 || options.terms == 4);
  Range blocks = options.blocks;
  if (blocks.count < 0) blocks.count = a.first_block + pa.blocks() - blocks.begin;
  check(pa, rows, {blocks.begin - a.first_block, blocks.count});
  check(pb, columns, {blocks.begin - b.first_block, blocks.count});
  if (blocks.count == 0 && !options.accumulate)
    for (std::int64_t i = 0; i < rows.count; ++i) std::fill_n(c.data + i * c.stride, columns.count, 0.0F);
  if (rows.count == 0 || columns.count == 0) return;
  for (std::int64_t block = blocks.begin; block < blocks.begin + blocks.count; ++block) {
    const std::int64_t length = pa.length(block - a.first_block);
    SUANLI_CHECK(length == pb.length(block - b.first_block));
    const std::byte* a_data = a.data + rows.begin / kPanel * pa.panel_bytes() + block_at(pa, block - a.first_block);
    const std::byte* b_data = b.data + columns.begin / kPanel * pb.panel_bytes() + block_at(pb, block - b.first_block);
    multiply_block(pa.isa,
                   {.a = a_data,
                    .b = b_data,
                    .a_scales = &scales_of(a_data, pa.isa, length),
                    .b_scales = &scales_of(b_data, pb.isa, length),
                    .length = length,
                    .terms = options.terms,
                    .rows = 0,
                    .columns = 0,
                    .c = c.data,
                    .stride = c.stride,
                    .add = options.accumulate || block > blocks.begin},
                   pa.panel_bytes(), rows.count, pb.panel_bytes(), columns.count);
  }
}

}  // namespace suanli::engine::exact
