// What to do about a job that does not fit: changes that make it fit, each proven by compiling it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/cli/plan_job.h"

namespace suanli::cli {

struct WayToFit {
  std::string what;                // "smaller micro-batches, more of them"
  std::vector<std::string> sets;   // "train.batch=2"
  std::string on;                  // another machine instead: its name; empty: the same
  Bytes memory;                    // of the changed job
  double time_ratio = 1;           // to train on the same tokens, over the job's own time
  bool changes_model = false;      // another model is trained
  std::int64_t parameters = 0;     // of the model
};

struct FitQuestion {
  const SettledJob& settled;
  const PlanTarget& target;
  plan::FleetMember member;        // that has the most memory
  Bytes limit;                     // of it
};

// Three: those that train the same model first, by time; then those that keep most of it. Fewer only if there are no
// more.
Result<std::vector<WayToFit>> ways_to_fit(const FitQuestion& question);

// "--set train.batch=2 --set train.micro_batches=4 (11.2 GiB, 3 % longer)".
std::string text_of(const WayToFit& way);
// Error no_memory: by how much `compiled` does not fit, and the ways.
Error does_not_fit(const CompiledJob& compiled, const train::MemoryLimit& limit, const std::vector<WayToFit>& ways);

}  // namespace suanli::cli
