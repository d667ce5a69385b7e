// Holds a computation under a rate, so that the owner of the machine can go on using it.
//
// Before each task the engine calls pace(work). Tasks are let go on a schedule: each moves the due
// time of the next by work / cap, and may itself start up to 20 ms before it is due (the burst),
// which makes up for late sleepers and for the ends of kernels where threads wait for one another.
// So in every window of one second the work let go is at most (1 + 0.02) * cap + the largest task,
// and with no task above 0.03 * cap at most 1.05 * cap. Idle time is not saved up beyond the burst.
// If computing is faster than the cap, the average is the cap, less what threads oversleep by more
// than the burst. (This is the generic cell rate algorithm of ITU-T I.371, as a virtual schedule.)
#pragma once

#include <mutex>
#include <vector>

#include "suanli/base/clock.h"
#include "suanli/base/error.h"
#include "suanli/base/thread_pool.h"
#include "suanli/base/units.h"

namespace suanli::meter {

// Any thread may call any function.
class RateCap final : public Pacer {
 public:
  // cap > 0. `clock` outlives the object and is asked from the threads that call pace().
  RateCap(FlopsPerSecond cap, Clock& clock);

  // Blocks until work of this many FLOPs may start. Tasks are let go one after the other, in the
  // order in which the lock lets threads in. Once a task was too large (see check), returns at
  // once: the run is about to be refused.
  void pace(double work) override;

  FlopsPerSecond cap() const { return cap_; }
  // Seconds that pace() blocked its callers, summed over threads.
  Seconds waited() const;
  Flops largest() const;
  // The least cap at which every window keeps the promise for the tasks seen so far, rounded up to
  // three digits, so that a person can copy it.
  FlopsPerSecond least_cap() const;
  // A task larger than 3 % of a second's work at the cap is an error (config) that names
  // least_cap().
  [[nodiscard]] Status check() const;

  struct Admission {
    Seconds time;
    Flops work;
  };
  // Keeps every admission from now on, for tests and for proofs of the rate.
  void keep_log();
  std::vector<Admission> log() const;

 private:
  bool is_too_large(double work) const;

  const FlopsPerSecond cap_;
  Clock& clock_;
  std::mutex turn_;             // held by the one thread that may sleep; guards due_
  Seconds due_;                 // when the next task is due
  mutable std::mutex numbers_;  // guards all below; never held while waiting
  Seconds waited_;
  double largest_ = 0;
  bool logging_ = false;
  std::vector<Admission> log_;
};

}  // namespace suanli::meter
