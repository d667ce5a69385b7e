// What two runs spent to reach the same validation loss, from their records.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/base/units.h"
#include "suanli/train/run_records.h"

namespace suanli::cli {

// Of the steps that count: training alone, each step once. Evaluations, snapshots and what was done again after a kill are left
// out, so that the figures do not depend on how often a run was looked at or disturbed.
struct CostToQuality {
  double step = 0;
  Flops operations;
  Seconds seconds;
  double tokens = 0;
  std::optional<Joules> joules;  // of everything until then, if the machine counted them
};

struct QualityPoint {
  double loss = 0;
  CostToQuality cost;
};
// One point for each evaluation, in order of steps. Steps whose lines are lost are taken to be as long as the others.
std::vector<QualityPoint> quality_points(const train::RunRecords& records);

// When a run first reached this loss, linear between the evaluations around it; nothing if it never did, or had before its first
// evaluation (then nobody knows when).
std::optional<CostToQuality> cost_to_loss(const std::vector<QualityPoint>& points, double loss);

struct ExchangeLevel {
  double loss = 0;
  bool is_best = false;  // the best loss that both reached
  CostToQuality first, second;
};
// At round losses that both runs passed, falling, and at the best that both reached. Error mismatch if there is no such loss.
Result<std::vector<ExchangeLevel>> exchange_levels(const std::vector<QualityPoint>& first,
                                                   const std::vector<QualityPoint>& second);

}  // namespace suanli::cli
