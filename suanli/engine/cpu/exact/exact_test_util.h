// For tests of exact kernels: a slow oracle that shares no code with them, nasty inputs, and every instruction set in turn.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "suanli/base/philox.h"
#include "suanli/engine/cpu/exact/isa.h"
#include "suanli/engine/cpu/op_test_util.h"

namespace suanli::engine::exact {

// Calls body(isa) under each limit that this CPU reaches.
template <typename Body>
void for_each_isa(const Body& body) {
  for (const Isa isa : kAllIsas) {
    set_isa_limit(isa);
    if (best_isa() == isa) body(isa);
  }
  clear_isa_limit();
}

// What the op gives, which must be the same on every instruction set and on 1 to 4 threads.
inline std::vector<TestBytes> run_everywhere(const KernelSpec& spec, const std::vector<TestBytes>& inputs) {
  std::vector<TestBytes> first;
  for_each_isa([&](Isa isa) {
    const auto kernel = kernel_for(spec);
    ASSERT_NE(kernel, nullptr);
    for (const int threads : {1, 2, 3, 4}) {
      const auto got = run_op(*kernel, spec, inputs, {.threads = threads});
      if (first.empty()) first = got;
      EXPECT_EQ(got, first) << name_of(isa) << ", " << threads << " threads";
    }
  });
  return first;
}

// The definition (docs/formats/exact-arithmetic.md, section 1) word for word, in double and 64-bit integers.
struct OracleBlock {
  bool poisoned = false;
  int exponent = 0;
  std::vector<std::int64_t> v;
};
inline OracleBlock oracle_split(const std::vector<float>& x) {
  OracleBlock block{.poisoned = false, .exponent = 0, .v = std::vector<std::int64_t>(x.size())};
  double largest = 0;
  for (const float value : x) {
    if (!std::isfinite(value)) block.poisoned = true;
    largest = std::max(largest, std::fabs(double{value}));
  }
  if (block.poisoned || largest == 0) return block;
  block.exponent = 200;
  while (std::nearbyint(std::ldexp(largest, block.exponent)) > 16319) --block.exponent;
  for (std::size_t i = 0; i < x.size(); ++i)
    block.v[i] = static_cast<std::int64_t>(std::nearbyint(std::ldexp(double{x[i]}, block.exponent)));
  return block;
}

inline float oracle_value(const OracleBlock& a, const OracleBlock& b, int terms) {
  std::int64_t t = 0;
  for (std::size_t k = 0; k < a.v.size(); ++k) {
    const auto low = [](std::int64_t v) { return (((v + 64) % 128) + 128) % 128 - 64; };
    const std::int64_t al = low(a.v[k]), bl = low(b.v[k]);
    const std::int64_t ah = (a.v[k] - al) / 128, bh = (b.v[k] - bl) / 128;
      t += ah * bh * 16384 + (ah * bl + al * bh) * 128;
    if (terms == 4) t += al * bl;
  }
  // |T| < 2^38 and the exponents are within double's: exact but for the conversion to float.
  return static_cast<float>(std::ldexp(static_cast<double>(t), -a.exponent - b.exponent));
}

// Element (i, j) of A B^T, both rows of K.
inline float oracle_dot(const std::vector<float>& a, const std::vector<float>& b, std::int64_t block, int terms) {
  float sum = 0;
  bool poisoned = false;
  for (std::size_t k = 0; k < a.size(); k += static_cast<std::size_t>(block)) {
    const auto part = [&](const std::vector<float>& x) {
      const std::size_t end = std::min(x.size(), k + static_cast<std::size_t>(block));
      return oracle_split({x.begin() + static_cast<std::ptrdiff_t>(k), x.begin() + static_cast<std::ptrdiff_t>(end)});
    };
    const OracleBlock x = part(a), y = part(b);
    poisoned = poisoned || x.poisoned || y.poisoned;
    sum += oracle_value(x, y, terms);
  }
  return poisoned || std::isnan(sum) ? std::bit_cast<float>(0x7FC00000U) : sum;
}

// Normal numbers, each rough in a way of its own by the row's index: edges of the scale, ties, subnormals, zeros of both signs,
// huge, tiny and mixed scales, infinities and NaN.
inline std::vector<float> nasty_rows(std::int64_t rows, std::int64_t k, std::uint64_t seed) {
  const Philox random(seed, Stream::test);
  std::vector<float> x(static_cast<std::size_t>(rows * k));
  std::uint64_t at = 0;
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t p = 0; p < k; ++p) {
      const double u = 2 * random.uniform(at++) - 1, pick = random.uniform(at++);
      double value = u;
      switch (r % 16) {
        case 1: value = pick < 0.1 ? 16319.5 / 16384 : u * 0.99; break;          // a tie that rounds too high
        case 2: value = pick < 0.1 ? 16319.499 / 16384 : u * 0.99; break;        // just below it
        case 3: value = pick < 0.5 ? 0.0 : -0.0; break;
        case 4: value = std::ldexp(std::floor(u * 2000), -149); break;           // subnormal
        case 5: value = (std::floor(u * 8000) + 0.5) / 8192; break;              // ties
        case 6: value = u * 3e38; break;
        case 7: value = std::ldexp(u, -120); break;
        case 8: value = std::ldexp(u, static_cast<int>(pick * 250) - 125); break;
        case 9: value = pick < 0.01 ? 1e6 : u; break;                            // spikes
        case 10: value = p == k / 2 ? -std::numeric_limits<double>::infinity() : u; break;
        case 11: value = p == k - 1 ? std::numeric_limits<double>::quiet_NaN() : u; break;
        case 12: value = p % 7 == 0 ? -1 : std::ldexp(1.0, static_cast<int>(pick * 14)) / 8192; break;
        case 13: value = p >= 512 ? std::ldexp(u, -140) : 0.0; break;            // a block of zeros, then a tiny one
        case 14: value = p == 0 ? std::ldexp(1.0, -149) : 0.0; break;
        case 15: value = u < 0 ? -3.4e38 : 3.4e38; break;
        default: break;
      }
      x[static_cast<std::size_t>(r * k + p)] = static_cast<float>(value);
    }
  return x;
}

inline std::vector<float> plain_rows(std::int64_t rows, std::int64_t k, std::uint64_t seed) {
  const Philox random(seed, Stream::test);
  std::vector<float> x(static_cast<std::size_t>(rows * k));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(2 * random.uniform(i) - 1);
  return x;
}

inline std::vector<float> transposed(const std::vector<float>& x, std::int64_t rows, std::int64_t columns) {
  std::vector<float> y(x.size());
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < columns; ++c)
      y[static_cast<std::size_t>(c * rows + r)] = x[static_cast<std::size_t>(r * columns + c)];
  return y;
}

}  // namespace suanli::engine::exact
