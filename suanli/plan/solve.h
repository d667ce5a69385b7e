// Inverse questions about a large run: any one of parameters, tokens, devices, days and money from the others, or the split of a
// computing budget between parameters and tokens that is best (Hoffmann et al., "Chinchilla", 2022).
//
// Each answer comes from the forward model of run_model.h, searched by bisection for each end of each assumption, so that it and
// `plan_large_run` agree.
#pragma once

#include <optional>

#include "suanli/plan/large_run.h"

namespace suanli::plan {

enum class Unknown : std::uint8_t { parameters, tokens, devices, days, money, split };
const char* name_of(Unknown unknown);

struct SolveQuestion {
  Unknown unknown = Unknown::parameters;
  LargeRun run;                        // model.parameters, tokens and cluster.devices are 0 where not given
  std::optional<double> days;          // from first to last step
  std::optional<double> money;         // USD for the run
  std::optional<double> flops;         // of the run, for `split`
  std::optional<double> tokens_per_parameter;  // of a split
};

// Errors: usage: what is missing, what is too much, what has no solution.
Result<Report> solve(const SolveQuestion& question);

}  // namespace suanli::plan
