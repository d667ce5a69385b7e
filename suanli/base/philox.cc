#include "suanli/base/philox.h"

#include "suanli/base/box_muller.h"
#include "suanli/base/error.h"

namespace suanli {
namespace {

__extension__ using Uint128 = unsigned __int128;

// A bijection of 64-bit words whose output bits each depend on all input bits (the finalizer of
// SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
std::uint64_t mix(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

std::uint32_t low(std::uint64_t x) { return static_cast<std::uint32_t>(x); }
std::uint32_t high(std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); }
std::uint64_t join(std::uint32_t low_word, std::uint32_t high_word) {
  return std::uint64_t{low_word} | std::uint64_t{high_word} << 32;
}

constexpr double kTwoToMinus53 = 0x1p-53;

}  // namespace

std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                        std::array<std::uint32_t, 2> key) {
  auto [c0, c1, c2, c3] = counter;
  auto [k0, k1] = key;
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * c0;
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * c2;
    c0 = high(p1) ^ c1 ^ k0;
    c1 = low(p1);
    c2 = high(p0) ^ c3 ^ k1;
    c3 = low(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {c0, c1, c2, c3};
}

// For one seed, the key is one to one in (stream, high half of the step).
std::array<std::uint32_t, 2> Philox::key() const {
  const std::uint64_t key =
      mix(mix(seed_) ^ join(static_cast<std::uint32_t>(stream_), high(step_)));
  return {low(key), high(key)};
}

std::array<std::uint32_t, 4> Philox::block(std::uint64_t index, std::uint32_t attempt) const {
  return philox4x32({low(index), high(index), attempt, step_low()}, key());
}

std::uint64_t Philox::bits(std::uint64_t index) const {
  const auto words = block(index, 0);
  return join(words[0], words[1]);
}

double Philox::uniform(std::uint64_t index) const {
  return static_cast<double>(bits(index) >> 11) * kTwoToMinus53;
}

double Philox::normal(std::uint64_t index) const {
  const auto words = block(index, 0);
  // In (0, 1], so that the logarithm is finite.
  const double u = static_cast<double>((join(words[0], words[1]) >> 11) + 1) * kTwoToMinus53;
  const double v = static_cast<double>(join(words[2], words[3]) >> 11) * kTwoToMinus53;
  return box_muller(u, v);
}

// Lemire, "Fast random integer generation in an interval", 2019: the high half of bits * bound is
// biased only by the 2^64 mod bound lowest values of the low half, which are drawn again.
std::uint64_t Philox::below(std::uint64_t bound, std::uint64_t index) const {
  SUANLI_CHECK(bound >= 1);
  const std::uint64_t biased = -bound % bound;  // 2^64 mod bound
  for (std::uint32_t attempt = 0;; ++attempt) {
    const auto words = block(index, attempt);
    const Uint128 product = Uint128{join(words[0], words[1])} * bound;
    if (static_cast<std::uint64_t>(product) >= biased) {
      return static_cast<std::uint64_t>(product >> 64);
    }
  }
}

}  // namespace suanli
