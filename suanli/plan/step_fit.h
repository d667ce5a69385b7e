// Fits the constants of the step-time model over published runs, all at once.
//
// Minimised is the sum over rows of sqrt(e^2 + 0.05^2), e the logarithm of predicted over published step time (an absolute error
// that is smooth near zero: some published runs are half as fast as their neighbours for reasons that no column holds), each
// row weighted by the inverse square root of its publication's number of rows; plus a tenth of the squared distance of each
// constant's logarithm from its prior in units of its spread. The search (Nelder and Mead, 1965) starts at the priors and draws
// nothing, so that the same data gives the same constants.
#pragma once

#include <span>
#include <string>

#include "suanli/plan/step_constants.h"
#include "suanli/plan/step_model.h"

namespace suanli::plan {

struct FitRow {
  StepInputs inputs;
  double seconds = 0;  // of a step, as published or as the published figure implies
  std::string group;   // publication
};

// Rows of `left_out` are not looked at.
StepConstants fit_constants(std::span<const FitRow> rows, const std::string& left_out = {});

}  // namespace suanli::plan
