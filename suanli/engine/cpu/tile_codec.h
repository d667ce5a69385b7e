// The tile codec on vectors: f32 to packed codes and back (graph/tile_codec.h, docs/formats/codecs.md). The same bytes on every
// instruction set, and as the plain definitions.
#pragma once

#include <cstddef>
#include <cstdint>

#include "suanli/graph/tile_codec.h"

namespace suanli::engine {

// Tiles are counted over the whole tensor: rows, then tiles of a row. Calls for different tiles may run at the same time.
struct EncodeTiles {
  graph::TileLayout layout;
  bool transform = false;
  const float* x = nullptr;      // [rows, columns]
  const float* minus = nullptr;  // as x: x - minus is encoded; or null
  const std::uint32_t* key = nullptr;  // four words: rounding is stochastic; or null
  std::uint32_t stream = 0;
  std::byte* packed = nullptr;   // layout.bytes()
};
void encode_tiles(const EncodeTiles& call, std::int64_t begin, std::int64_t end);

struct DecodeTiles {
  graph::TileLayout layout;
  bool transform = false;
  const std::byte* packed = nullptr;  // any bytes
  const float* plus = nullptr;        // as out, may be out: plus + decoded is the result; or null
  float* out = nullptr;               // [rows, columns]
};
void decode_tiles(const DecodeTiles& call, std::int64_t begin, std::int64_t end);

}  // namespace suanli::engine
