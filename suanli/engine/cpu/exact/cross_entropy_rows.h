// The row by row parts of exact cross-entropy, on one thread; vectors chosen for the CPU at run time, with the same bits for any
// of them. What they compute: docs/formats/exact-arithmetic.md, section 6.
#pragma once

#include <cstdint>
#include <limits>

namespace suanli::engine::exact {

// Logits of a chunk: the length of the pieces in which a row's exponentials are summed, and of the blocks of products over the
// vocabulary.
inline constexpr std::int64_t kVocabularyChunk = 512;
inline constexpr std::int64_t vocabulary_chunks(std::int64_t vocabulary) {
  return (vocabulary + kVocabularyChunk - 1) / kVocabularyChunk;
}

inline constexpr std::int32_t kIgnoredTarget = -1;
inline constexpr float kNotANumber = std::numeric_limits<float>::quiet_NaN();  // 0x7FC00000

// Of the logits x [n] of one chunk, n >= 1: m_c and a_c.
void chunk_sum(const float* x, std::int64_t n, float* top, float* sum);

// m and b = log(a) of a row from m_c and a_c of its chunks; `sums` is overwritten.
struct RowSum {
  float top;
  float log_sum;
  float total() const;                   // L
  float loss(float target_logit) const;  // of a target in range
};
RowSum join_chunks(const float* tops, float* sums, std::int64_t chunks);

// to_v = exp(x_v - total) factor; may be in place.
void probability_row(const float* x, std::int64_t n, float total, float factor, float* to);
// The same for the target: (exp(x - total) - 1) factor.
float target_gradient(float x, float total, float factor);

// to_c = x_c factor.
void scaled_row(const float* x, float factor, std::int64_t n, float* to);
// x_c = x_c - y_c, then, times factor.
void subtract_row(float* x, const float* y, std::int64_t n);
void subtract_and_scale_row(float* x, const float* y, float factor, std::int64_t n);

}  // namespace suanli::engine::exact
