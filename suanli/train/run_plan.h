// What a run was to take, predicted before it began from a profile of the machine: the file plan.json of its folder
// (docs/formats/run-folder.md), which `suanli meter` holds against what it took.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/base/units.h"
#include "suanli/engine/program.h"
#include "suanli/plan/interval.h"
#include "suanli/plan/profile.h"
#include "suanli/plan/snapshot_time.h"
#include "suanli/train/job.h"
#include "suanli/train/setup.h"

namespace suanli::train {

inline constexpr int kRunPlanVersion = 2;

// Intervals are in seconds.
struct RunPlan {
  plan::Interval step;        // without what comes between steps
  plan::Interval evaluation;  // one batch; 0 without evaluations
  plan::Interval sample;      // one token; 0 without samples
  plan::SnapshotTime snapshot;
  Flops step_flops, evaluation_flops, sample_flops;  // of the same
  std::int64_t evaluation_batches = 0;               // of each evaluation
  Bytes memory;
  std::string dtype;
  int threads = 0;
  std::string profile_machine, profile_time;  // where the figures come from
  std::string made;                           // UTC, ISO 8601
  std::vector<std::string> unmeasured;        // kinds of kernels that the profile lacks
};

// Of the programs as they will run. Error usage if the profile holds nothing of the job's arithmetic.
Result<RunPlan> plan_run(const Setup& setup, const plan::Profile& profile);
// Of a settled job alone, which is compiled for it; evaluations are of `evaluation_batches` batches (0: none).
Result<RunPlan> plan_run(const JobConfig& job, std::int64_t evaluation_batches, const plan::Profile& profile);

// How often the training loop evaluates and samples in the first `steps` steps of the job (with a validation part): each `every`
// steps, and evaluates after the last of all too.
std::int64_t evaluations_until(const JobConfig& job, std::int64_t steps);
std::int64_t samples_until(const JobConfig& job, std::int64_t steps);
// Snapshots that training goes on beside: those before step `steps`. After that step comes one that is waited for.
std::int64_t snapshots_before(const JobConfig& job, std::int64_t steps);

// What the first `steps` steps of the job were to take in one session, with the evaluations, samples and snapshots between and
// after them.
struct PlannedRun {
  plan::Interval seconds;
  Flops flops;
};
PlannedRun planned_until(const RunPlan& plan, const JobConfig& job, std::int64_t steps);

std::string print_run_plan(const RunPlan& plan);
// Errors: empty, foreign, version, corrupt; `place` names the file.
Result<RunPlan> parse_run_plan(std::string_view text, const std::string& place);
Result<RunPlan> load_run_plan(const std::string& path);

}  // namespace suanli::train
