// What computes in a worker: a thread that does a job's actions one after the other and says how they went. The state machine
// that orders them (protocol/worker.h) lives elsewhere; leave() ends what waits for other workers and keeps the job's state,
// drop() ends whatever runs.
//
//   runner.prepare(assign, links, feed) -> JobPrepared
//   runner.run_step(step, attempt)      -> Prepared
//   runner.commit_step(step)            -> Committed
//   runner.give_state(step)             -> StatePart, or Failed if another state is here; then given() has the tensors
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "suanli/data/sampler.h"
#include "suanli/pool/link_exchange.h"
#include "suanli/pool/stage_runner.h"
#include "suanli/pool/state_layout.h"
#include "suanli/pool/tensor_desk.h"
#include "suanli/protocol/worker.h"
#include "suanli/train/batch.h"
#include "suanli/train/job.h"

namespace suanli::pool {

// Where a stage's samples come from: fills a batch with a step's micro-batch. One per job.
class SampleFeed {
 public:
  virtual ~SampleFeed() = default;
  virtual Status fill(train::Batch& batch, std::int64_t step, std::int64_t micro_batch) = 0;
  // Any thread: a fill() that waits ends soon, with an error.
  virtual void stop() = 0;
};

struct JobNeeds {
  protocol::Assign assign;
  std::map<WorkerIndex, std::shared_ptr<net::Link>> links;  // to all peers of the job
  std::shared_ptr<net::Link> coordinator;
  // Made when the stage reads samples. `rows` are those of a micro-batch.
  std::function<Result<std::unique_ptr<SampleFeed>>(const protocol::Assign&, const train::JobConfig&,
                                                    const route::WorkerOrder& own)>
      make_feed;
  int threads = 1;
  Bytes memory_limit;
  std::optional<FlopsPerSecond> cap{};  // the most to compute in a second
  std::string folder{};                 // for what a job keeps on disk while it runs
};

// Which windows of the dataset a job's samples are. Errors: of the dataset's text; empty.
Result<data::Sampler> sampler_of(const protocol::Assign& assign, const train::JobConfig& job);

class JobRunner {
 public:
  // Told on the runner's thread.
  using Say = std::function<void(const protocol::RunnerEvent&)>;
  JobRunner(Say say, TensorDesk& desk);
  // Ends what runs.
  ~JobRunner();

  // Any thread; they return at once.
  void prepare(JobNeeds needs);
  void run_step(const protocol::RunStep& step);
  void commit_step(const protocol::CommitStep& step);
  void give_state(const protocol::GiveState& what);
  void leave(const protocol::LeaveStep& what);
  void drop(const Error& why);

  // The tensors of the states that give_state() has kept, the newest two of a job that is left (TensorDesk::Giver).
  Result<std::vector<SharedBytes>> given(const TensorRequest& request);

 private:
  struct Job;
  void run();
  void post(std::function<void()> work);
  Result<std::shared_ptr<Job>> make_job(JobNeeds needs, std::uint64_t drops);
  // Both end early when another drop() than the `drops`th comes.
  Status restore(Job& job, const JobNeeds& needs, std::uint64_t drops);
  void fail(const protocol::JobEpoch& id, const Error& why);

  Say say_;
  TensorDesk& desk_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> work_;
  bool ends_ = false;
  std::shared_ptr<LinkExchange> exchange_;  // of the job at hand, for drop()
  std::shared_ptr<SampleFeed> feed_;
  std::uint64_t drops_ = 0;  // counts drop() calls: work posted before one is not done
  std::optional<protocol::JobEpoch> restoring_;  // whose state is being fetched
  bool is_left_ = false;     // the job at hand: it makes no more steps
  struct Given {
    protocol::JobEpoch id;
    std::int64_t step = 0;
    std::map<std::string, SharedBytes> tensors;
  };
  std::deque<Given> given_;  // oldest first

  std::shared_ptr<Job> job_;  // the runner's thread's own
  std::thread thread_;
};

}  // namespace suanli::pool
