// Time is passed in, so that rate caps and state machines are tested without waiting.
#pragma once

#include "suanli/base/units.h"

namespace suanli {

class Clock {
 public:
  virtual ~Clock() = default;
  // Seconds since a fixed but unspecified origin; never goes backwards.
  virtual Seconds now() const = 0;
  // Returns no earlier than `duration` from now; a signal does not shorten it.
  virtual void sleep_for(Seconds duration) = 0;
};

// The monotonic clock of the machine. Any thread may use it.
Clock& real_clock();

// Moves only when told to: sleep_for advances it. One thread.
class ManualClock final : public Clock {
 public:
  Seconds now() const override { return now_; }
  void sleep_for(Seconds duration) override { advance(duration); }
  void advance(Seconds duration) { now_ += duration; }

 private:
  Seconds now_{};
};

}  // namespace suanli
