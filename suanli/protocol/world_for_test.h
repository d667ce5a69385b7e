// One coordinator and some workers in a world of events: messages travel as JSON with random delays, in order between two ends;
// runners are dice. All is a function of the seed. What must hold in every run is checked at every event.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "suanli/protocol/coordinator.h"
#include "suanli/protocol/worker.h"

namespace suanli::protocol {

// Two stages if there are two workers or more, in turn. A job file "huge" is too large for any pool.
class PlacingForTest final : public Placing {
 public:
  Result<Placed> place(const JobRequest& job, Epoch epoch, const std::vector<WorkerFacts>& workers,
                       const std::vector<LineFacts>& lines) const override;
  mutable std::vector<LineFacts> last_lines;
};

struct WorldOptions {
  int workers = 3;
  std::uint64_t seed = 1;
  double longest_delay = 0.2, longest_work = 0.4;  // seconds
  double repeat_chance = 0;                        // that a worker wants an attempt to be repeated
};

class World {
 public:
  explicit World(WorldOptions options);

  JobRequest job(const JobId& id, std::int64_t steps) const;
  void submit(const JobRequest& request);
  void cancel(const JobId& id);
  // Handles events until the condition holds; a failure of the test if it does not within `most` seconds of the world.
  void run_until(const std::function<bool()>& holds, double most = 600);
  void run_for(double seconds);
  bool step();  // one event
  bool is_over(const JobId& id) const;
  // Members of the job's assignment that hold the stage, and the last step whose commit was told to anybody; 0: none.
  std::set<int> holders_of(const JobId& id, int stage) const;
  std::int64_t last_told(const JobId& id) const;

  void kill(int worker);                           // the process ends
  void leave(int worker);                          // its owner stops it
  void mute(int worker) { boxes_[at(worker)].mute = true; }  // a black hole in its network
  void cut(int worker);                            // the link breaks; the worker dials again
  // A lie; from then on only others are held to what they say.
  void say(int worker, const ToCoordinator& message) {
    liars_.insert(worker);
    send_up(worker, message);
  }
  std::string peer(int worker) const { return "peer-" + std::to_string(worker); }
  Moment moment() const { return {Seconds(now_), Seconds(now_ + 1.79e9)}; }

  PlacingForTest placing;
  std::unique_ptr<Coordinator> coordinator;
  bool coordinator_answers = true;  // otherwise dials fail
  Status save_status;               // what on_saved() is told
  // Called for each RunStep; may change what the runner says.
  std::function<void(int worker, Prepared&)> on_step;
  std::function<void(int worker, StatePart&)> on_state;
  std::function<bool(int worker, const Assign&)> fails_to_prepare;
  std::function<bool(int worker, std::int64_t step)> fails_to_commit;
  std::set<int> hung;  // their runners do nothing any more

  std::int64_t events_handled() const { return handled_; }
  const std::vector<JobChanged>& changes() const { return changes_; }
  const std::map<JobId, std::vector<StepFacts>>& committed() const { return committed_; }
  const std::vector<CollectState>& collected() const { return collected_; }
  Worker* worker(int index) { return boxes_[at(index)].worker.get(); }
  std::vector<Error> ends(int index) const { return boxes_[at(index)].ends; }
  std::vector<Peers> peers_seen(int index) const { return boxes_[at(index)].peers_seen; }
  // Steps committed by a worker's runner.
  std::vector<std::int64_t> commits_of(int index, const JobId& job) const;

 private:
  struct Box {
    std::unique_ptr<Worker> worker;  // none: dead
    bool connected = false, mute = false;
    int link = 0;                    // number of the connection
    double last_up = 0, last_down = 0;
    RunStep running;                 // last; of step 0: it was left
    double runner_free = 0;          // the runner does one thing after the other
    JobEpoch of_state;               // whose state
    std::int64_t state_of = 0;       // it has, after this step; -1: of no step
    std::vector<Error> ends;
    std::vector<Peers> peers_seen;
  };
  using StepKey = std::tuple<JobId, Epoch, std::int64_t>;

  static std::size_t at(int index) { return static_cast<std::size_t>(index); }
  double draw(double most) { return std::uniform_real_distribution<double>(0, most)(random_); }
  void later(double after, std::function<void()> event) { queue_.emplace(now_ + after, std::move(event)); }
  void perform(Actions actions);
  void perform(int worker, WorkerActions actions);
  void send_up(int worker, const ToCoordinator& message);
  void send_down(int worker, const ToWorker& message);
  void close_link(int worker, const Error& why, bool tell_coordinator, bool tell_worker);
  // Does something, then tells its worker.
  void runner(int worker, std::function<RunnerEvent()> work);
  void check_commit(int worker, const CommitStep& action);
  int index_of(const std::string& peer) const { return std::stoi(peer.substr(5)); }

  const WorldOptions options_;
  std::mt19937_64 random_;
  double now_ = 0;
  std::multimap<double, std::function<void()>> queue_;
  std::vector<Box> boxes_;
  std::int64_t handled_ = 0;

  std::set<int> liars_;
  std::map<JobId, std::int64_t> told_;
  std::map<std::pair<JobId, Epoch>, std::map<int, int>> members_;      // by assignment: [worker] its stage
  std::map<StepKey, std::map<std::int64_t, std::set<int>>> prepared_;  // [attempt]: who prepared it
  std::map<StepKey, std::map<int, std::int64_t>> commits_;             // [worker]: the attempt
  std::vector<JobChanged> changes_;
  std::map<JobId, std::vector<StepFacts>> committed_;
  std::vector<CollectState> collected_;
};

}  // namespace suanli::protocol
