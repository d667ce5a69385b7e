// One job on its workers, from assignment to end: the two-phase commit of its steps. Part of the Coordinator, which knows the
// peers; here a worker is its place in `peers`.
//
//   preparing   waits for Ready of all; then Begin
//   stepping    waits for Prepared(ok) of all for one (step, attempt); then Commit. One `repeat`: the next attempt, for all.
//               One `error`: the end
//   committing  waits for Committed of all: the step counts. Workers go on by themselves, so Prepared of the next step may come
//               from one worker before Committed of another: it is kept until the step begins here
//   saving      after the last step: waits for StatePart of all, then for saved()
//   over
//
// Snapshots on the way are asked for one at a time, and do not hold up the steps. Whatever ends the job leaves it at its last
// committed step. A message that no worker can honestly send now is the output Broke.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "suanli/protocol/job.h"

namespace suanli::protocol {

struct RunRules {
  Seconds prepare_limit{600};
  Seconds first_step_limit{600};                  // nothing is known yet of how long a step takes
  Seconds step_limit{60};                         // or this many medians of the last steps, if that is longer
  double step_limit_medians = 20;
  Seconds state_limit{600};                       // from a commit that asks for the state to the last StatePart
  std::int64_t most_attempts = 64;                // of one step
};

struct Tell {  // all workers of the job
  ToWorker message;
};
struct Moved {  // to this state
  JobState state;
};
struct Repeated {
  std::int64_t step, attempt;
};
struct Stepped {
  StepFacts facts;
};
struct Collect {
  std::int64_t step;
  std::vector<StateHolder> holders;
};
struct Saved {  // or not
  std::int64_t step;
  Status status;
};
struct Broke {
  std::size_t worker;
  std::string sentence;
};
struct Over {  // nothing follows
  std::optional<Error> why;  // none: the last step is saved, or a cancelled job came to its end
};
using RunOutput = std::variant<Tell, Moved, Repeated, Stepped, Collect, Saved, Broke, Over>;
using RunOutputs = std::vector<RunOutput>;

class JobRun {
 public:
  JobRun(RunRules rules, const JobRequest& request, Epoch epoch, std::vector<WorkerFacts> workers, Seconds now);

  // From the worker at place `worker`, of this job and epoch.
  RunOutputs on_message(std::size_t worker, const ToCoordinator& message, Seconds now);
  RunOutputs on_lost(std::size_t worker, const Error& why);
  RunOutputs on_saved(std::int64_t step, const Status& status);
  // The step in flight is made the last. Asked again, or while preparing: the end, at once.
  RunOutputs cancel();
  RunOutputs on_tick(Seconds now);

  const JobEpoch& id() const { return id_; }
  const std::vector<WorkerFacts>& workers() const { return workers_; }
  bool cancelled() const { return cancelled_; }
  std::int64_t committed_step() const { return committed_; }
  std::int64_t attempt() const { return attempt_; }
  // Messages of an attempt that has been replaced.
  std::int64_t stale_messages() const { return stale_; }
  Seconds step_limit() const;
  // Whom the run waits for: "'a', 'b' and 3 more"; "nobody".
  std::string waits_for() const;

 private:
  enum class Phase { preparing, stepping, committing, saving, over };
  struct Progress {
    bool ready = false;
    std::int64_t prepared_attempt = 0;  // of the step in flight; 0: none yet
    std::int64_t committed = 0;
    std::optional<Prepared> early;      // of the next step
  };
  struct Saving {
    bool last = false;
    Seconds since;
    std::map<std::size_t, StatePart> parts;  // by worker
    bool collected = false;
  };

  void on(std::size_t worker, const Ready& message);
  void on(std::size_t worker, const Failed& message);
  void on(std::size_t worker, const Prepared& message);
  void on(std::size_t worker, const Committed& message);
  void on(std::size_t worker, const StatePart& message);
  template <typename Other>
  void on(std::size_t worker, const Other&);

  void take_prepared(std::size_t worker, const Prepared& message);
  void begin_step(std::int64_t step);
  void repeat_step();
  void commit_step();
  void end_step();
  void collect(std::int64_t step, Saving& saving);
  std::optional<Error> replicas_differ(const Saving& saving) const;
  bool waits_for(std::size_t worker) const;
  std::string quoted_name(std::size_t worker) const;
  std::string name_of_worker(std::size_t worker) const { return "worker " + quoted_name(worker); }
  void broke(std::size_t worker, std::string sentence);
  void end(std::optional<Error> why);
  RunOutputs take();

  const RunRules rules_;
  const JobEpoch id_;
  const std::vector<WorkerFacts> workers_;
  const std::int64_t last_step_, snapshot_every_;
  const bool save_when_cancelled_;

  Phase phase_ = Phase::preparing;
  std::vector<Progress> progress_;
  std::int64_t step_, attempt_ = 1;  // in flight
  std::int64_t committed_;
  Then then_ = Then::next;
  bool snapshot_due_ = false, cancelled_ = false;
  StepFacts facts_;                       // of the step in flight
  std::map<std::int64_t, Saving> saves_;  // by step
  std::deque<double> last_seconds_;
  Seconds phase_since_, step_since_, now_;
  std::int64_t stale_ = 0;
  RunOutputs outputs_;
};

}  // namespace suanli::protocol
