// The jobs of a lasting pool: opens their run folders, hands them to the server, and closes each record when its job is over,
// whoever has submitted it and whether that one is still there.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "suanli/pool/pool_folder.h"
#include "suanli/pool/pool_server.h"

namespace suanli::pool {

// How the record of a job ended.
struct JobRecord {
  std::string run;                           // folder
  std::int64_t metrics_from = 0;             // bytes that earlier sessions left in the metrics file
  bool is_closed = false;                    // the folder is free and all that was to be saved is
  std::optional<train::TrainReport> report;  // closed without an error
};

// Any thread.
class HostedJobs {
 public:
  // Both outlive the object.
  HostedJobs(PoolServer& server, PoolNumbers& numbers);
  ~HostedJobs();

  // `job_file` is TOML with absolute paths. Errors: as of RunRecorder::create and of the pool; interrupted once end() was called.
  Result<protocol::JobId> submit(const std::string& job_file, bool resume);
  std::optional<JobRecord> record(const protocol::JobId& job) const;
  // Takes no more jobs, cancels all, and returns when their records are closed. How many were cancelled.
  int end();

 private:
  struct Job {
    JobRecord record;
    std::shared_ptr<RunRecorder> recorder;  // until it is finished
    std::weak_ptr<RunRecorder> alive;       // until nobody saves any more
  };
  void watch();
  void look_at(const protocol::JobId& id);

  PoolServer& server_;
  PoolNumbers& numbers_;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::map<protocol::JobId, Job> jobs_;
  bool takes_none_ = false, ends_ = false;
  std::mutex numbers_mutex_;
  std::thread watcher_;
};

}  // namespace suanli::pool
