// A published figure out of a predicted step.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "suanli/plan/published_runs.h"
#include "suanli/plan/settle.h"
#include "suanli/plan/validation.h"

namespace suanli::plan {

// What `quantity` is about; none: a planner predicts no such thing.
std::optional<Level> level_of(std::string_view quantity);
// A rate falls where time grows.
bool is_rate(std::string_view quantity);

// Why the row says nothing about a planner, by its own column or by what is known of such rows; empty: it does.
std::string why_left_out(const PublishedRun& run);

// The figure of `run` in its unit if a step of `settled` takes `seconds`; for level run if nothing but steady steps happened.
Result<double> figure_of(const PublishedRun& run, const SettledSetup& settled, double seconds);

// MFU, a fraction, by 6 N + 12 L h s out of published tokens a second or the step time. None if the row does not say enough.
std::optional<double> mfu_of_throughput(const PublishedRun& throughput);
// A fraction in the unit of `run`: percent, or as it is.
double in_unit_of(const PublishedRun& run, double fraction);

}  // namespace suanli::plan
