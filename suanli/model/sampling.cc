#include "suanli/model/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "suanli/base/philox.h"
#include "suanli/base/text.h"

namespace suanli::model {

Status SamplingOptions::check() const {
  if (!(temperature >= 0 && temperature <= 100))
    return fail(ErrorCode::usage, format("%g is not between 0 and 100", temperature),
                "--temperature", "0.8 is a usual value; 0 takes the most likely token");
  if (top_k < 0)
    return fail(ErrorCode::usage, std::to_string(top_k) + " is below 0", "--top-k",
                "0 keeps all tokens");
  if (!(top_p > 0 && top_p <= 1))
    return fail(ErrorCode::usage, format("%g is not in (0, 1]", top_p), "--top-p",
                "1 keeps all tokens");
  return {};
}

std::int32_t sample_token(std::span<const float> logits, const SamplingOptions& options,
                          std::int64_t position) {
  SUANLI_CHECK(!logits.empty());
  std::vector<std::int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int32_t a, std::int32_t b) { return logits[a] > logits[b]; });
  if (options.temperature == 0) return order.front();

  std::size_t kept = order.size();
  if (options.top_k > 0) kept = std::min(kept, static_cast<std::size_t>(options.top_k));
  std::vector<double> weight(kept);
  double total = 0;
  for (std::size_t i = 0; i < kept; ++i)
    total += weight[i] =
        std::exp((static_cast<double>(logits[order[i]]) - logits[order[0]]) / options.temperature);
  if (options.top_p < 1) {
    double mass = 0;
    std::size_t i = 0;
    while (i < kept && mass < options.top_p * total) mass += weight[i++];
    kept = std::max<std::size_t>(i, 1);
    total = mass;
  }
  const double uniform =
      Philox(options.seed, Stream::sampling).uniform(static_cast<std::uint64_t>(position));
  double left = uniform * total;
  for (std::size_t i = 0; i + 1 < kept; ++i) {
    left -= weight[i];
    if (left < 0) return order[i];
  }
  return order[kept - 1];
}

}  // namespace suanli::model
