#include "suanli/engine/cpu/tile_codec.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "suanli/engine/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "suanli/engine/cpu/tile_codec.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "suanli/engine/cpu/code_planes-inl.h"
#include "suanli/engine/cpu/exact/math-inl.h"
#include "suanli/engine/cpu/tile_noise-inl.h"
#include "suanli/engine/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace suanli::engine::HWY_NAMESPACE {

using graph::kLargestTile;
using graph::TileLayout;

using WholeTag = hn::RebindToSigned<Tag>;
using ByteTag = hn::Rebind<std::uint8_t, Tag>;

// Tiles are worked on in steps of this many elements; what lies behind a tile's end is 0 and left out at the end.
constexpr std::size_t kStep = 16;
static_assert(kStep % kLanes == 0);
constexpr std::size_t padded(std::size_t n) { return (n + kStep - 1) / kStep * kStep; }

struct TileBuffers {
  alignas(64) float x[kLargestTile];
  alignas(64) float other[kLargestTile];  // with the second signs
  alignas(64) std::uint8_t codes[kLargestTile];
};

// Lanes that differ in bit `kStride` of their index change places.
template <std::size_t kStride>
HWY_INLINE Vec partner_of(Vec x) {
#if HWY_TARGET == HWY_SCALAR
  return x;  // of one lane there is no partner, and this is not called
#else
  if constexpr (kStride == 1) return hn::Shuffle2301(x);
  if constexpr (kStride == 2) return hn::Shuffle1032(x);
  if constexpr (kStride == 4 && kLanes > 8) return hn::SwapAdjacentBlocks(x);
  return hn::ConcatLowerUpper(Tag(), x, x);
#endif
}

// Sums and differences of lanes kStride apart, then of all smaller strides.
template <std::size_t kStride>
HWY_INLINE Vec butterflies(Vec x) {
  if constexpr (kStride == 0) {
    return x;
  } else {
    const BitsTag d;
    const auto upper = hn::And(hn::Iota(d, 0), hn::Set(d, kStride));  // not 0 where the difference goes
    const auto sign = hn::ShiftLeft<31 - std::countr_zero(kStride)>(upper);
    const Vec signed_x = hn::BitCast(Tag(), hn::Xor(hn::BitCast(d, x), sign));
    return butterflies<kStride / 2>(hn::Add(partner_of<kStride>(x), signed_x));
  }
}

// One run of the transform, n a power of two: sums and differences of elements n / 2 apart, n / 4, .., 1, in place. They are
// those of graph::hadamard, which moves its elements so that each stage looks alike.
HWY_INLINE void hadamard_run(float* x, std::size_t n) {
  const float norm = static_cast<float>(1 / std::sqrt(static_cast<double>(n)));
  const std::size_t step = n < kLanes ? 1 : kLanes;
  for_vectors(n, [&](std::size_t i, auto part) { store(hn::Mul(load(x + i, part), splat(norm)), x + i, part); });
  for (std::size_t stride = n / 2; stride >= step; stride /= 2)
    for (std::size_t first = 0; first < n; first += 2 * stride)
      for (std::size_t i = first; i < first + stride; i += step) {
        if (step == 1) {
          const float a = x[i], b = x[i + stride];
          x[i] = a + b;
          x[i + stride] = a - b;
        } else {
          const Vec a = load(x + i, Whole()), b = load(x + i + stride, Whole());
          store(hn::Add(a, b), x + i, Whole());
          store(hn::Sub(a, b), x + i + stride, Whole());
        }
      }
  if (step == 1) return;
  for (std::size_t i = 0; i < n; i += kLanes) store(butterflies<kLanes / 2>(load(x + i, Whole())), x + i, Whole());
}

HWY_INLINE void hadamard_tile(float* x, std::size_t n) {
  while (n > 0) {
    const std::size_t run = std::bit_floor(n);
    hadamard_run(x, run);
    x += run;
    n -= run;
  }
}

// Signs of the transform, for a multiple of kStep elements.
HWY_INLINE void flip_signs(float* x, const std::uint32_t* flips, std::size_t n) {
  const BitsTag d;
  for (std::size_t i = 0; i < n; i += kLanes)
    store(hn::BitCast(Tag(), hn::Xor(hn::BitCast(d, load(x + i, Whole())), hn::LoadU(d, flips + i))), x + i, Whole());
}

// The bits of the largest |x|, those of infinities and of what is not a number above all others; n is a multiple of kStep.
HWY_INLINE std::uint32_t largest_of(const float* x, std::size_t n) {
  const WholeTag d;
  const auto without_sign = hn::Set(d, 0x7FFFFFFF);
  auto even = hn::Zero(d), odd = hn::Zero(d);
  std::size_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    even = hn::Max(even, hn::And(without_sign, hn::BitCast(d, load(x + i, Whole()))));
    odd = hn::Max(odd, hn::And(without_sign, hn::BitCast(d, load(x + i + kLanes, Whole()))));
  }
  if (i < n) even = hn::Max(even, hn::And(without_sign, hn::BitCast(d, load(x + i, Whole()))));
  return static_cast<std::uint32_t>(hn::GetLane(hn::MaxOfLanes(d, hn::Max(even, odd))));
}

// graph::sum_of_squares, of a multiple of kStep elements; those behind the tile's end add nothing.
HWY_INLINE float squares_of(const float* x, std::size_t n) {
  static_assert(graph::kSquareSums == kStep);
  alignas(64) float sums[kStep];
  for (std::size_t j = 0; j < kStep; j += kLanes) {
    Vec sum = splat(0);
    for (std::size_t i = j; i < n; i += kStep) {
      const Vec value = load(x + i, Whole());
      sum = hn::Add(sum, hn::Mul(value, value));
    }
    store(sum, sums + j, Whole());
  }
  for (std::size_t apart = kStep / 2; apart > 0; apart /= 2)
    for (std::size_t j = 0; j < apart; ++j) sums[j] += sums[j + apart];
  return sums[0];
}

// Codes of n elements, a multiple of kStep. `noise` holds what each adds, or null: rounding to nearest.
HWY_INLINE void codes_of(const float* x, std::size_t n, float factor, int bits, const std::int32_t* noise,
                         std::uint8_t* codes) {
  const WholeTag d;
  const std::int32_t half = graph::last_code(bits) << (graph::kNoiseBits - 1);
  constexpr float kMagic = 12582912.0F;  // 1.5 * 2^23: the sum's low bits are the integer, rounded as the addition rounds
  const auto magic = std::bit_cast<std::int32_t>(kMagic);
  const auto low = hn::Set(d, magic - half), high = hn::Set(d, magic + half);
  const auto shift = hn::Set(d, half - magic);
  // In two steps lest vectors of one lane lose the turns of even and odd.
  const auto turn = [&](std::size_t i) {
    const auto index = hn::Iota(d, static_cast<std::int32_t>(kLanes == 1 ? i : 0));
    return hn::Sub(hn::Set(d, graph::nearest_noise(0)), hn::And(index, hn::Set(d, 1)));
  };
  const auto nearest = hn::Add(shift, turn(0));
  for (std::size_t i = 0; i < n; i += kLanes) {
    const Vec scaled = hn::Mul(load(x + i, Whole()), splat(factor));
    const auto whole = hn::Min(hn::Max(hn::BitCast(d, hn::Add(scaled, splat(kMagic))), low), high);
    auto add = nearest;
    if (noise != nullptr)
      add = hn::Add(shift, hn::LoadU(d, noise + i));
    else if (kLanes == 1)
      add = hn::Add(shift, turn(i));
    hn::StoreU(hn::DemoteTo(ByteTag(), hn::ShiftRight<graph::kNoiseBits>(hn::Add(whole, add))), ByteTag(), codes + i);
  }
}

// What is to be encoded of a tile, and zeros behind it.
HWY_INLINE void copy_tile(const EncodeTiles& call, std::int64_t first, std::size_t n, std::size_t steps, float* to) {
  std::fill(to + n, to + steps, 0.0F);
  for_vectors(n, [&](std::size_t i, auto part) {
    Vec value = load(call.x + first + i, part);
    if (call.minus != nullptr) value = hn::Sub(value, load(call.minus + first + i, part));
    store(value, to + i, part);
  });
}

void Encode(const EncodeTiles& call, std::int64_t begin, std::int64_t end) {
  const TileLayout layout = call.layout;  // a copy: what is written through bytes could be a part of `call`
  TileBuffers buffers;
  TileNoise drawn;
  auto* packed = reinterpret_cast<std::uint8_t*>(call.packed);
  const std::uint32_t* flips = graph::sign_flips().data();
  const std::uint32_t* second_flips = graph::sign_flips(/*second=*/true).data();
  const std::int64_t per_row = layout.tiles_per_row();
  for (std::int64_t tile = begin; tile < end; ++tile) {
    const std::int64_t row = tile / per_row, t = tile % per_row, first = row * layout.columns + layout.column(t);
    const auto n = static_cast<std::size_t>(layout.length(t));
    const std::size_t steps = padded(n);
    const float* x = call.x + first;
    if (call.minus != nullptr || call.transform || n != steps) {
      copy_tile(call, first, n, steps, buffers.x);
      if (call.transform) {
        flip_signs(buffers.x, flips, steps);
        hadamard_tile(buffers.x, n);
      }
      x = buffers.x;
    }
    std::uint32_t largest = largest_of(x, steps);
    std::uint16_t scale = 0, signs = 0;
    if (call.transform && call.key == nullptr) {
      float squares = squares_of(x, steps);
      if (graph::has_spikes(largest, squares, n)) {
        copy_tile(call, first, n, steps, buffers.other);
        flip_signs(buffers.other, second_flips, steps);
        hadamard_tile(buffers.other, n);
        if (const std::uint32_t other = largest_of(buffers.other, steps); other < largest) {
          largest = other;
          squares = squares_of(buffers.other, steps);
          x = buffers.other;
          signs = graph::kSecondSigns;
        }
      }
      scale = graph::clipped_scale(largest, squares, n, layout.bits);
    } else {
      scale = graph::tile_scale(largest);
    }
    const std::int64_t at = layout.scale_at(row, t);
    packed[at] = static_cast<std::uint8_t>(scale & 0xFF);
    packed[at + 1] = static_cast<std::uint8_t>((scale | signs) >> 8);
    std::uint8_t* out = packed + layout.codes_at(row, t);
    if (scale == 0 || scale == graph::kPoisonedScale) {
      std::memset(out, 0, static_cast<std::size_t>(layout.code_bytes(t)));
      continue;
    }
    const std::int32_t* noise = nullptr;
    if (call.key != nullptr)
      noise = drawn.of_tile(call.key, call.stream, tile, layout.groups_per_tile());
    codes_of(x, steps, graph::scale_factor(scale, layout.bits), layout.bits, noise, buffers.codes);
    const std::size_t n8 = (n + 7) / 8 * 8;
    if (n != n8) std::memset(buffers.codes + n, 0, n8 - n);
    pack_planes(buffers.codes, n8, layout.bits, out);
  }
}

// values[i] = (2 codes[i] - last) unit, n a multiple of kStep.
template <class Store>
HWY_INLINE void values_of(const std::uint8_t* codes, std::size_t n, float unit, int bits, const Store& store_value) {
  const WholeTag d;
  const auto last = hn::Set(d, graph::last_code(bits));
  for (std::size_t i = 0; i < n; i += kLanes) {
    const auto code = hn::PromoteTo(d, hn::LoadU(ByteTag(), codes + i));
    store_value(i, hn::Mul(hn::ConvertTo(Tag(), hn::Sub(hn::Add(code, code), last)), splat(unit)));
  }
}

void Decode(const DecodeTiles& call, std::int64_t begin, std::int64_t end) {
  const TileLayout layout = call.layout;
  TileBuffers buffers;
  const auto* packed = reinterpret_cast<const std::uint8_t*>(call.packed);
  const std::uint32_t* flips = graph::sign_flips().data();
  const std::uint32_t* second_flips = graph::sign_flips(/*second=*/true).data();
  const std::int64_t per_row = layout.tiles_per_row();
  for (std::int64_t tile = begin; tile < end; ++tile) {
    const std::int64_t row = tile / per_row, t = tile % per_row, first = row * layout.columns + layout.column(t);
    const auto n = static_cast<std::size_t>(layout.length(t));
    const std::size_t n8 = (n + 7) / 8 * 8, steps = padded(n);
    const std::int64_t at = layout.scale_at(row, t);
    const auto marked = static_cast<std::uint16_t>(packed[at] | packed[at + 1] << 8);
    const auto scale = static_cast<std::uint16_t>(call.transform ? marked & ~graph::kSecondSigns : marked);
    float* out = call.out + first;
    const float* plus = call.plus == nullptr ? nullptr : call.plus + first;
    const bool through_buffer = call.transform || n != steps || scale == 0 || scale > graph::kLargestScale;
    if (scale > graph::kLargestScale) {
      std::fill_n(buffers.x, n, std::numeric_limits<float>::quiet_NaN());
    } else if (scale == 0) {
      std::fill_n(buffers.x, n, 0.0F);
    } else {
      std::memset(buffers.codes + n8, 0, steps - n8);
      unpack_planes(packed + layout.codes_at(row, t), n8, layout.bits, buffers.codes);
      const float unit = graph::scale_unit(scale, layout.bits);
      if (through_buffer)
        values_of(buffers.codes, steps, unit, layout.bits, [&](std::size_t i, Vec v) { store(v, buffers.x + i, Whole()); });
      else if (plus == nullptr)
        values_of(buffers.codes, steps, unit, layout.bits, [&](std::size_t i, Vec v) { store(v, out + i, Whole()); });
      else
        values_of(buffers.codes, steps, unit, layout.bits, [&](std::size_t i, Vec v) {
          store(canonical(hn::Add(load(plus + i, Whole()), v)), out + i, Whole());
        });
      if (call.transform) {
        hadamard_tile(buffers.x, n);
        flip_signs(buffers.x, (marked & graph::kSecondSigns) != 0 ? second_flips : flips, steps);
      }
    }
    if (!through_buffer) continue;
    for_vectors(n, [&](std::size_t i, auto part) {
      Vec value = load(buffers.x + i, part);
      if (plus != nullptr) value = hn::Add(load(plus + i, part), value);
      store(canonical(value), out + i, part);
    });
  }
}

}  // namespace suanli::engine::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace suanli::engine {

HWY_EXPORT(Encode);
HWY_EXPORT(Decode);

void encode_tiles(const EncodeTiles& call, std::int64_t begin, std::int64_t end) {
  HWY_DYNAMIC_DISPATCH(Encode)(call, begin, end);
}
void decode_tiles(const DecodeTiles& call, std::int64_t begin, std::int64_t end) {
  HWY_DYNAMIC_DISPATCH(Decode)(call, begin, end);
}

}  // namespace suanli::engine
#endif
