#include "suanli/meter/rate_cap.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "suanli/base/philox.h"

namespace suanli::meter {
namespace {

constexpr double kCap = 1e9;

// Shared by threads; moves only when told to. sleep_for oversleeps by up to `late`.
class SharedClock final : public Clock {
 public:
  explicit SharedClock(double late = 0) : late_(late) {}
  Seconds now() const override { return Seconds(static_cast<double>(nanoseconds_.load()) * 1e-9); }
  void sleep_for(Seconds duration) override {
    const double late = late_ * random_.uniform(sleeps_.fetch_add(1));
    advance(duration + Seconds(late + 1e-9));
  }
  void advance(Seconds duration) {
    nanoseconds_ += static_cast<std::int64_t>(duration.value() * 1e9 + 0.5);
  }

 private:
  const double late_;
  const Philox random_{11, Stream::test};
  std::atomic<std::int64_t> nanoseconds_ = 0;
  std::atomic<std::uint64_t> sleeps_ = 0;
};

// The largest sum of work over half-open windows of one second. Such a window can be moved right
// until it begins at an admission, without losing any.
double largest_window(const std::vector<RateCap::Admission>& log) {
  double largest = 0, sum = 0;
  std::size_t begin = 0;
  for (const RateCap::Admission& admission : log) {
    sum += admission.work.value();
    while (admission.time - log[begin].time >= Seconds(1)) sum -= log[begin++].work.value();
    largest = std::max(largest, sum);
  }
  return largest;
}

double average(const std::vector<RateCap::Admission>& log) {
  double sum = 0;
  for (const RateCap::Admission& admission : log) sum += admission.work.value();
  return (sum - log.back().work.value()) / (log.back().time - log.front().time).value();
}

void expect_ordered(const std::vector<RateCap::Admission>& log) {
  EXPECT_TRUE(std::ranges::is_sorted(log, {}, &RateCap::Admission::time));
}

TEST(RateCap, KeepsEveryWindowAndTheAverage) {
  for (const double task : {1e5, 1e6, 7e6, 3e7}) {
    SharedClock clock;
    RateCap cap(FlopsPerSecond(kCap), clock);
    cap.keep_log();
    for (double sum = 0; sum < 5 * kCap; sum += task) cap.pace(task);
    EXPECT_LE(largest_window(cap.log()), 1.05 * kCap) << task;
    EXPECT_NEAR(average(cap.log()), kCap, 0.05 * kCap) << task;
    EXPECT_TRUE(cap.check());
  }
}

TEST(RateCap, KeepsThemWithTasksOfManySizesComputeAndLateSleepers) {
  const Philox random(3, Stream::test);
  SharedClock clock(/*late=*/0.015);
  RateCap cap(FlopsPerSecond(kCap), clock);
  cap.keep_log();
  for (std::uint64_t i = 0; i < 3000; ++i) {
    const double task = 3e7 * random.uniform(2 * i);
    cap.pace(task);
    clock.advance(Flops(task) / FlopsPerSecond(4 * kCap));  // computing, faster than the cap
  }
  EXPECT_LE(largest_window(cap.log()), 1.05 * kCap);
  EXPECT_NEAR(average(cap.log()), kCap, 0.05 * kCap);
}

TEST(RateCap, SavesNoIdleTimeForABurst) {
  SharedClock clock;
  RateCap cap(FlopsPerSecond(kCap), clock);
  cap.keep_log();
  for (int phase = 0; phase < 5; ++phase) {
    for (int i = 0; i < 1500; ++i) cap.pace(1e6);
    clock.advance(Seconds(3.7));
  }
  EXPECT_LE(largest_window(cap.log()), 1.05 * kCap);
}

TEST(RateCap, NeverHoldsBackASlowComputation) {
  SharedClock clock;
  RateCap cap(FlopsPerSecond(kCap), clock);
  for (int i = 0; i < 1000; ++i) {
    cap.pace(1e6);
    clock.advance(Seconds(0.0011));
  }
  EXPECT_EQ(cap.waited(), Seconds(0));
}

TEST(RateCap, CountsWaiting) {
  SharedClock clock;
  RateCap cap(FlopsPerSecond(kCap), clock);
  for (int i = 0; i <= 1000; ++i) cap.pace(1e6);
  // The last of 1001 tasks of 1 ms is due at 1 s and starts 20 ms earlier; nothing else moves this
  // clock.
  EXPECT_NEAR(cap.waited().value(), 0.98, 1e-4);
}

TEST(RateCap, ManyThreadsTogetherKeepOneRate) {
  SharedClock clock;
  RateCap cap(FlopsPerSecond(kCap), clock);
  cap.keep_log();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&cap] {
      for (int i = 0; i < 1000; ++i) cap.pace(1e6);
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(cap.log().size(), 4000u);
  expect_ordered(cap.log());
  EXPECT_LE(largest_window(cap.log()), 1.05 * kCap);
  EXPECT_NEAR(average(cap.log()), kCap, 0.05 * kCap);
}

TEST(RateCap, KeepsEveryWindowOnTheRealClock) {
  RateCap cap(FlopsPerSecond(kCap), real_clock());
  cap.keep_log();
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&cap] {
      for (int i = 0; i < 400; ++i) cap.pace(1e6);
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(cap.log().size(), 1200u);
  expect_ordered(cap.log());
  EXPECT_LE(largest_window(cap.log()), 1.05 * kCap);
}

TEST(RateCap, RefusesACapBelowItsTasksAndNamesTheLeastOne) {
  SharedClock clock;
  RateCap cap(FlopsPerSecond(kCap), clock);
  cap.pace(2e7);
  EXPECT_TRUE(cap.check());
  cap.pace(9e7);
  cap.pace(6e7);
  const Seconds before = clock.now();
  for (int i = 0; i < 100; ++i) cap.pace(6e7);
  EXPECT_EQ(clock.now(), before) << "a run that will be refused is not held up";
  const Status status = cap.check();
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::config);
  EXPECT_NE(status.error().message.find("1.00 GFLOP/s"), std::string::npos)
      << status.error().message;
  EXPECT_NE(status.error().next_step.find("3.00 GFLOP/s"), std::string::npos)
      << status.error().next_step;
  EXPECT_NEAR(cap.least_cap().value(), 3e9, 10);

  RateCap enough(cap.least_cap(), clock);
  enough.pace(9e7);
  EXPECT_TRUE(enough.check());

  RateCap odd(FlopsPerSecond(1), clock);
  odd.pace(1234567);
  EXPECT_NEAR(odd.least_cap().value(), 4.12e7, 1)
      << "rounded up, so that the printed number will do";
}

}  // namespace
}  // namespace suanli::meter
