// Philox4x32-10, a counter-based random generator: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy
// as 1, 2, 3", SC 2011. A value is a pure function of (seed, stream, step, index), so any worker can compute any of
// them in any order.
#pragma once

#include <array>
#include <cstdint>

namespace suanli {

// One block: four 32-bit words from a 128-bit counter and a 64-bit key.
std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                        std::array<std::uint32_t, 2> key);

// What a stream of random numbers is for; part of the key, so streams never overlap. Values are stable.
enum class Stream : std::uint32_t { init = 1, shuffle = 2, sampling = 3, dropout = 4, test = 5, fuzz = 6, codec = 7 };

class Philox {
 public:
  Philox(std::uint64_t seed, Stream stream, std::uint64_t step = 0)
      : seed_(seed), stream_(stream), step_(step) {}

  // 64 random bits for `index`.
  std::uint64_t bits(std::uint64_t index) const;
  // Uniform in [0, 1), a multiple of 2^-53.
  double uniform(std::uint64_t index) const;
  // Standard normal: box_muller() of one block's 53-bit fractions.
  double normal(std::uint64_t index) const;
  // Uniform in [0, bound), bound >= 1, without bias (multiply-shift with rejection inside the index's own sub-stream).
  std::uint64_t below(std::uint64_t bound, std::uint64_t index) const;

  // For code that computes many blocks at once. Counter = (index low, index high, attempt, step low), attempt 0 except in
  // below(); key = seed mixed with stream and step high.
  std::array<std::uint32_t, 2> key() const;
  std::uint32_t step_low() const { return static_cast<std::uint32_t>(step_); }

 private:
  std::array<std::uint32_t, 4> block(std::uint64_t index, std::uint32_t attempt) const;
  std::uint64_t seed_;
  Stream stream_;
  std::uint64_t step_;
};

}  // namespace suanli
