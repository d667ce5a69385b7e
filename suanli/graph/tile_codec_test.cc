#include "suanli/graph/tile_codec.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <set>
#include <vector>

#include "suanli/base/philox.h"
#include "suanli/graph/op.h"

namespace suanli::graph {
namespace {

constexpr int kWidths[] = {2, 3, 4, 6, 8};

// Every byte belongs to one scale or to the codes of one tile.
TEST(TileLayout, CoversEveryByteOnce) {
  const std::vector<Shape> shapes = {{}, {1}, {3, 64}, {5, 100}, {2, 3, 40}, {4, 1}, {0, 7}, {7, 0}};
  for (const Shape& shape : shapes)
    for (const int bits : kWidths)
      for (const std::int64_t tile : {8, 64, 96}) {
        const TileLayout layout = tile_layout(shape, bits, tile);
        std::vector<int> owners(static_cast<std::size_t>(layout.bytes()));
        std::int64_t elements = 0;
        for (std::int64_t row = 0; row < layout.rows; ++row)
          for (std::int64_t t = 0; t < layout.tiles_per_row(); ++t) {
            elements += layout.length(t);
            for (int i = 0; i < 2; ++i) ++owners.at(static_cast<std::size_t>(layout.scale_at(row, t) + i));
            for (std::int64_t i = 0; i < layout.code_bytes(t); ++i)
              ++owners.at(static_cast<std::size_t>(layout.codes_at(row, t) + i));
          }
        EXPECT_EQ(elements, element_count(shape));
        for (const int count : owners) ASSERT_EQ(count, 1);
      }
}

TEST(TileCodec, CodesComeBack) {
  const Philox random(1, suanli::Stream::test);
  for (const int bits : kWidths)
    for (std::size_t n = 1; n <= 130; ++n) {
      std::vector<std::uint8_t> codes(n), back(n, 0xAA), bytes((n + 7) / 8 * static_cast<std::size_t>(bits), 0x55);
      for (std::size_t i = 0; i < n; ++i) codes[i] = static_cast<std::uint8_t>(random.below(1U << bits, n * 1000 + i));
      pack_codes(codes, bits, bytes);
      unpack_codes(bytes, bits, back);
      ASSERT_EQ(back, codes) << bits << " bits, " << n;
    }
}

// The example of docs/formats/codecs.md.
TEST(TileCodec, PacksInPlanes) {
  const auto packed = [](std::vector<std::uint8_t> codes, int bits) {
    std::vector<std::uint8_t> bytes((codes.size() + 7) / 8 * static_cast<std::size_t>(bits));
    pack_codes(codes, bits, bytes);
    return bytes;
  };
  using Bytes = std::vector<std::uint8_t>;
  EXPECT_EQ(packed({1, 2, 3, 4, 5, 6, 7, 8}, 4), (Bytes{0x51, 0x62, 0x73, 0x84}));
  EXPECT_EQ(packed({0, 1, 2, 3, 3, 2, 1, 0}, 2), (Bytes{0x78, 0x2D}));
  EXPECT_EQ(packed({0, 1, 2, 3, 4, 5, 6, 7}, 3), (Bytes{0x88, 0xDD, 0xF0}));
  EXPECT_EQ(packed({63, 0, 21}, 6), (Bytes{0x0F, 0x00, 0x05, 0x00, 0x07, 0x00}));
}

TEST(TileCodec, ScalesAreRoundedUp) {
  const auto scale = [](float x) { return tile_scale(std::bit_cast<std::uint32_t>(x)); };
  EXPECT_EQ(scale(1), 0x3F80);
  EXPECT_EQ(scale(std::nextafter(1.0F, 2.0F)), 0x3F81);
  EXPECT_EQ(scale(0), 0);
  EXPECT_EQ(scale(std::ldexp(1.0F, -100)), 0x0D80);
  EXPECT_EQ(scale(std::nextafter(std::ldexp(1.0F, -100), 0.0F)), 0);
  EXPECT_EQ(scale(std::numeric_limits<float>::max()), kLargestScale);
  EXPECT_EQ(scale(std::numeric_limits<float>::infinity()), kPoisonedScale);
  EXPECT_EQ(scale(std::numeric_limits<float>::quiet_NaN()), kPoisonedScale);
}

TEST(TileCodec, ExtremesTakeTheOuterCodes) {
  for (const int bits : kWidths)
    for (const float x : {std::numeric_limits<float>::max(), 1.0F, 1.99F, std::ldexp(1.0F, -100)})
      for (const std::int32_t noise : {0, 16383, 16384, 32767}) {
        const std::uint16_t scale = tile_scale(std::bit_cast<std::uint32_t>(x));
        const float factor = scale_factor(scale, bits);
        const bool to_nearest = noise == 16383 || noise == 16384;
        if (to_nearest) {
          EXPECT_EQ(code_of(scale_value(scale), factor, bits, noise), last_code(bits));
          EXPECT_EQ(code_of(-scale_value(scale), factor, bits, noise), 0);
        }
        const std::int32_t high = code_of(x, factor, bits, noise), low = code_of(-x, factor, bits, noise);
        EXPECT_TRUE(high > last_code(bits) / 2 && high <= last_code(bits)) << x;
        EXPECT_TRUE(low >= 0 && low <= last_code(bits) / 2) << x;
      }
}

// Zeros lie between two codes: they go up and down by turns, so that they do not add up to something.
TEST(TileCodec, TiesGoUpAndDownByTurns) {
  for (const int bits : kWidths) {
    EXPECT_EQ(code_of(0, 1, bits, nearest_noise(0)), 1 << (bits - 1));
    EXPECT_EQ(code_of(0, 1, bits, nearest_noise(1)), (1 << (bits - 1)) - 1);
  }
}

TEST(TileCodec, TransformIsThatOfTheMatrix) {
  const Philox random(3, suanli::Stream::test);
  for (const std::size_t n : {1, 2, 8, 64, 96, 100, 1000}) {
    std::vector<float> x(n);
    for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<float>(random.normal(i));
    std::vector<float> y = x;
    hadamard(y);
    std::size_t begin = 0;
    while (begin < n) {
      const std::size_t run = std::bit_floor(n - begin);
      for (std::size_t i = 0; i < run; ++i) {
        double sum = 0;
        for (std::size_t j = 0; j < run; ++j) sum += (std::popcount(i & j) % 2 == 0 ? 1 : -1) * double{x[begin + j]};
        ASSERT_NEAR(y[begin + i], sum / std::sqrt(static_cast<double>(run)), 1e-5);
      }
      begin += run;
    }
    hadamard(y);
    for (std::size_t i = 0; i < n; ++i) ASSERT_NEAR(y[i], x[i], 1e-5);
  }
}

TEST(TileCodec, WhatIsSpreadIsGathered) {
  int flipped = 0;
  for (const std::uint32_t flip : sign_flips()) {
    ASSERT_TRUE(flip == 0 || flip == 0x80000000);
    flipped += flip != 0;
  }
  EXPECT_NEAR(flipped, 512, 60);
  const std::vector<std::uint32_t> first(sign_flips().begin(), sign_flips().begin() + 4);
  EXPECT_EQ(first, (std::vector<std::uint32_t>{0x80000000, 0, 0x80000000, 0}));
  for (const std::size_t n : {1, 8, 100, 128, 1024}) {
    std::vector<float> even(n, 1);
    spread(even);
    float largest = 0;
    for (const float x : even) largest = std::max(largest, std::fabs(x));
    if (n >= 100) {
      EXPECT_LT(largest, 5);  // of sqrt(n), were it all in one
    }
    gather(even);
    for (const float x : even) ASSERT_NEAR(x, 1, 1e-5);
  }
}

TEST(TileCodec, NoiseDependsOnAllItIsGiven) {
  const std::array<std::uint32_t, 4> key = {1, 2, 3, 4};
  std::set<std::array<std::int32_t, kNoiseGroup>> seen = {stochastic_noise(key, 5, 6)};
  EXPECT_EQ(seen.count(stochastic_noise(key, 5, 6)), 1U);
  for (std::size_t i = 0; i < 4; ++i) {
    auto other = key;
    ++other[i];
    seen.insert(stochastic_noise(other, 5, 6));
  }
  seen.insert(stochastic_noise(key, 6, 6));
  seen.insert(stochastic_noise(key, 5, 7));
  EXPECT_EQ(seen.size(), 7U);
  for (const auto& noise : seen)
    for (const std::int32_t each : noise) EXPECT_TRUE(each >= 0 && each < (1 << kNoiseBits));
}

// No bytes that another machine may send do more than give other numbers.
TEST(TileCodec, NothingSentIsWorseThanNotANumber) {
  const OpDef& decode = op("dequantize_tiles");
  const Shape shape = {2, 70};
  const TileLayout layout = tile_layout(shape, 3, 64);
  const Philox random(2, suanli::Stream::test);
  for (std::uint64_t trial = 0; trial < 200; ++trial) {
    RefTensor packed{{DType::u8, {layout.bytes()}}, {}}, out{f32(shape), std::vector<double>(140)};
    for (std::int64_t i = 0; i < layout.bytes(); ++i)
      packed.data.push_back(static_cast<double>(random.below(256, trial * 1000 + static_cast<std::uint64_t>(i))));
    const RefTensor* inputs[] = {&packed};
    decode.reference({inputs, {{"bits", 3}, {"tile", 64}, {"shape", shape}}, out});
    for (const double x : out.data) EXPECT_FALSE(std::isinf(x));
  }
}

}  // namespace
}  // namespace suanli::graph
