// The tile codec: f32 numbers as codes of 2, 3, 4, 6 or 8 bits with one scale for each tile. Bytes and arithmetic are those of
// docs/formats/codecs.md; this header holds the layout, which ops and kernels share, and the plain definitions that kernels
// are held to.
//
// A tensor is a matrix of rows (all dimensions but the last) and columns (the last; a scalar is 1 x 1). Each row is cut into
// tiles of `tile` elements, the last may be shorter. The packed tensor is u8: the scales of all tiles, two bytes each, then the
// codes of all tiles, ceil(n / 8) * bits bytes for a tile of n elements, rows and tiles ascending, nothing between them.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "suanli/graph/types.h"

namespace suanli::graph {

inline constexpr std::int64_t kLeastTile = 8;  // tiles are multiples of this, too
inline constexpr std::int64_t kLargestTile = 1024;
inline constexpr bool is_code_width(std::int64_t bits) { return bits == 2 || bits == 3 || bits == 4 || bits == 6 || bits == 8; }

struct TileLayout {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t tile = 0;  // elements, a multiple of 8
  int bits = 0;

  std::int64_t tiles_per_row() const { return (columns + tile - 1) / tile; }
  std::int64_t tiles() const { return rows * tiles_per_row(); }
  // Of tile `t` of a row: its first column, its elements and the bytes of its codes.
  std::int64_t column(std::int64_t t) const { return t * tile; }
  std::int64_t length(std::int64_t t) const { return t * tile + tile <= columns ? tile : columns - t * tile; }
  std::int64_t code_bytes(std::int64_t t) const { return (length(t) + 7) / 8 * bits; }
  // Offsets into the packed tensor.
  std::int64_t scale_at(std::int64_t row, std::int64_t t) const { return 2 * (row * tiles_per_row() + t); }
  std::int64_t codes_at(std::int64_t row, std::int64_t t) const {
    return 2 * tiles() + row * row_bytes() + t * (tile / 8 * bits);
  }
  std::int64_t row_bytes() const {
    const std::int64_t t = tiles_per_row();
    return t == 0 ? 0 : (t - 1) * (tile / 8 * bits) + code_bytes(t - 1);
  }
  std::int64_t bytes() const { return 2 * tiles() + rows * row_bytes(); }
  // Groups of elements that stochastic rounding draws for, in one tile.
  std::int64_t groups_per_tile() const;
};

inline constexpr std::int64_t kNoiseGroup = 64;  // elements
inline std::int64_t TileLayout::groups_per_tile() const { return (tile + kNoiseGroup - 1) / kNoiseGroup; }

TileLayout tile_layout(const Shape& shape, int bits, std::int64_t tile);

// Levels less one: the codes are 0 .. last, and a code c stands for (2 c - last) * scale / last.
constexpr int last_code(int bits) { return (1 << bits) - 1; }

// The scale of a tile whose largest |x| has these bits, sign clear: bf16, rounded up, at most the largest finite one; 0 if the
// tile counts as zeros (below 2^-100), kPoisonedScale if something in it is infinite or not a number.
inline constexpr std::uint16_t kPoisonedScale = 0x7FC0;
inline constexpr std::uint16_t kLargestScale = 0x7F7F;
constexpr std::uint16_t tile_scale(std::uint32_t largest_bits) {
  if (largest_bits >= 0x7F800000) return kPoisonedScale;
  if (largest_bits < 0x0D800000) return 0;
  const std::uint32_t up = (largest_bits + 0xFFFF) >> 16;
  return static_cast<std::uint16_t>(up < kLargestScale ? up : kLargestScale);
}

// To nearest behind the transform, a smaller scale loses less than it clips: the elements are about normal there, whatever they
// were before, and for normal numbers of deviation 1 this one of 2^bits levels has the least squared error (Max, "Quantizing for
// minimum distortion", IRE Trans. Inf. Theory 1960, table II; of 6 and 8 bits, computed). r is the root of the mean of squares.
constexpr float clip_of_deviation(int bits) {
  return bits == 2 ? 1.494F : bits == 3 ? 2.051F : bits == 4 ? 2.514F : bits == 6 ? 3.279F : 3.922F;
}
inline constexpr std::size_t kSquareSums = 16;
// Squares of elements i = j mod 16 are added in order to sum j; sums 8 apart are added, then 4, 2 and 1.
float sum_of_squares(std::span<const float> x);
// The scale of a tile of n elements from its largest |x| and its sum of squares.
std::uint16_t clipped_scale(std::uint32_t largest_bits, float sum_of_squares, std::size_t n, int bits);
// Whether something stands out so far that other signs may spread it better: what clipping left of the visit before does. With
// them what it leaves stands where the first ones spread it.
bool has_spikes(std::uint32_t largest_bits, float sum_of_squares, std::size_t n);
// In the scale of a tile whose transform has the second signs.
inline constexpr std::uint16_t kSecondSigns = 0x8000;

inline float scale_value(std::uint16_t scale) { return std::bit_cast<float>(std::uint32_t{scale} << 16); }

// x scaled to whole numbers with 15 bits behind the point of a code: |x factor| <= last 2^14.
constexpr int kNoiseBits = 15;
inline float scale_factor(std::uint16_t scale, int bits) {
  return static_cast<float>(last_code(bits) << (kNoiseBits - 1)) / scale_value(scale);
}
inline float scale_unit(std::uint16_t scale, int bits) { return scale_value(scale) / static_cast<float>(last_code(bits)); }

// What is added before the bits behind the point are dropped, by rounding. Nearest: half, less one at odd elements of a tile,
// so that ties go up and down by turns (zeros lie on a tie). Stochastic: 15 random bits.
constexpr std::int32_t nearest_noise(std::int64_t element) {
  return (1 << (kNoiseBits - 1)) - static_cast<std::int32_t>(element & 1);
}
// The numbers of a group of elements: group g of tile T, counted over all rows, is number T groups_per_tile() + g.
std::array<std::int32_t, kNoiseGroup> stochastic_noise(const std::array<std::uint32_t, 4>& key, std::uint32_t stream,
                                                       std::uint32_t group);

// x becomes H x / sqrt(n), H the Hadamard matrix in Sylvester's order, in runs of the largest powers of two that fit, descending
// (96 elements: 64, then 32). Its own inverse but for rounding.
void hadamard(std::span<float> x);

// The transform of a tile: signs as if thrown, the same for every tile, then hadamard; and back. Without the signs what is even
// over a tile, such as a mean, would become one large element, as one large element becomes even. There are two lists of them.
void spread(std::span<float> x, bool second_signs = false);
void gather(std::span<float> x, bool second_signs = false);
// The sign bit (1 << 31 or 0) that element i of a tile is to have flipped, for each of the largest tile.
const std::array<std::uint32_t, kLargestTile>& sign_flips(bool second = false);

// One code: x times the factor, rounded to a whole number (nearest even), kept within the codes, noise added, 15 bits dropped.
std::int32_t code_of(float x, float factor, int bits, std::int32_t noise);

// Codes of a tile to and from bytes: out has ceil(codes / 8) * bits bytes.
void pack_codes(std::span<const std::uint8_t> codes, int bits, std::span<std::uint8_t> out);
void unpack_codes(std::span<const std::uint8_t> packed, int bits, std::span<std::uint8_t> codes);

}  // namespace suanli::graph
