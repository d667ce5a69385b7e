// How a validation of the planner is shown.
#pragma once

#include <string>

#include "suanli/cli/chart.h"
#include "suanli/cli/output.h"
#include "suanli/plan/validation.h"

namespace suanli::cli {

// The rows, what was left out and why, and the summary; with `why` also the constants and what was assumed of each row.
std::string validation_text(const plan::Validation& validation, bool why);
// The fields of record "plan validate" up to "svg".
Json validation_json(const std::string& file, const plan::Validation& validation);
// Predicted over published, both axes logarithmic, a series for each kind of quantity.
Chart validation_chart(const plan::Validation& validation);

}  // namespace suanli::cli
