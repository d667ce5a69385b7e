// A whole run against its steady steps: restarts, evaluation, batches that ramp up, what else hours were billed for.
//
// The factor is that of published runs: their device hours over tokens / batch * predicted step time. Its interval holds four of
// five of them, publications weighted as in step_fit.h; what the planner errs in the step time is part of it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/base/units.h"
#include "suanli/plan/interval.h"
#include "suanli/plan/settle.h"

namespace suanli::plan {

// Of a run's time to that of its steady steps alone. With a setup that is mostly assumed the interval is wider.
Interval whole_run_factor(bool is_known);

struct WholeRun {
  Interval seconds;         // from the first step to the last
  Interval device_hours;
  StepTime step;
};
// Errors: usage (tokens that are not positive), as predict_step_time.
Result<WholeRun> predict_whole_run(const SettledSetup& settled, double tokens);

// A value with its weight in a distribution.
struct Weighted {
  double value = 0, weight = 0;
};
// The value below which `share` of the weight lies, between neighbours by straight lines. 0 if there are none.
double weighted_quantile(std::vector<Weighted> values, double share);

}  // namespace suanli::plan
