// What the lines of a run's metrics.jsonl tell, for those who judge a run: sessions, steps, evaluations, and what all of it cost.
// Reads what older versions wrote, and takes what it can of a file that is torn or still being written.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/train/metrics.h"

namespace suanli::train {

// One life of the trainer.
struct SessionRecord {
  std::int64_t first_step = 0;      // steps done before it
  std::int64_t steps = 0;           // the whole run was to have
  std::int64_t parameters = 0;
  Flops step_flops;                 // 0 where not known, as all below
  Tokens step_tokens;
  std::string dtype;
  int threads = 0;
  Bytes memory;                     // of the plan
  FlopsPerSecond peak;              // that MFU is a fraction of
  std::string mfu_base;
  Seconds setup;
  Bytes resident_before;            // memory of the process before it read the job
  std::optional<WorkByPart> work;   // of one run of each part
  std::string outcome;              // empty: it was killed, or is at work
};

struct StepTimeRecord {
  std::int64_t step = 0;
  std::optional<double> loss, grad_norm;
  Tokens tokens;
  Seconds seconds;      // less evaluation and checkpoint; 0 where not known
  Flops flops_total;    // the same
  Joules joules_total;  // the same
};

struct ValidLossRecord {
  std::int64_t step = 0;
  double loss = 0;
};

struct RunRecords {
  std::vector<SessionRecord> sessions;
  std::vector<StepTimeRecord> steps;    // ascending
  std::vector<ValidLossRecord> evals;   // ascending
  std::vector<DigestRecord> digests;    // ascending
  EarlierSpent spent;                   // by the line that tells of most operations
  std::int64_t warnings = 0;
  std::int64_t damaged = 0;             // lines that could not be read

  std::int64_t last_step() const;
  // The newest session that states them; null if none does.
  const WorkByPart* work() const;
};

// Errors: empty (no line at all), foreign (no line is a metric).
Result<RunRecords> parse_run_records(std::string_view text, const std::string& place);
// Of a run folder. Not there: not_found.
Result<RunRecords> read_run_records(const std::string& run_folder);

// The operations of a run by op, as far as its lines name them; the rest is `unnamed`: of sessions of older versions.
struct WorkByOp {
  std::map<std::string, Flops, std::less<>> by_op;
  Flops unnamed;
};
WorkByOp work_by_op(const RunRecords& records);

}  // namespace suanli::train
