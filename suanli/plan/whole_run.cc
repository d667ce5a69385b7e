#include "suanli/plan/whole_run.h"

#include <algorithm>

#include "suanli/base/text.h"

namespace suanli::plan {
namespace {

// Over data/published-runs.csv; a test holds it equal to what validation finds.
constexpr Interval kFactor = {0.899, 1.221, 1.585};

}  // namespace

Interval whole_run_factor(bool is_known) {
  if (is_known) return kFactor;
  const Interval known = step_time_error(true), assumed = step_time_error(false);
  return {kFactor.low * assumed.low / known.low, kFactor.expected, kFactor.high * assumed.high / known.high};
}

Result<WholeRun> predict_whole_run(const SettledSetup& settled, double tokens) {
  if (!(tokens > 0)) return fail(ErrorCode::usage, "tokens must be positive, not " + format("%g", tokens), "whole run");
  SUANLI_ASSIGN_OR_RETURN(StepTime step, predict_step_time(settled.setup));
  const double steady = tokens / step.tokens * step.step.value();
  const Interval factor = whole_run_factor(settled.is_known);
  const double hours = settled.setup.devices() / 3600;
  WholeRun run;
  run.seconds = {steady * factor.low, steady * factor.expected, steady * factor.high};
  run.device_hours = {run.seconds.low * hours, run.seconds.expected * hours, run.seconds.high * hours};
  run.step = std::move(step);
  return run;
}

double weighted_quantile(std::vector<Weighted> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end(), [](const Weighted& a, const Weighted& b) { return a.value < b.value; });
  double total = 0;
  for (const Weighted& each : values) total += each.weight;
  // Each value stands in the middle of its weight.
  double before = 0, last_at = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double at = (before + values[i].weight / 2) / total;
    if (at >= share) {
      if (i == 0) return values[i].value;
      return values[i - 1].value + (values[i].value - values[i - 1].value) * (share - last_at) / (at - last_at);
    }
    before += values[i].weight;
    last_at = at;
  }
  return values.back().value;
}

}  // namespace suanli::plan
