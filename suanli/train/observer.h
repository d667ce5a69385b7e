// What a training run tells while it runs, to whoever shows it: a terminal, a log, a test.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "suanli/base/error.h"
#include "suanli/base/sha256.h"
#include "suanli/base/units.h"
#include "suanli/engine/program.h"
#include "suanli/engine/target.h"
#include "suanli/meter/ledger.h"

namespace suanli::train {

// What model FLOPs utilisation is a fraction of. Only of operations the graph needs: recomputation
// would not count.
enum class MfuBase : std::uint8_t {
  none,      // unknown: under a rate cap nothing is measured
  given,     // a peak the caller stated
  measured,  // the rate of large matrix products through this engine, measured as the session began
};
std::string_view name_of(MfuBase base);

enum class Outcome : std::uint8_t {
  finished,
  interrupted,   // on request; may be resumed
  budget_spent,  // may be resumed with a larger budget
  grows,         // a segment is over; train() goes on with the next
};
std::string_view name_of(Outcome outcome);

using WorkByPart = std::array<meter::Work, meter::kParts.size()>;

struct StartInfo {
  std::string run_folder;
  std::int64_t first_step = 0;  // steps done before this session
  std::int64_t steps = 0;       // of the whole run
  std::int64_t parameters = 0;
  Flops step_flops;  // forward, backward and update of one step
  Tokens step_tokens;
  Tokens train_tokens, valid_tokens;  // in the dataset
  engine::Arithmetic arithmetic = engine::Arithmetic::f32;
  int threads = 1;
  Bytes memory;         // of the plan: state, arena, evaluation, snapshots
  engine::Recomputation recompute;  // what backward makes again
  FlopsPerSecond peak;  // 0 if mfu_base is none
  MfuBase mfu_base = MfuBase::none;
  Seconds setup;        // before the session's clock began: reading the job, compiling, measuring the peak
  Bytes resident_before;  // memory of the process, the most, before it read the job
  WorkByPart work;      // of one run of each part
};

// What the run has used so far, all sessions: evaluations and discarded work too.
struct Spent {
  Flops flops_total;
  Bytes bytes_total;  // that kernel calls read and wrote
  meter::Totals totals;
};

struct StepRecord : Spent {
  std::int64_t step = 0;  // steps done, so 1 after the first
  double loss = 0;        // mean over the step's tokens, before its update; nats per token
  double grad_norm = 0;   // before clipping
  double lr = 0;
  Tokens tokens;  // of this step
  double tokens_per_second = 0;
  std::optional<double>
      mfu;            // operations of the step over `seconds`, as a fraction of StartInfo::peak
  Seconds seconds;    // since the step before, less evaluation and checkpoint
  Seconds eta;        // until the run's last step, at the recent pace
  std::optional<Bytes> sent{};  // on a pool: what workers sent one another for the step
};

struct EvalRecord : Spent {
  std::int64_t step = 0;
  double loss = 0;  // nats per token
  double perplexity = 0;
  double bits_per_byte = 0;  // 0 where tokens are not bytes
  Tokens tokens;
};

// The model took on another size after a step.
struct GrowthRecord {
  std::int64_t step = 0;
  std::string reason;  // "2 layers of width 96 become 4 of 192"
  std::int64_t parameters_before = 0, parameters = 0;
};

struct CheckpointRecord {
  std::int64_t step = 0;
};

// The root of the state after a step, as `suanli digest` would print it.
struct DigestRecord {
  std::int64_t step = 0;
  Digest root;
  bool operator==(const DigestRecord&) const = default;
};

// Called by the thread that trains, between phases: return soon.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void on_start(const StartInfo&) {}
  virtual void on_step(const StepRecord&) {}
  virtual void on_eval(const EvalRecord&) {}
  virtual void on_checkpoint(const CheckpointRecord&) {}  // it is durable
  virtual void on_growth(const GrowthRecord&) {}
  virtual void on_sample(std::int64_t step, std::string_view text) { (void)step, (void)text; }
  // Something a person should know that does not stop the run, such as a damaged checkpoint or a
  // full disk.
  virtual void on_warning(const Error&) {}
};

}  // namespace suanli::train
