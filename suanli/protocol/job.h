// A job as the pool sees it: what is asked for, how far it is, and the seam to who places it on workers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "suanli/protocol/messages.h"

namespace suanli::protocol {

// queued -> placing -> preparing -> running -> saving -> finished, or out of any of the first five: failed, cancelled.
enum class JobState { queued, placing, preparing, running, saving, finished, failed, cancelled };
std::string_view name_of(JobState state);
inline bool is_over(JobState state) { return state >= JobState::finished; }

// Of a job whose replicas are lanes that train by themselves and exchange their weights in rounds (pool/local_training.h): rank R
// of all stages together is lane R. A lane has state of its own, and all of a lane's stages together are one.
struct Lanes {
  std::int64_t inner_steps = 0;  // of a round; 0: replicas are no lanes
  std::int64_t fragments = 1, delay = 0;
  std::int64_t begun = 0;        // the step with which rounds began
  Bytes bytes{};                 // that a lane sends to each other in a round

  // Whether the step may wait for what another lane sends: it applies what was sent `delay` steps before, or, without a delay,
  // begins with that. The last step of a run may always.
  bool may_wait(std::int64_t step, std::int64_t last_step) const;
};

struct JobRequest {
  JobId id;  // of the submitter's choice, never used before in this pool; 1 to 128 bytes
  std::string name{};
  std::string job_file{};  // TOML
  std::string dataset{};   // JSON; both reach the workers as they are
  std::int64_t last_step = 0;
  std::optional<std::int64_t> from_snapshot{};  // go on after this step; none: from the job's seed, with step 1
  std::int64_t snapshot_every = 0;            // steps; 0: the state after the last step alone
  std::int64_t least_workers = 1;             // it waits in the queue until so many are idle
  bool save_when_cancelled = true;            // otherwise a cancelled job keeps its last snapshot only
  Lanes lanes{};

  std::int64_t begin_step() const { return from_snapshot.value_or(0) + 1; }
};

struct WorkerFacts {
  std::string peer;  // id
  Hello hello;
};

// One direction of a line, as the worker at one end measured it.
struct LineFacts {
  std::string from, to;  // ids
  Seconds delay;
  BytesPerSecond rate;
  std::string measured_by;
  Seconds measured_at;  // of the coordinator's monotonic clock
};

struct Placed {
  route::RouteTable table;  // indices into the workers that were given; who holds no stage stands by
  std::string table_text;   // the same as JSON, for the workers
  std::string said;         // one sentence for people: what was decided and what it should take
};

// Who decides which worker holds what: the pool's planner. A pure function of its arguments.
class Placing {
 public:
  virtual ~Placing() = default;
  // The table must carry `epoch`. Errors (no_memory, config, ...) say by how much the job is too large and what would fit.
  virtual Result<Placed> place(const JobRequest& job, Epoch epoch, const std::vector<WorkerFacts>& workers,
                               const std::vector<LineFacts>& lines) const = 0;
};

// What a worker used for one step.
struct StepUse {
  std::string peer;
  std::map<std::string, Seconds> seconds;  // by cause
  Flops flops;
  Bytes bytes_in, bytes_out;
  std::optional<Error> warning{};
};

struct StepFacts {
  std::int64_t step = 0, attempts = 1;
  std::optional<double> loss{}, grad_norm{};
  std::optional<Tokens> tokens{};
  Seconds seconds{};  // from the commit of the step before
  std::vector<StepUse> uses{};
};

// Who can give which tensors of a step's state. Tensors of one name have the same digest at all who hold them.
struct StateHolder {
  std::string peer;
  std::vector<TensorFacts> tensors;
};

}  // namespace suanli::protocol
