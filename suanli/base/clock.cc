#include "suanli/base/clock.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <ctime>

namespace suanli {
namespace {

constexpr std::int64_t kNanos = 1'000'000'000;

timespec monotonic_now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time;
}

class RealClock final : public Clock {
 public:
  Seconds now() const override {
    const timespec time = monotonic_now();
    return Seconds(static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec));
  }

  // Sleeps to a deadline, so that an interrupted sleep goes on where it was.
  void sleep_for(Seconds duration) override {
    if (!(duration.value() > 0)) return;
    constexpr double kLongest = 1e9;  // 30 years; keeps the deadline within timespec
    const auto nanos =
        static_cast<std::int64_t>(std::ceil(std::min(duration.value(), kLongest) * 1e9));
    timespec deadline = monotonic_now();
    deadline.tv_sec += nanos / kNanos;
    deadline.tv_nsec += nanos % kNanos;
    if (deadline.tv_nsec >= kNanos) {
      deadline.tv_nsec -= kNanos;
      ++deadline.tv_sec;
    }
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &deadline, nullptr) == EINTR) {
    }
  }
};

}  // namespace

Clock& real_clock() {
  static RealClock clock;
  return clock;
}

}  // namespace suanli
