// The coordinator of a pool as a state machine: peers, messages and requests in, actions out. No socket, no clock, no thread:
// `pool` and `sim` drive the same code.
//
//   Coordinator coordinator(rules, placing);
//   perform(coordinator.on_connected(peer, moment));
//   perform(coordinator.on_message(peer, message, moment)); ...
//
// One job runs at a time, on workers of the placer's choice; others wait in the order they came. Membership is stable while a job
// runs: who comes stands by for the next job, who goes (link lost, silent for `dead_after`, left, broke the protocol) ends the
// job, with the reason, at its last committed step, whose state is saved if each stage has a worker left; then these become idle
// and the next job is placed. Every assignment has an epoch of its own, never used before, and messages of other epochs are
// dropped and counted.
//
// The actions of one event are to be done in order, and those of one event before those of the next. One thread calls a
// Coordinator; monotonic time never falls. Peers are named by the id of their certificate: a peer that connects again replaces
// its older connection.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "suanli/protocol/job.h"
#include "suanli/protocol/job_run.h"
#include "suanli/protocol/views.h"

namespace suanli::protocol {

struct Moment {
  Seconds now;   // monotonic
  Seconds wall;  // since 1970
};

struct PoolRules {
  std::string pool;     // its name
  std::string version;  // of suanli: workers of another are refused
  std::string own_id{};  // of the coordinator's certificate: workers may name it in their line measures
  bool relays = true;   // workers of which neither listens meet through the coordinator if no worker listens
  Seconds dead_after{6};      // of silence
  Seconds hello_within{10};   // of connecting
  Seconds most_clock_skew{300};
  Epoch first_epoch = 1;      // above all epochs of this pool's earlier coordinators
  std::size_t most_workers = kMostWorkers, most_queued = 1'000, most_jobs_kept = 1'000, most_events = 1'000;
  RunRules run{};
};

// What is to be done.
struct Send {
  std::string peer;
  ToWorker message;
};
struct Close {  // after all that was to be sent has been; on_lost() need not follow
  std::string peer;
  Error why;
};
struct JobChanged {
  JobId job;
  JobState state;
  std::optional<Error> error;  // failed
};
struct StepCommitted {
  JobId job;
  StepFacts facts;
};
// Fetch the state after `step` from its holders and keep it; then on_saved().
struct CollectState {
  JobId job;
  Epoch epoch;
  std::int64_t step;
  bool last;  // the job waits for it
  std::vector<StateHolder> holders;
};
using Action = std::variant<Send, Close, JobChanged, StepCommitted, CollectState, PoolEvent>;
using Actions = std::vector<Action>;

class Coordinator {
 public:
  // `placing` outlives the coordinator.
  Coordinator(PoolRules rules, const Placing& placing);

  Actions on_connected(const std::string& peer, Moment at);
  Actions on_message(const std::string& peer, const ToCoordinator& message, Moment at);
  // What came could not be parsed.
  Actions on_garbage(const std::string& peer, const Error& why, Moment at);
  Actions on_lost(const std::string& peer, const Error& why, Moment at);
  // At least twice a second.
  Actions on_tick(Moment at);

  // Errors: config (the request holds nothing to do), busy (the id is taken, or the queue is full).
  Result<Actions> on_submit(JobRequest request, Moment at);
  // A running job makes its step in flight the last and saves it, if its request says so; cancelled again, it ends at once.
  // Errors: not_found, with the nearest id; busy if it is over.
  Result<Actions> on_cancel(const JobId& job, Moment at);
  // CollectState has been done or has failed.
  Actions on_saved(const JobId& job, std::int64_t step, const Status& status, Moment at);

  StatusView status() const;
  std::vector<WorkerView> workers(Moment at) const;    // welcomed ones, in the order they joined
  std::vector<LineFacts> lines() const;                // by from, then to
  std::vector<JobView> jobs() const;                   // in the order they came
  std::optional<JobView> job(const JobId& id) const;
  const std::deque<PoolEvent>& events() const { return events_; }  // oldest first
  Epoch next_epoch() const { return next_epoch_; }     // to be kept for the next coordinator's `first_epoch`

 private:
  struct Member {
    Seconds connected, heard;
    std::optional<Hello> hello;  // none: not welcomed yet
    std::int64_t number = 0;
    std::int64_t heartbeats = 0;
  };
  struct Job {
    JobRequest request;
    JobView view;
  };

  void on(const std::string& peer, Member& member, const Hello& hello);
  void on(const std::string& peer, const LineMeasures& measures);
  // Why this hello is refused, if it is.
  std::optional<Error> refusal(const Hello& hello) const;
  // Forgets the peer, closes its link unless it is gone, and ends what depended on it.
  void drop(const std::string& peer, const Error& why, Reason reason, bool link_is_up);
  void broke(const std::string& peer, const std::string& sentence);
  // Tells the others of a worker that has come or gone, and who came of all others.
  void announce(const std::string& changed);
  std::string relay() const;  // id; empty: none
  std::optional<PeerRoute> route_between(const std::string& from, const std::string& to, route::WorkerIndex index) const;

  // Places waiting jobs until one runs or none can.
  void advance();
  void place(Job& job, const std::vector<WorkerFacts>& idle);
  Result<std::vector<std::vector<std::size_t>>> stages_of(const Placed& placed, Epoch epoch, std::size_t workers) const;
  Result<std::vector<std::size_t>> lanes_of(const Placed& placed, const std::vector<std::size_t>& holders) const;
  Seconds exchange_time(const Lanes& lanes, const std::vector<std::size_t>& lane_of,
                        const std::vector<WorkerFacts>& workers) const;
  Status assign(Job& job, const Placed& placed, Epoch epoch, const std::vector<WorkerFacts>& workers);
  void perform(RunOutputs outputs);
  // `says_kept`: the reason says what is saved of the job.
  void end_job(Job& job, JobState state, std::optional<Error> why, bool says_kept = false);
  void change(Job& job, JobState state, std::optional<Error> why = {});
  void forget_old_jobs();
  Job* find_job(const JobId& id);

  void event(Reason reason, std::string subject, std::string sentence, std::string next_step = {});
  Actions take();

  const PoolRules rules_;
  const Placing& placing_;
  std::map<std::string, Member> members_;  // by id
  std::map<std::pair<std::string, std::string>, LineFacts> lines_;
  std::deque<Job> jobs_;  // in the order they came
  std::unique_ptr<JobRun> run_;
  std::string told_relay_;           // the relay that workers know of
  std::optional<JobId> told_to_wait_;  // the job at the head of the queue has been said to wait
  std::deque<PoolEvent> events_;
  Epoch next_epoch_;
  std::int64_t next_number_ = 1;
  std::int64_t dropped_ = 0;
  Moment at_{};
  Actions actions_;
};

}  // namespace suanli::protocol
