#include "suanli/pool/state_dates.h"

#include <algorithm>
#include <numeric>
#include <string>

namespace suanli::pool {

StateDates StateDates::of(const train::JobConfig& job, bool can_evaluate) {
  StateDates dates;
  dates.last_step = job.train.steps;
  dates.evaluation = can_evaluate ? job.eval.every : 0;
  dates.snapshot = job.checkpoint.every;
  dates.sample = job.sample.every;
  dates.digest = job.train.dtype == "exact" ? job.checkpoint.digest_every : 0;
  return dates;
}

std::int64_t StateDates::every() const {
  std::int64_t common = std::gcd(on_the_way(evaluation), on_the_way(snapshot));  // of 0 and a number: the number
  for (const std::int64_t period : {on_the_way(sample), on_the_way(digest)}) {
    const std::int64_t both = std::gcd(common, period);
    if (period > 0 && (both == period || both == common)) common = both;
  }
  return common;
}

std::optional<Error> StateDates::waste() const {
  if (on_the_way(evaluation) == 0 || on_the_way(snapshot) == 0) return std::nullopt;
  const std::int64_t common = std::gcd(evaluation, snapshot);
  if (common == std::min(evaluation, snapshot)) return std::nullopt;
  const auto text = [](std::int64_t number) { return std::to_string(number); };
  return Error{ErrorCode::config,
               "workers hand over their state every " + text(common) + " steps, more often than anything is done with it: " +
                   text(evaluation) + " and " + text(snapshot) + " have no larger common divisor",
               "eval.every, checkpoint.every", "make one of the two a multiple of the other"};
}

}  // namespace suanli::pool
