// What stochastic rounding of the tile codec adds (graph::stochastic_noise), compiled once per instruction set (include after
// hwy/foreach_target.h).

// Per-target include guard.
#if defined(SUANLI_ENGINE_CPU_TILE_NOISE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUANLI_ENGINE_CPU_TILE_NOISE_INL_H_
#undef SUANLI_ENGINE_CPU_TILE_NOISE_INL_H_
#else
#define SUANLI_ENGINE_CPU_TILE_NOISE_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "suanli/graph/tile_codec.h"

HWY_BEFORE_NAMESPACE();
namespace suanli::engine::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using WordTag = hn::ScalableTag<std::uint64_t>;  // a lane holds one 32-bit word in its lower half
using Word = hn::Vec<WordTag>;
constexpr std::size_t kGroup = graph::kNoiseGroup;
constexpr std::size_t kBlocks = 8;  // of Philox, for the elements of a group
constexpr std::size_t kWords = std::min(hn::MaxLanes(WordTag()), kBlocks);

HWY_INLINE Word word(std::uint64_t value) { return hn::Set(WordTag(), value); }

// All 64 bits of the product of the lower halves.
HWY_INLINE Word product(Word a, std::uint32_t b) {
#if HWY_TARGET == HWY_SCALAR
  return word((hn::GetLane(a) & 0xFFFFFFFFU) * b);
#else
  const hn::Repartition<std::uint32_t, WordTag> d;
  return hn::MulEven(hn::BitCast(d, a), hn::BitCast(d, word(b)));
#endif
}

// The numbers of `kGroups` groups (graph::stochastic_noise): ten rounds of Philox4x32 on eight blocks each.
template <std::size_t kGroups>
HWY_INLINE void draw_groups(const std::uint32_t* key, std::uint32_t stream, std::uint32_t group, std::int32_t* noise) {
  constexpr std::size_t kFlight = kGroups * kBlocks / kWords;
  Word c0[kFlight], c1[kFlight], c2[kFlight], c3[kFlight];
  for (std::size_t f = 0; f < kFlight; ++f) {
    c0[f] = hn::Iota(WordTag(), std::uint64_t{group} * kBlocks + f * kWords);
    c1[f] = word(stream);
    c2[f] = word(key[2]);
    c3[f] = word(key[3]);
  }
  std::uint32_t k0 = key[0], k1 = key[1];
  for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9U, k1 += 0xBB67AE85U)
    for (std::size_t f = 0; f < kFlight; ++f) {
      const Word p0 = product(c0[f], 0xD2511F53U), p1 = product(c2[f], 0xCD9E8D57U);
      c0[f] = hn::Xor(hn::Xor(hn::ShiftRight<32>(p1), c1[f]), word(k0));
      c1[f] = p1;
      c2[f] = hn::Xor(hn::Xor(hn::ShiftRight<32>(p0), c3[f]), word(k1));
      c3[f] = p0;
    }
  // Of a word's two halves 15 bits each.
  const auto put = [&](Word (&words)[kFlight], std::size_t index) {
    for (std::size_t f = 0; f < kFlight; ++f) {
      alignas(64) std::uint64_t lanes[kWords];
      hn::Store(words[f], WordTag(), lanes);
      std::int32_t* to = noise + f * kWords / kBlocks * kGroup + 2 * index * kBlocks + f * kWords % kBlocks;
      for (std::size_t i = 0; i < kWords; ++i) {
        to[i] = static_cast<std::int32_t>(lanes[i] & 0x7FFF);
        to[i + kBlocks] = static_cast<std::int32_t>(lanes[i] >> 16 & 0x7FFF);
      }
    }
  };
  put(c0, 0);
  put(c1, 1);
  put(c2, 2);
  put(c3, 3);
}

// The numbers of one tile after another. Several groups are drawn at a time, so that one waits for its products while the next
// goes on: those of the tiles that follow, too, where tiles are short.
class TileNoise {
 public:
  // At least as many numbers as the tile has elements, valid until the next call. `tile` counts over all rows.
  HWY_INLINE const std::int32_t* of_tile(const std::uint32_t* key, std::uint32_t stream, std::int64_t tile, std::int64_t groups) {
    const std::int64_t first = tile * groups;
    if (first < drawn_ || first + groups > drawn_ + count_) {
      for (std::int64_t i = 0; i < groups; i += kTogether)
        draw_groups<kTogether>(key, stream, static_cast<std::uint32_t>(first + i), numbers_ + i * kGroup);
      drawn_ = first;
      count_ = (groups + kTogether - 1) / kTogether * kTogether;
    }
    return numbers_ + (first - drawn_) * static_cast<std::int64_t>(kGroup);
  }

 private:
  static constexpr std::int64_t kTogether = kWords == kBlocks ? 4 : 2;
  alignas(64) std::int32_t numbers_[graph::kLargestTile];  // whole groups, of which the largest tile has a multiple of four
  std::int64_t drawn_ = 0, count_ = 0;
};
static_assert(graph::kLargestTile % (4 * kGroup) == 0);

}  // namespace suanli::engine::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
