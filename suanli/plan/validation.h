// Predictions beside published runs: how far the planner is off, row by row, and what may be believed of its intervals.
//
// Rows of a publication that the constants were fitted over are predicted with constants that were fitted without it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "suanli/plan/accelerators.h"
#include "suanli/plan/interval.h"
#include "suanli/plan/published_runs.h"
#include "suanli/plan/step_constants.h"

namespace suanli::plan {

enum class Level : std::uint8_t { step, run, memory, flops };
const char* name_of(Level level);

struct ValidatedRow {
  PublishedRun run;
  Level level = Level::step;
  Interval predicted;                // in the row's unit
  double error = 0;                  // predicted over published, less 1
  bool is_within = false;            // the published value lies in the interval; step and run only
  bool leaves_source_out = false;    // predicted with constants fitted without its publication
  std::vector<std::string> assumed;  // of its setup
};

struct LeftOutRow {
  PublishedRun run;
  std::string reason;
};

struct ErrorSummary {
  std::string quantity;
  std::size_t rows = 0;
  double median = 0, p90 = 0;        // of absolute errors
};

struct Coverage {
  std::size_t within = 0, rows = 0;
  double share() const { return rows == 0 ? 0 : static_cast<double>(within) / static_cast<double>(rows); }
};

struct Validation {
  std::vector<ValidatedRow> rows;          // in the order of the file
  std::vector<LeftOutRow> left_out;
  std::vector<ErrorSummary> quantities;    // one for each, in order of appearance
  ErrorSummary step;                       // all of level step
  ErrorSummary step_in_sample;             // the same with the constants in use, nothing left out
  ErrorSummary mfu_from_throughput;        // 6 N + 12 L h s: published throughput into MFU, where a run has published both
  Coverage step_coverage, run_coverage;
  Coverage measured_run_coverage;          // without rows whose note begins with "projection": no whole run was measured there
  StepConstants constants;                 // in use
  Interval step_spread;                    // of true over expected step time: 10th percentile, median, 90th
  Interval run_factor;                     // of whole runs over their steady steps, weighted, over these rows
};

// `place` names the rows in errors. Errors: usage (a device that is not known and has no peak, a layout that does not divide).
Result<Validation> validate(const std::vector<PublishedRun>& runs, const AcceleratorTable& table, const std::string& place);

// What the built-in rows say with nothing left out: the constants, and of whole runs over their steady steps the 10th percentile,
// the median and the 90th. The tables in step_constants.cc and whole_run.cc hold these values.
struct Refit {
  StepConstants constants;
  Interval run_factor;
};
Result<Refit> refit();

}  // namespace suanli::plan
