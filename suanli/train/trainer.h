// Training a job in its run folder, from the first step or from the newest checkpoint.
//
//   SUANLI_ASSIGN_OR_RETURN(JobConfig job, load_job("bible.toml"));
//   SUANLI_ASSIGN_OR_RETURN(TrainReport report, train(job, {.stop = &stop_flag, .observer =
//   &progress}));
//
// A run that was stopped, killed or out of budget, and is then resumed, ends with the same weights,
// bit for bit, as one that was never disturbed, on the same machine with any number of threads.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "suanli/base/clock.h"
#include "suanli/base/error.h"
#include "suanli/base/units.h"
#include "suanli/meter/ledger.h"
#include "suanli/plan/profile.h"
#include "suanli/train/evaluation.h"
#include "suanli/train/job.h"
#include "suanli/train/observer.h"

namespace suanli::train {

struct TrainOptions {
  // Continue the run in job.run.dir. Without it, a folder that holds a run is an error.
  bool resume = false;
  // Looked at after every forward and backward; then the step in flight is given up and the state
  // saved.
  StopFlag stop = nullptr;
  Observer* observer = nullptr;  // null: nobody
  // The machine's peak for MFU; 0: measured for 0.3 s before the first step, or unknown under a
  // rate cap.
  FlopsPerSecond peak{};
  Clock* clock = &real_clock();
  // Of this machine; null: none is known. A new run whose threads it was measured with then keeps a plan in its folder, which
  // takes some milliseconds.
  const plan::Profile* profile = nullptr;
};

struct TrainReport {
  Outcome outcome = Outcome::finished;
  std::string run_folder;
  std::int64_t step = 0;       // steps done, all sessions
  std::int64_t steps = 0;      // the job's
  std::optional<double> loss;  // of the last step
  std::optional<double> valid_loss, best_valid_loss;
  meter::Usage usage;  // of the run, all sessions
  std::int64_t session_steps = 0;
  Seconds session_seconds;
};

// Errors. Checkpoints written before stay loadable, and unless the error is not_finite (the state
// may be what is wrong) the state of the last completed step is saved too:
//   config      a value of the job; a cap or budget too small for it; the folder holds a run
//   already not_found, foreign, version, corrupt, empty    a file of the dataset or the run
//   mismatch    resumed with another model, dataset or fixed key (which is named)
//   busy        another trainer works in the folder
//   no_memory, no_space, io
//   not_finite  a NaN or infinity: names step and first bad tensor
Result<TrainReport> train(const JobConfig& job, const TrainOptions& options = {});

}  // namespace suanli::train
