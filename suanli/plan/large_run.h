// A large training run by closed forms: a decoder-only transformer on accelerators whose profile nobody measured. Time, memory,
// communication, faults, energy and money, each with its interval.
//
//   LargeRun run;
//   run.model.parameters = 405e9;
//   run.tokens = 15.6e12;
//   run.cluster = {.device = table.find("H100").value(), .devices = 16'384};
//   SUANLI_ASSIGN_OR_RETURN(const LargePlan plan, plan_large_run(run));
//
// Three steps: what is not given is settled (large_run_setup.h), assumptions are gathered, and one forward model computes every
// figure from them (run_model.h), which inverse questions use too (solve.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "suanli/base/error.h"
#include "suanli/base/units.h"
#include "suanli/plan/cluster.h"
#include "suanli/plan/report.h"
#include "suanli/plan/step_time.h"
#include "suanli/plan/transformer.h"

namespace suanli::plan {

// Zero, empty or none: not given, so it is chosen or assumed.
struct LargeRun {
  Transformer model;
  double tokens = 0;
  ClusterSetup cluster;

  int tensor = 0, pipeline = 0, data = 0;  // parallel degrees
  int interleave = 0;                      // virtual pipeline stages of a device
  std::optional<int> shard;                // as Layout::shard
  std::optional<bool> sequence_parallel;
  double global_batch = 0;                 // sequences per step
  std::int64_t micro_batch = 0;            // sequences per pass and replica
  std::optional<Recomputation> recomputation;
  bool flash = true;
  Stack stack = Stack::unknown;

  std::optional<double> mfu;               // of the dense peak of cluster.dtype
  bool counts_attention = true;            // else 6 N alone, as rough estimates do
  bool counts_faults = true;               // else nothing ever interrupts the run
  std::optional<Seconds> mean_time_between_faults;
  std::string fault_preset = "typical";
  std::optional<double> price_per_hour;    // USD for one device
};

struct LargePlan {
  Report report;
  TrainingSetup setup;  // what was settled
};

// Errors: usage (impossible or contradictory input), no_memory (it does not fit: by how much, and the three cheapest ways to make
// it fit).
Result<LargePlan> plan_large_run(const LargeRun& run);

}  // namespace suanli::plan
