#include "suanli/graph/tile_codec.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/base/philox.h"

namespace suanli::graph {
namespace {

// Bits of the planes that a code is split into, lowest first: each divides 8.
std::vector<int> planes_of(int bits) {
  switch (bits) {
    case 3: return {2, 1};
    case 6: return {4, 2};
    default: return {bits};
  }
}

}  // namespace

TileLayout tile_layout(const Shape& shape, int bits, std::int64_t tile) {
  const std::int64_t columns = shape.empty() ? 1 : shape.back();
  std::int64_t rows = 1;
  for (std::size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
  return {columns == 0 ? 0 : rows, columns, tile, bits};
}

// Element e of a group: block e mod 8 of the eight of the group, half e / 8 of its eight.
std::array<std::int32_t, kNoiseGroup> stochastic_noise(const std::array<std::uint32_t, 4>& key, std::uint32_t stream,
                                                       std::uint32_t group) {
  std::array<std::int32_t, kNoiseGroup> noise;
  for (std::uint32_t lane = 0; lane < 8; ++lane) {
    const auto words = philox4x32({group * 8 + lane, stream, key[2], key[3]}, {key[0], key[1]});
    for (std::size_t half = 0; half < 8; ++half)
      noise[half * 8 + lane] = static_cast<std::int32_t>(words[half / 2] >> (half % 2 * 16) & 0x7FFF);
  }
  return noise;
}

void hadamard(std::span<float> x) {
  std::vector<float> next(x.size());
  while (!x.empty()) {
    const std::size_t n = std::bit_floor(x.size());
    const float norm = static_cast<float>(1 / std::sqrt(static_cast<double>(n)));
    for (std::size_t i = 0; i < n; ++i) x[i] *= norm;
    for (std::size_t stage = 1; stage < n; stage *= 2) {
      for (std::size_t i = 0; i < n / 2; ++i) {
        next[2 * i] = x[i] + x[i + n / 2];
        next[2 * i + 1] = x[i] - x[i + n / 2];
      }
      std::copy_n(next.begin(), n, x.begin());
    }
    x = x.subspan(n);
  }
}

const std::array<std::uint32_t, kLargestTile>& sign_flips(bool second) {
  const auto make = [](std::uint32_t list) {
    std::array<std::uint32_t, kLargestTile> all;
    for (std::uint32_t block = 0; block < kLargestTile / 128; ++block) {
      const auto words = philox4x32({block, 0, 0, 0}, {list, 0});
      for (std::size_t i = 0; i < 128; ++i) all[block * 128 + i] = (words[i / 32] >> (i % 32) & 1) << 31;
    }
    return all;
  };
  static const std::array lists = {make(0), make(1)};
  return lists[second ? 1 : 0];
}

namespace {

void flip(std::span<float> x, bool second) {
  const auto& flips = sign_flips(second);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::bit_cast<float>(std::bit_cast<std::uint32_t>(x[i]) ^ flips[i]);
}

// Of squares too large or too small for f32 nothing can be said.
bool says_something(float sum_of_squares) { return std::isfinite(sum_of_squares) && sum_of_squares >= 0x1p-100F; }

}  // namespace

void spread(std::span<float> x, bool second_signs) {
  flip(x, second_signs);
  hadamard(x);
}

void gather(std::span<float> x, bool second_signs) {
  hadamard(x);
  flip(x, second_signs);
}

float sum_of_squares(std::span<const float> x) {
  std::array<float, kSquareSums> sums{};
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float square = x[i] * x[i];
    sums[i % kSquareSums] += square;
  }
  for (std::size_t apart = kSquareSums / 2; apart > 0; apart /= 2)
    for (std::size_t j = 0; j < apart; ++j) sums[j] += sums[j + apart];
  return sums[0];
}

std::uint16_t clipped_scale(std::uint32_t largest_bits, float sum_of_squares, std::size_t n, int bits) {
  const std::uint16_t scale = tile_scale(largest_bits);
  if (scale == kPoisonedScale || scale == 0 || !says_something(sum_of_squares)) return scale;
  const float deviation = std::sqrt(sum_of_squares / static_cast<float>(n));
  const float clip = clip_of_deviation(bits) * deviation;
  return std::min(scale, tile_scale(std::bit_cast<std::uint32_t>(clip)));
}

bool has_spikes(std::uint32_t largest_bits, float sum_of_squares, std::size_t n) {
  if (!says_something(sum_of_squares)) return false;
  const float deviation = std::sqrt(sum_of_squares / static_cast<float>(n));
  const float usual = 3 * deviation;
  return std::bit_cast<float>(largest_bits) > usual;
}

std::int32_t code_of(float x, float factor, int bits, std::int32_t noise) {
  const std::int32_t half = last_code(bits) << (kNoiseBits - 1);
  const float scaled = x * factor;
  const auto whole = static_cast<std::int32_t>(std::nearbyint(scaled));
  return (std::clamp(whole, -half, half) + half + noise) >> kNoiseBits;
}

void pack_codes(std::span<const std::uint8_t> codes, int bits, std::span<std::uint8_t> out) {
  const std::size_t padded = (codes.size() + 7) / 8 * 8;
  SUANLI_CHECK(out.size() == padded / 8 * static_cast<std::size_t>(bits));
  std::ranges::fill(out, std::uint8_t{0});
  std::size_t at = 0;
  int below = 0;
  for (const int plane : planes_of(bits)) {
    const std::size_t stride = padded * static_cast<std::size_t>(plane) / 8;
    for (std::size_t i = 0; i < codes.size(); ++i) {
      const int part = codes[i] >> below & ((1 << plane) - 1);
      out[at + i % stride] |= static_cast<std::uint8_t>(part << (static_cast<int>(i / stride) * plane));
    }
    at += stride;
    below += plane;
  }
}

void unpack_codes(std::span<const std::uint8_t> packed, int bits, std::span<std::uint8_t> codes) {
  const std::size_t padded = (codes.size() + 7) / 8 * 8;
  SUANLI_CHECK(packed.size() == padded / 8 * static_cast<std::size_t>(bits));
  std::ranges::fill(codes, std::uint8_t{0});
  std::size_t at = 0;
  int below = 0;
  for (const int plane : planes_of(bits)) {
    const std::size_t stride = padded * static_cast<std::size_t>(plane) / 8;
    for (std::size_t i = 0; i < codes.size(); ++i) {
      const int part = packed[at + i % stride] >> (static_cast<int>(i / stride) * plane) & ((1 << plane) - 1);
      codes[i] |= static_cast<std::uint8_t>(part << below);
    }
    at += stride;
    below += plane;
  }
}

}  // namespace suanli::graph
