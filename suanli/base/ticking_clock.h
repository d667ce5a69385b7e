// For tests: a clock on which a second passes with every look at it. One thread.
#pragma once

#include "suanli/base/clock.h"

namespace suanli {

class TickingClock final : public Clock {
 public:
  Seconds now() const override { return Seconds(static_cast<double>(ticks_++)); }
  void sleep_for(Seconds) override {}

 private:
  mutable int ticks_ = 0;
};

}  // namespace suanli
