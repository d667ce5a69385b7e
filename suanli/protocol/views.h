// What `suanli pool status | peers | links | events | describe` and `suanli status JOB` show: plain values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/protocol/job.h"

namespace suanli::protocol {

// Why something happened to the pool; names are stable.
enum class Reason {
  worker_joined, worker_refused, worker_silent, worker_lost, worker_left, worker_broke_protocol,
  job_queued, job_waits, job_placed, job_running, job_finished, job_failed, job_cancelled,
  step_repeated, snapshot_saved, snapshot_failed,
};
std::string_view name_of(Reason reason);

struct PoolEvent {
  Seconds wall;  // since 1970, by the coordinator's clock
  Reason reason;
  std::string subject;    // worker's name or job's id
  std::string sentence;
  std::string next_step;  // may be empty
};

struct WorkerView {
  std::string peer;
  std::int64_t member = 0;
  Hello hello;
  Seconds joined_ago, heard_ago;
  std::int64_t heartbeats = 0;
  std::optional<JobId> job;
  std::vector<std::size_t> stages;  // of the job that it holds
};

struct JobView {
  JobId id;
  std::string name;
  JobState state = JobState::queued;
  std::optional<Error> error;  // failed
  std::int64_t begin_step = 1, committed_step = 0, last_step = 0;
  std::optional<std::int64_t> saved_step;
  std::optional<StepFacts> last;  // step
  Epoch epoch = 0;                // 0: not placed yet
  std::string placement;          // what the placer said
  std::vector<std::string> workers;  // ids, of those who hold a stage
  std::string waits_for;             // "nobody", or the workers that have not answered
  Seconds submitted, started, ended;  // wall; 0: not yet
};

struct StatusView {
  std::string pool, version;
  std::int64_t workers = 0, idle = 0;
  std::int64_t cores = 0;
  Bytes memory;
  Rates rates;  // of all workers together
  std::optional<JobId> running;
  std::int64_t queued = 0;
  std::int64_t dropped_messages = 0;  // of an old epoch or attempt, or of a peer that is not connected
};

}  // namespace suanli::protocol
