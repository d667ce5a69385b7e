// Choosing the next token from logits. A pure function of logits, options and (seed, position): any
// worker gives the same token.
#pragma once

#include <cstdint>
#include <span>

#include "suanli/base/error.h"

namespace suanli::model {

struct SamplingOptions {
  double temperature = 0.8;  // 0: the most likely token
  std::int64_t top_k = 0;    // keep the k most likely; 0: all
  double top_p = 1.0;  // keep the least set with this probability (Holtzman et al., 2020); 1: all
  std::uint64_t seed = 0;

  Status check() const;  // error usage, naming the option and its value
};

// logits [V], finite; position counts generated tokens. Ties go to the lower token.
std::int32_t sample_token(std::span<const float> logits, const SamplingOptions& options,
                          std::int64_t position);

}  // namespace suanli::model
