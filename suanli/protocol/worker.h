// A worker as a state machine: what it has heard and what its runner has done in, what is to be done out. No socket, no clock,
// no thread: `pool` and `sim` drive the same code.
//
//               Assign            runner: prepared         Begin            runner: prepared       Commit
//   idle ----------------> preparing -----------> ready --------> stepping -----------> prepared --------> committing
//    ^                                                              ^  ^   Repeat          |                  |
//    | Stop, or the coordinator is gone                             |  +-------------------+                  |
//    +--- (any state)                                               +------- next, snapshot ------------------+
//                                                                    resting <--- finish, stop ---------------+
//
// Settle leads from any state behind ready to settling: the step in flight is left, a commit under way ends, the state is given.
//
// Whatever fails while a job is held is said to the coordinator, and the worker rests until Stop. Messages and results of another
// job or epoch than the held one are dropped and counted.
//
// The runner is who computes. It does what it is told in the order given, in the background, and answers through on_runner().
// RunStep of a higher attempt replaces the attempt that runs; LeaveStep ends whatever waits for others, keeps the job's state;
// DropJob ends whatever runs. One thread calls a Worker; `now` never falls.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "suanli/protocol/messages.h"

namespace suanli::protocol {

struct WorkerRules {
  Seconds heartbeat_every{2};
  Seconds drop_job_after{30};  // without a coordinator
  Seconds first_backoff{0.5}, most_backoff{30};  // doubled from dial to dial, less up to a half by chance
  std::uint64_t seed = 0;                        // of the backoff's chance: another for each worker
};

// What the runner says: the very message that the coordinator gets, or that the job is prepared.
struct JobPrepared : JobEpoch {};  // answers PrepareJob
using RunnerEvent = std::variant<JobPrepared,
                                 Prepared,   // answers RunStep
                                 Committed,  // answers CommitStep
                                 StatePart,  // answers GiveState
                                 Failed>;    // answers any

// What is to be done.
struct Say {
  ToCoordinator message;
};
struct Dial {  // the coordinator, after so long; then on_connected() or on_lost()
  Seconds after;
};
struct HangUp {  // the coordinator broke the protocol; on_lost() need not follow
  Error why;
};
struct MeetPeers {  // make links to `now.peers` and measure the lines; forget those that are gone. After a hello: forget all
  Peers now;
};
struct PrepareJob {  // compile, load data, restore the state, make links to the job's peers
  Assign assign;
};
struct RunStep : JobEpoch {  // forward, backward, reduce; nothing of the state changes
  std::int64_t step = 0, attempt = 0;
};
struct CommitStep : JobEpoch {  // update
  std::int64_t step = 0;
};
struct GiveState : JobEpoch {  // of the step last committed: copy or hold it until it has been fetched, while steps go on
  std::int64_t step = 0;
};
// No other worker is to be waited for any more. An attempt that runs ends, and no other begins; a commit that was asked for is
// carried out as far as what is here allows.
struct LeaveStep : JobEpoch {};
struct DropJob : JobEpoch {
  std::optional<Error> why;
};
struct End {  // the worker is done: refused (why), or left
  std::optional<Error> why;
};
using WorkerAction = std::variant<Say, Dial, HangUp, MeetPeers, PrepareJob, RunStep, CommitStep, GiveState, LeaveStep,
                                  DropJob, End>;
using WorkerActions = std::vector<WorkerAction>;

enum class WorkerState { idle, preparing, ready, stepping, prepared, committing, resting, settling };
std::string_view name_of(WorkerState state);

class Worker {
 public:
  Worker(WorkerRules rules, Hello facts);  // `wall` of the facts is filled in at each hello

  WorkerActions start(Seconds now);
  // `wall`: since 1970, by this machine's clock.
  WorkerActions on_connected(Seconds now, Seconds wall);
  // The link is gone, or could not be made.
  WorkerActions on_lost(const Error& why, Seconds now);
  WorkerActions on_message(const ToWorker& message, Seconds now);
  WorkerActions on_runner(const RunnerEvent& event, Seconds now);
  WorkerActions on_line(const LineMeasures& measures);
  // The owner stops the worker: it says so, drops its job and ends.
  WorkerActions on_leave(const std::string& reason, Seconds now);
  // At least twice a second.
  WorkerActions on_tick(Seconds now);

  WorkerState state() const { return held_ ? held_->state : WorkerState::idle; }
  bool welcomed() const { return connection_ == Connection::welcomed; }
  std::int64_t step() const { return held_ ? held_->step : 0; }
  std::int64_t dropped_messages() const { return dropped_; }

 private:
  enum class Connection { none, dialling, greeting, welcomed, ended };
  // The job at hand.
  struct Held {
    JobEpoch id;
    WorkerState state = WorkerState::preparing;
    std::int64_t step = 0, attempt = 0;  // of the step that runs or was last committed
    Outcome outcome = Outcome::ok;       // that was said, in state prepared
    Then then = Then::next;              // in state committing
  };

  void on(const Welcome& message);
  void on(const Refused& message);
  void on(const Peers& message);
  void on(const Assign& message);
  void on(const Begin& message);
  void on(const Commit& message);
  void on(const Repeat& message);
  void on(const Settle& message);
  void on(const Stop& message);
  void ran(const JobPrepared& event);
  void ran(const Prepared& event);
  void ran(const Committed& event);
  void ran(const StatePart& event);
  void ran(const Failed& event);

  bool holds(const JobEpoch& id);  // or counts the message as dropped
  void say(ToCoordinator message);
  void run_step(std::int64_t step, std::int64_t attempt);
  void fail_job(const Error& error);
  void drop_job(std::optional<Error> why);
  void refuse(const std::string& sentence);  // what the coordinator sent
  void lose(const Error& why, Seconds now);
  WorkerActions take();

  const WorkerRules rules_;
  Hello facts_;
  Connection connection_ = Connection::none;
  std::optional<Held> held_;
  std::optional<Seconds> lost_at_;
  Error why_lost_{};
  Seconds beat_at_{0};
  std::int64_t beats_ = 0;
  std::int64_t dials_ = 0;  // since the last welcome
  std::uint32_t drawn_ = 0;
  std::int64_t dropped_ = 0;
  Seconds now_{0};
  WorkerActions actions_;
};

}  // namespace suanli::protocol
