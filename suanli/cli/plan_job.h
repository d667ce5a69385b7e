// The plan of a job: its very programs, compiled as training would, on what it is to run on.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "suanli/cli/plan_target.h"
#include "suanli/engine/program.h"
#include "suanli/graph/graph.h"
#include "suanli/plan/job_plan.h"
#include "suanli/train/job.h"
#include "suanli/train/memory.h"

namespace suanli::cli {

// A settled job, and what its dataset says.
struct SettledJob {
  train::JobConfig job;
  bool evaluates = true;                           // as far as is known
  std::optional<std::int64_t> validation_windows;  // unknown without the dataset
  Bytes dataset;                                   // 0: unknown
};
// A job file, or the folder of a run. What "auto" arithmetic means is decided by where it is to run. A job may be planned before
// its dataset is there, if need be with the vocabulary of bytes, which is told on stderr.
Result<train::JobConfig> load_job_or_run(const std::string& path, const std::vector<std::string>& sets);
Result<SettledJob> settle_for(train::JobConfig job, engine::Arithmetic usual);

struct CompiledJob {
  SettledJob settled;
  graph::Graph graph;
  train::TrainingPlan plan;
  std::optional<engine::Program> evaluation, sample;

  plan::JobPrograms programs() const;
  bool fits(Bytes limit) const { return limit == Bytes(0) || plan.total() <= limit; }
};
// The program that keeps `limit` (0: none) if one does, else the smallest.
Result<CompiledJob> compile_job(SettledJob settled, Bytes limit);

// The members on which the job fits, with the one program that fits on all of them; if it fits on none, the program for the one
// with the most memory, and that one alone.
struct PlacedJob {
  CompiledJob compiled;
  std::vector<plan::FleetMember> members;
  train::MemoryLimit limit;
  bool fits = true;
  std::vector<Error> warnings;
};
Result<PlacedJob> place_job(const SettledJob& settled, const PlanTarget& target);

// The figures that do not depend on where it runs. Compiles the program with all kept and with all recomputed, to say what
// recomputing saves.
Result<plan::JobWork> work_of(const CompiledJob& compiled);

}  // namespace suanli::cli
