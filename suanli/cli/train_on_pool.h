// `suanli train JOB --on NAME`: hands a job to the coordinator of a pool on this machine, and follows it.
#pragma once

#include <functional>
#include <string>

#include "suanli/cli/output.h"
#include "suanli/train/trainer.h"

namespace suanli::cli {

struct PoolRun {
  std::string pool;  // name or folder
  // What happens to the job, as a line; null: nobody wants to know.
  std::function<void(const std::string&)> on_event;
};

// The job as a process elsewhere on this machine reads it: with absolute paths.
train::JobConfig with_absolute_paths(train::JobConfig job);

struct Submitted {
  std::string job, run;
  std::int64_t metrics_from = 0;  // bytes of earlier sessions in the metrics file
};
Result<Submitted> submit_to_pool(const train::JobConfig& job, const std::string& pool, bool resume);

// Submits the job and shows it to options.observer until it is over; when stopped, cancels it and waits until its state is saved.
// Errors: as of train::train; what the job failed with; unreachable (the coordinator ended).
Result<train::TrainReport> train_on_pool(const train::JobConfig& job, const PoolRun& pool, const train::TrainOptions& options);

}  // namespace suanli::cli
