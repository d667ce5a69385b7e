// Token sums of exact arithmetic: what the tokens of a step add up to, kept as whole numbers of a unit 2^E, so that neither
// the order of micro-batches nor the number of workers shows (docs/formats/exact-arithmetic.md, section 7). A micro-batch
// with the term c contributes q = RNE(c 2^-E), |q| < 2^42, to an int64; with at most 2^20 micro-batches a step that cannot
// overflow. E belongs to the sum, is state of the job, and follows the sum's size from step to step.
//
// Every function gives the same bits on every instruction set, and may be called by several threads on disjoint ranges.
#pragma once

#include <cstdint>
#include <limits>

namespace suanli::engine::exact {

// The E of a sum before its first micro-batch. Nothing is added then: what comes is only looked at.
inline constexpr std::int32_t kNoExponent = std::numeric_limits<std::int32_t>::min();
// The E of a sum whose first terms are all zeros: terms below 4 fit, down to 2^-40.
inline constexpr std::int32_t kExponentOfZeros = -40;
// By how much E rises while a term does not fit.
inline constexpr std::int32_t kExponentStep = 10;

// Adds RNE(c[i] 2^-exponent) to sums[i], for i in [0, n); with kNoExponent, nothing. The result is the largest |c[i]| as its
// bits, in whose order a NaN is above infinity: 0 for n = 0. Where fits() refuses it, the sums are worth nothing.
std::uint32_t add_terms(const float* c, std::int64_t n, std::int32_t exponent, std::int64_t* sums);

// values[i] = RNE(sums[i] 2^exponent) as f32: one rounding, subnormals kept, infinite beyond the range; +0 for a sum of 0.
// |sums[i]| <= 2^62. The result is the bitwise or of all |sums[i]|, whose highest bit is that of the largest.
std::uint64_t round_sums(const std::int64_t* sums, std::int64_t n, std::int32_t exponent, float* values);

// Of `largest`, the bits of the largest |c|: is it a number, and is |RNE(c 2^-exponent)| < 2^42?
inline bool is_finite(std::uint32_t largest) { return largest < 0x7F800000; }
bool fits(std::uint32_t largest, std::int32_t exponent);

// floor(log2 largest) - 32, or kExponentOfZeros.
std::int32_t first_exponent(std::uint32_t largest);
// The exponent raised by kExponentStep until the term fits; `largest` is finite.
std::int32_t raised_exponent(std::uint32_t largest, std::int32_t exponent);
// For the step after one whose sums have these magnitudes (round_sums): floor(log2 (max |S| 2^exponent)) - 32; as it was if
// all sums are 0.
std::int32_t next_exponent(std::uint64_t magnitudes, std::int32_t exponent);

}  // namespace suanli::engine::exact
