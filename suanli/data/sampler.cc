#include "suanli/data/sampler.h"

#include <algorithm>
#include <bit>

#include "suanli/base/philox.h"

namespace suanli::data {
namespace {

constexpr int kRounds = 8;
// A Feistel network on very few bits reaches only some of the permutations; 8 bits reach enough,
// and walking from 256 down to a small size costs microseconds.
constexpr int kMinHalfBits = 4;

}  // namespace

Permutation::Permutation(std::uint64_t size, std::uint64_t seed, std::uint64_t epoch)
    : size_(size), seed_(seed), epoch_(epoch) {
  SUANLI_CHECK(size >= 1 && size <= std::uint64_t{1} << 62);
  half_bits_ = std::max(kMinHalfBits, (static_cast<int>(std::bit_width(size - 1)) + 1) / 2);
}

std::uint64_t Permutation::operator()(std::uint64_t position) const {
  SUANLI_CHECK(position < size_);
  do {
    position = encrypt(position);
  } while (position >= size_);
  return position;
}

std::uint64_t Permutation::encrypt(std::uint64_t value) const {
  const Philox random(seed_, Stream::shuffle, epoch_);
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  std::uint64_t left = value >> half_bits_, right = value & mask;
  for (std::uint64_t round = 0; round < kRounds; ++round) {
    // Halves have at most 31 bits, so round and half do not meet in the index.
    const std::uint64_t mixed = left ^ (random.bits(round << 32 | right) & mask);
    left = right;
    right = mixed;
  }
  return left << half_bits_ | right;
}

Result<Sampler> Sampler::create(std::uint64_t windows, std::uint64_t samples_per_step,
                                std::uint64_t seed) {
  SUANLI_CHECK(samples_per_step >= 1);
  if (windows == 0) {
    return fail(ErrorCode::empty,
                "there are 0 windows to draw from: the context is longer than every shard",
                "sampler", "shorten the context or load more text");
  }
  return Sampler(windows, samples_per_step, seed);
}

std::uint64_t Sampler::position(std::uint64_t step, std::uint64_t index) const {
  SUANLI_CHECK(index < samples_per_step_);
  std::uint64_t position = 0;
  SUANLI_CHECK(!__builtin_mul_overflow(step, samples_per_step_, &position));
  SUANLI_CHECK(!__builtin_add_overflow(position, index, &position));
  return position;
}

WindowId Sampler::at(std::uint64_t step, std::uint64_t index) const {
  return Permutation(windows_, seed_, epoch(step, index))(position(step, index) % windows_);
}

std::uint64_t Sampler::epoch(std::uint64_t step, std::uint64_t index) const {
  return position(step, index) / windows_;
}

}  // namespace suanli::data
