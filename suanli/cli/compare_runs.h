// The rate of exchange between two runs on the same data: what each spent to reach the same validation loss. One number does
// not exist, so the ratio is given at several losses, in operations, seconds and tokens.
#pragma once

#include <string>

#include "suanli/base/error.h"
#include "suanli/cli/verb.h"

namespace suanli::cli {

struct CompareRunsOptions {
  std::string run1, run2;  // folders of runs, which may be in training
  bool json = false;
  bool why = false;        // say how the figures come about
  std::string plot;        // also write validation loss over operations as SVG; empty: no picture
};

// Errors: usage (the same run twice); not_found, foreign, empty (a folder that is no run, a run without an evaluation); mismatch
// (no loss that both reached).
Result<int> compare_runs(const CompareRunsOptions& options, const Context& context);

}  // namespace suanli::cli
