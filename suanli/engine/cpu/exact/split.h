// A row of a block as integers: x = v / 2^exponent, rounded, and v = 128 h + l (docs/formats/exact-arithmetic.md, section 1).
#pragma once

#include <cstdint>

namespace suanli::engine::exact {

inline constexpr std::int32_t kLargest = 16319;        // |v|: 127 * 128 + 63
inline constexpr std::int64_t kLongestBlock = 512;     // along K; sums of products of digits then fit int32

// An exponent that no row of numbers has (theirs lie in [-115, 162]): the row holds an infinity or what is not a number.
inline constexpr int kPoisoned = 1 << 20;

// The exponent e of s = 2^e for a row whose largest |x| has these bits (sign clear), or kPoisoned; 0 for zero.
int exponent_of(std::uint32_t largest_bits);

// The largest |x| of a row, as bits: those of an infinity or of what is not a number are the largest of all.
std::uint32_t largest_bits(const float* x, std::int64_t n);

// v[i] = RNE(x[i] 2^exponent), all 0 if it is kPoisoned. `exponent` must be exponent_of the row's largest bits, or less.
void scale_to_integers(const float* x, std::int64_t n, int exponent, std::int16_t* v);

// The digits of v: -64 <= low <= 63, |high| <= 127.
constexpr std::int32_t high_digit(std::int32_t v) { return (v + 64) >> 7; }
constexpr std::int32_t low_digit(std::int32_t v) { return v - high_digit(v) * 128; }

// Plain definitions of the two functions above, that they are held to.
std::uint32_t largest_bits_reference(const float* x, std::int64_t n);
void scale_to_integers_reference(const float* x, std::int64_t n, int exponent, std::int16_t* v);

}  // namespace suanli::engine::exact
