// The step loop of one session of a run. See trainer.h for what it promises.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "suanli/meter/budget.h"
#include "suanli/meter/gauges.h"
#include "suanli/meter/ledger.h"
#include "suanli/train/batch.h"
#include "suanli/train/growth.h"
#include "suanli/train/metrics.h"
#include "suanli/train/schedule.h"
#include "suanli/train/setup.h"
#include "suanli/train/snapshots.h"
#include "suanli/train/trainer.h"

namespace suanli::train {

WorkByPart work_by_part(const Setup& setup);

// One thread.
class Session {
 public:
  // Goes on from `start`, which the setup's state already holds. `setup` and `tier` outlive the
  // session.
  Session(Setup& setup, checkpoint::Tier& tier, MetricsFile metrics, SnapshotMeta start,
          const TrainOptions& options);

  // Tells observer and metrics about the session; `damages` become warnings. `grown`: what came before it.
  void announce(const StartInfo& info, const std::vector<Error>& damages, const std::optional<GrowthRecord>& grown);
  Result<TrainReport> run();

 private:
  // False: stopped.
  using Alive = Result<bool>;
  Result<Outcome> loop();
  // None: the step is made. Else what stopped the session, and the step in flight is given up.
  using Stopped = Result<std::optional<Outcome>>;
  Stopped step();
  Stopped run_step();
  Alive micro_batch(std::int64_t index);
  Status find_exponents();
  Status fill(std::int64_t micro_batch);
  Status update();
  Error explain(Error not_finite, const std::string& where);
  Alive evaluate();
  Status sample();
  Status checkpoint();
  void digest();
  Status save_last();

  bool is_due(std::int64_t every) const { return every > 0 && meta_.step % every == 0; }
  bool is_evaluation_due(std::int64_t step) const;
  bool may_start_step();
  Status after_phase(meter::Cause cause);  // books waiting, checks the cap
  void book(meter::Part part);
  Spent spent();
  void record_step();
  void tell_news();
  void warn(const Error& warning);
  void write(const std::string& line);
  Flops evaluation_flops() const;
  Seconds step_seconds();  // booked so far, less evaluation and checkpoint

  Setup& setup_;
  MetricsFile metrics_;
  const TrainOptions& options_;
  Observer nobody_;
  Observer& observer_;
  const Schedule schedule_;
  const meter::Budget budget_;
  const GrowthClock growth_;
  const WorkByPart work_;
  Batch batch_;
  SnapshotMeta meta_;  // of the state as it is now; its usage is the ledger's
  meter::Ledger ledger_;
  meter::Gauges gauges_;
  StartInfo info_;
  SnapshotSaver saver_;
  std::int64_t first_step_ = 0;
  std::optional<std::int64_t> begun_snapshot_;  // the last one begun in this session
  bool metrics_failed_ = false;
  Seconds waited_;  // of the cap, already booked
  Seconds session_start_;
  Seconds last_step_end_, last_step_seconds_, pace_;
  double lr_ = 0, grad_norm_ = 0;
};

}  // namespace suanli::train
