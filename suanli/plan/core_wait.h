// How long this process's threads stood in line for a core: whether other programs disturbed a measurement.
#pragma once

#include "suanli/base/clock.h"
#include "suanli/base/units.h"

namespace suanli::plan {

// Of all threads there are now, since each began: ready to run, and waiting for a core that others had (Linux:
// /proc/self/task/*/schedstat). 0 where the system does not tell.
Seconds waited_for_cores();

// A stretch of time that ends with each question.
class Disturbance {
 public:
  // Was more than a twentieth of a core waited for since the last question, or the beginning?
  bool was_disturbed();
  // The same as a share of one core, of all stretches together.
  double share() const { return wall_ > Seconds(0) ? waited_ / wall_ : 0; }

 private:
  Seconds begin_ = real_clock().now(), waited_at_begin_ = waited_for_cores();
  Seconds wall_, waited_;
};

}  // namespace suanli::plan
