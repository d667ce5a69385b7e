// Softmax cross-entropy on pieces of logits that are never stored whole (kernels/vocabulary_loss.cc): sums that run over the
// vocabulary piece by piece (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018), and the gradient of
// a piece. Pieces are transposed, a column per row of the batch, so that a vector works on as many rows as it has lanes and
// no sum runs across lanes.
#pragma once

#include <cstdint>

namespace suanli::engine {

inline constexpr std::int32_t kIgnoredTarget = -1;

// logits[v][n] = data[v * stride + n] of vocabulary entries first_entry + v and of `rows` rows n.
struct LogitsPiece {
  float* data;
  std::int64_t stride;
  std::int64_t first_entry, entries;
  std::int64_t rows;
};

// Of each row n, over the entries seen: top[n] the largest logit, sum[n] = sum_v e^(logits_nv - top[n]).
struct RunningSums {
  float* top;
  float* sum;
};

// Nothing seen.
void clear_sums(const RunningSums& sums, std::int64_t rows);
// Adds the entries of a piece; if the target of a row is among them, its logit goes to target_logits[n].
void add_logits(const LogitsPiece& piece, const std::int32_t* targets, const RunningSums& sums, float* target_logits);
// sums += part.
void add_sums(const RunningSums& part, const RunningSums& sums, std::int64_t rows);
// Of rows whose entries were all seen: L = top + ln(sum), and the loss: L - target_logits, 0 for an ignored target, NaN for
// others outside [0, vocabulary). `log_sum_exp` may be null.
void finish_sums(const RunningSums& sums, const std::int32_t* targets, const float* target_logits, std::int64_t vocabulary,
                 std::int64_t rows, float* losses, float* log_sum_exp);

// What multiplies the gradient of each row: dlosses[n], 0 for an ignored target, NaN for others outside [0, vocabulary).
void row_factors(const std::int32_t* targets, const float* dlosses, std::int64_t vocabulary, std::int64_t rows, float* factors);
// logits -> (e^(logits - L) - [v = target]) factor, in place; all 0 where the factor is 0.
void logits_gradient(const LogitsPiece& piece, const std::int32_t* targets, const float* log_sum_exp, const float* factors);

}  // namespace suanli::engine
