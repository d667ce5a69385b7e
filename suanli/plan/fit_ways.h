// When a run does not fit its devices: by how much, and the cheapest ways to make it fit, each checked by the same forms.
#pragma once

#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/plan/large_run.h"
#include "suanli/plan/large_run_setup.h"

namespace suanli::plan {

struct WayToFit {
  std::string text;    // "--recompute full: 1.33 times the step time"
  double cost = 0;     // device-seconds of a token at equal peak, over those of the run as asked; larger is dearer
  bool changes_model = false;
  LargeRun run;        // the run so changed: it fits
};

// At most three, cheapest first, each of another kind; what changes the model comes last.
std::vector<WayToFit> ways_to_fit(const LargeRun& run, const std::vector<LaidOutRun>& candidates);

// Error no_memory, of the candidate that comes nearest.
tl::unexpected<Error> does_not_fit(const LargeRun& run, const std::vector<LaidOutRun>& candidates);

}  // namespace suanli::plan
