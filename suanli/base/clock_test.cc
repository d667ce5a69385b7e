#include "suanli/base/clock.h"

#include <gtest/gtest.h>
#include <sys/time.h>

#include <csignal>
#include <limits>

namespace suanli {
namespace {

volatile std::sig_atomic_t alarms = 0;
void count_alarm(int) { alarms = alarms + 1; }

// Sends SIGALRM every 2 ms while it lives.
class Interruptions {
 public:
  Interruptions() {
    struct sigaction action {};
    action.sa_handler = count_alarm;  // without SA_RESTART: every blocking call returns EINTR
    sigaction(SIGALRM, &action, &old_);
    set_period(2000);
  }
  ~Interruptions() {
    set_period(0);
    sigaction(SIGALRM, &old_, nullptr);
  }

 private:
  static void set_period(int microseconds) {
    itimerval timer{};
    timer.it_interval.tv_usec = timer.it_value.tv_usec = microseconds;
    setitimer(ITIMER_REAL, &timer, nullptr);
  }
  struct sigaction old_ {};
};

TEST(Clock, RealClockNeverGoesBackwards) {
  Seconds last = real_clock().now();
  for (int i = 0; i < 10000; ++i) {
    const Seconds now = real_clock().now();
    ASSERT_GE(now, last);
    last = now;
  }
}

TEST(Clock, SleepLastsAtLeastAsLongAsAsked) {
  for (double duration : {0.0001, 0.003, 0.02}) {
    const Seconds start = real_clock().now();
    real_clock().sleep_for(Seconds(duration));
    EXPECT_GE((real_clock().now() - start).value(), duration - 1e-7);
  }
}

TEST(Clock, SignalsDoNotShortenASleep) {
  Interruptions interruptions;
  const int before = alarms;
  const Seconds start = real_clock().now();
  real_clock().sleep_for(Seconds(0.1));
  EXPECT_GE((real_clock().now() - start).value(), 0.1 - 1e-7);
  EXPECT_GT(alarms, before);
}

TEST(Clock, NothingToSleepReturns) {
  real_clock().sleep_for(Seconds(0));
  real_clock().sleep_for(Seconds(-5));
  real_clock().sleep_for(Seconds(std::numeric_limits<double>::quiet_NaN()));
}

TEST(Clock, ManualClockMovesOnlyWhenTold) {
  ManualClock clock;
  Clock& seen_as_clock = clock;
  EXPECT_EQ(seen_as_clock.now(), Seconds(0));
  EXPECT_EQ(seen_as_clock.now(), Seconds(0));
  seen_as_clock.sleep_for(Seconds(2.5));
  clock.advance(Seconds(1));
  EXPECT_EQ(seen_as_clock.now(), Seconds(3.5));
}

}  // namespace
}  // namespace suanli
