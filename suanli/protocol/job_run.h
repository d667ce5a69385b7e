// One job on its workers, from assignment to end: the two-phase commit of its steps. Part of the Coordinator, which knows the
// peers; here a worker is its place in `peers`.
//
//   preparing   waits for Ready of all; then Begin
//   stepping    waits for Prepared(ok) of all for one (step, attempt); then Commit. One `repeat`: the next attempt, for all.
//               One `error`: the end
//   committing  waits for Committed of all: the step counts. Workers go on by themselves, so Prepared of the next step may come
//               from one worker before Committed of another: it is kept until the step begins here
//   saving      after the last step: waits for StatePart of all, then for saved()
//   settling    a worker was lost or a step failed: whoever is left of each stage gives the newest state there is (job_settle.cc)
//   over
//
// Replicas that are lanes (Lanes in job.h) have state of their own: a state is that of all lanes, and a job that settles keeps
// the lanes of which each worker is left.
//
// Snapshots on the way are asked for one at a time, and do not hold up the steps. A message that no worker can honestly send now
// is the output Broke.
//
// Workers change their state in place, once a commit is told, and all who live carry out a commit that was told to all: so each
// of them holds the state of the last told step, and no other. Once a step was told, what ends the job leaves it at that step, if
// each stage has a holder left; else at its last snapshot.
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
  Seconds exchange_limit{3600};                   // more, for a step that may wait for another lane; or if that is longer
  double exchange_limit_times = 10;               // so many times what the exchange should take
  Seconds state_limit{600};                       // from a commit that asks for the state to the last StatePart
  Seconds settle_limit{120};                      // to give the state of a job that has failed; or two medians of a step
  Seconds settle_save_limit{3600};                // to save it
  std::int64_t most_attempts = 64;                // of one step
};

struct Tell {  // all workers of the job that are not lost
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
  std::string kept{};        // of a job that failed: what is saved of it or why not, as the end of a sentence; may be empty
};
using RunOutput = std::variant<Tell, Moved, Repeated, Stepped, Collect, Saved, Broke, Over>;
using RunOutputs = std::vector<RunOutput>;

class JobRun {
 public:
  // `stages`: of each worker, those that it holds; each stage from 0 on has a holder. Where replicas are lanes: `lanes`, of each
  // worker its lane, and what an exchange between lanes should take.
  JobRun(RunRules rules, const JobRequest& request, Epoch epoch, std::vector<WorkerFacts> workers,
         std::vector<std::vector<std::size_t>> stages, Seconds now, std::vector<std::size_t> lanes = {}, Seconds exchange = {});

  // From the worker at place `worker`, of this job and epoch.
  RunOutputs on_message(std::size_t worker, const ToCoordinator& message, Seconds now);
  RunOutputs on_lost(std::size_t worker, const Error& why);
  RunOutputs on_saved(std::int64_t step, const Status& status);
  // The step in flight is made the last. Asked again, or while preparing: the end, at once. A job that settles goes on with that.
  RunOutputs cancel();
  RunOutputs on_tick(Seconds now);

  const JobEpoch& id() const { return id_; }
  const std::vector<WorkerFacts>& workers() const { return workers_; }
  const std::vector<std::size_t>& stages_of(std::size_t worker) const { return stages_.at(worker); }
  // A worker that was lost has no part in the run any more, though its peer may have come back.
  bool is_lost(std::size_t worker) const { return progress_.at(worker).is_lost; }
  bool cancelled() const { return cancelled_; }
  std::int64_t committed_step() const { return committed_; }
  std::int64_t attempt() const { return attempt_; }
  // Messages of an attempt that has been replaced.
  std::int64_t stale_messages() const { return stale_; }
  Seconds step_limit() const;
  Seconds settle_limit() const;
  // Whom the run waits for: "'a', 'b' and 3 more"; "nobody".
  std::string waits_for() const;

 private:
  enum class Phase { preparing, stepping, committing, saving, settling, over };
  struct Progress {
    bool ready = false;
    bool is_lost = false, has_failed = false;  // one of them: it gives no state any more
    std::int64_t prepared_attempt = 0;  // of the step in flight; 0: none yet
    std::optional<double> loss, grad_norm;  // as it said with that
    std::int64_t committed = 0;
    std::optional<Prepared> early;      // of the next step
  };
  struct Saving {
    bool last = false;
    Seconds since;
    std::map<std::size_t, StatePart> parts;  // by worker
    bool collected = false;
  };
  struct Settling {
    Error why;
    std::int64_t step = 0;                     // whose state is wanted
    bool is_last = false;                      // the state that the job was to end with
    std::map<std::size_t, StatePart> parts{};  // by worker
    std::vector<std::size_t> tries{};          // by worker: how often its part could not be saved
    std::vector<std::size_t> chosen{};         // of whose parts is being saved
    bool is_late = false;                      // lanes that have not given all by now are not waited for
    bool is_saving = false;
    Seconds saving_since{};
    std::optional<Error> not_saved{};
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
  void count_step();
  Seconds median_step() const;
  // Ends the job for this reason, with the newest state that can be had. While it settles: looks again at what can be had.
  void settle(Error why);
  void seek_state();
  // Whose parts make a state. None while some are still to come, and if none can be had any more: then the job has ended.
  std::optional<std::vector<std::size_t>> choose_holders();
  std::optional<std::vector<std::size_t>> choose_lanes();
  std::size_t lane_count() const;
  std::string lanes_kept() const;
  void settle_part(std::size_t worker, const StatePart& message);
  void settled(const Status& saved);
  void check_settling();
  bool may_give(std::size_t worker) const { return !progress_[worker].is_lost && !progress_[worker].has_failed; }
  std::vector<std::size_t> holders_of(std::size_t stage) const;
  std::string goes_on_from() const;
  std::string list_of(const std::vector<std::size_t>& workers) const;
  bool waits_for(std::size_t worker) const;
  std::string quoted_name(std::size_t worker) const;
  std::string name_of_worker(std::size_t worker) const { return "worker " + quoted_name(worker); }
  void broke(std::size_t worker, std::string sentence);
  void end(std::optional<Error> why, std::string kept = {});
  RunOutputs take();

  const RunRules rules_;
  const JobEpoch id_;
  const std::vector<WorkerFacts> workers_;
  const std::vector<std::vector<std::size_t>> stages_;  // by worker
  const std::int64_t begin_step_, last_step_, snapshot_every_;
  const bool save_when_cancelled_;
  const Lanes rounds_;
  const std::vector<std::size_t> lanes_;  // by worker; empty: replicas are no lanes
  const Seconds exchange_;

  Phase phase_ = Phase::preparing;
  std::vector<Progress> progress_;
  std::int64_t step_, attempt_ = 1;  // in flight
  std::int64_t committed_;
  std::optional<std::int64_t> saved_;  // the newest
  Then then_ = Then::next;
  bool snapshot_due_ = false, cancelled_ = false;
  StepFacts facts_;                       // of the step in flight
  std::map<std::int64_t, Saving> saves_;  // by step
  std::optional<Settling> settling_;
  std::deque<double> last_seconds_;
  Seconds phase_since_, step_since_, now_;
  std::int64_t stale_ = 0;
  RunOutputs outputs_;
};

}  // namespace suanli::protocol
