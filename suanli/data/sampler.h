// Which window each sample of each step uses: a pure function of (seed, step, index), so any worker
// can say it without having seen the steps before.
//
// Position p = step * samples_per_step + index lies in epoch p / N, where N is the number of
// windows. Within an epoch the order is a keyed bijection of [0, N): a Feistel network over the
// smallest suitable square domain, walked until it lands below N (Black and Rogaway, "Ciphers with
// arbitrary finite domains", CT-RSA 2002). So no window comes twice in an epoch, every epoch has
// another order, and no list is kept. A step that spans two epochs may hold a window twice.
#pragma once

#include <cstdint>

#include "suanli/base/error.h"
#include "suanli/data/dataset.h"

namespace suanli::data {

// The bijection of [0, size) that (seed, epoch) names. Any thread.
class Permutation {
 public:
  // `size` is 1 to 2^62.
  Permutation(std::uint64_t size, std::uint64_t seed, std::uint64_t epoch);
  // `position` is below size.
  std::uint64_t operator()(std::uint64_t position) const;

 private:
  std::uint64_t encrypt(std::uint64_t value) const;
  std::uint64_t size_, seed_, epoch_;
  int half_bits_;  // the domain is [0, 2^(2 * half_bits_))
};

// Any thread.
class Sampler {
 public:
  // No windows is an error (empty). `samples_per_step` is at least 1.
  static Result<Sampler> create(std::uint64_t windows, std::uint64_t samples_per_step,
                                std::uint64_t seed);

  std::uint64_t windows() const { return windows_; }
  // The window of sample `index` (below samples_per_step) of `step`.
  WindowId at(std::uint64_t step, std::uint64_t index) const;
  // How often all windows have been used before this sample.
  std::uint64_t epoch(std::uint64_t step, std::uint64_t index) const;

 private:
  Sampler(std::uint64_t windows, std::uint64_t samples_per_step, std::uint64_t seed)
      : windows_(windows), samples_per_step_(samples_per_step), seed_(seed) {}
  std::uint64_t position(std::uint64_t step, std::uint64_t index) const;
  std::uint64_t windows_, samples_per_step_, seed_;
};

}  // namespace suanli::data
