#include "suanli/base/thread_pool.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#include "suanli/base/philox.h"

namespace {
std::atomic<std::int64_t> allocations{0};
}

// Counts the allocations of the whole test program, on all threads. Not inlined, else the compiler
// takes malloc and delete for a mismatched pair.
[[gnu::noinline]] void* operator new(std::size_t size) {
  ++allocations;
  if (void* block = std::malloc(size == 0 ? 1 : size)) return block;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* block) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete(void* block, std::size_t) noexcept { std::free(block); }

namespace suanli {
namespace {

class ThreadPoolSizes : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolSizes, testing::Values(1, 2, 3, 8));

TEST_P(ThreadPoolSizes, EveryIndexRunsExactlyOnce) {
  ThreadPool pool(GetParam());
  EXPECT_EQ(pool.size(), GetParam());
  for (std::int64_t count : {0, 1, 2, 3, 7, 64, 1000, 20000}) {
    std::vector<int> runs(
        static_cast<std::size_t>(count));  // not atomic: each index has one writer
    pool.parallel_for(count, [&](std::int64_t i, int) { ++runs[static_cast<std::size_t>(i)]; });
    EXPECT_EQ(std::count(runs.begin(), runs.end(), 1), count);
  }
}

// Two tasks that ran at once with one worker number would lose counts here, and ThreadSanitizer
// would see it.
TEST_P(ThreadPoolSizes, WorkerNumbersTellConcurrentTasksApart) {
  ThreadPool pool(GetParam());
  struct alignas(64) Scratch {
    std::int64_t sum = 0;
  };
  std::vector<Scratch> scratch(static_cast<std::size_t>(pool.size()));
  constexpr std::int64_t kCount = 50'000;
  pool.parallel_for(kCount, [&](std::int64_t i, int worker) {
    scratch.at(static_cast<std::size_t>(worker)).sum += i;
  });
  std::int64_t sum = 0;
  for (const Scratch& s : scratch) sum += s.sum;
  EXPECT_EQ(sum, kCount * (kCount - 1) / 2);
}

// The result of one run is the input of the next, without any other synchronisation.
TEST_P(ThreadPoolSizes, StressOfManyShortRuns) {
  ThreadPool pool(GetParam());
  const Philox random(7, Stream::test);
  constexpr std::int64_t kLargest = 100;
  std::vector<std::uint64_t> values(kLargest), expected(kLargest);
  for (std::uint64_t round = 0; round < 5000; ++round) {
    const auto count = static_cast<std::int64_t>(random.below(kLargest + 1, round));
    pool.parallel_for(count, [&](std::int64_t i, int) {
      values[static_cast<std::size_t>(i)] = values[static_cast<std::size_t>(i)] * 31 + round;
    });
    for (std::int64_t i = 0; i < count; ++i) {
      expected[static_cast<std::size_t>(i)] = expected[static_cast<std::size_t>(i)] * 31 + round;
    }
    ASSERT_EQ(values, expected) << round;
    // Now and then long enough for the workers to fall asleep.
    if (round % 500 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

TEST_P(ThreadPoolSizes, ParallelForAllocatesNothing) {
  ThreadPool pool(GetParam());
  std::vector<int> runs(1000);
  const auto task = [&](std::int64_t i, int) { ++runs[static_cast<std::size_t>(i)]; };
  const std::int64_t before = allocations;
  for (int i = 0; i < 100; ++i) pool.parallel_for(1000, task);
  EXPECT_EQ(allocations, before);
  EXPECT_EQ(runs, std::vector<int>(1000, 100));
}

// Keeps what it is asked, as the rate cap does, from any thread.
class RecordingPacer final : public Pacer {
 public:
  void pace(double work) override {
    const std::lock_guard lock(mutex_);
    ++asked_;
    work_ += work;
  }
  int asked() const { return asked_; }
  double work() const { return work_; }

 private:
  std::mutex mutex_;
  int asked_ = 0;
  double work_ = 0;
};

TEST_P(ThreadPoolSizes, AnnouncedWorkIsPacedTaskByTask) {
  ThreadPool pool(GetParam());
  RecordingPacer pacer;
  pool.set_pacer(&pacer);
  const auto nothing = [](std::int64_t, int) {};
  pool.parallel_for(10, nothing);
  EXPECT_EQ(pacer.asked(), 0) << "nothing was announced";
  pool.begin_work(64);
  pool.parallel_for(8, nothing, 0.5);
  EXPECT_EQ(pacer.asked(), 8);
  EXPECT_EQ(pacer.work(), 32);
  pool.parallel_for(100, nothing, 0);  // only moves data
  EXPECT_EQ(pacer.asked(), 8);
  pool.parallel_for(4, nothing);  // claims all of it, gets what is left
  EXPECT_EQ(pacer.asked(), 12);
  EXPECT_EQ(pacer.work(), 64);
  pool.end_work();
  EXPECT_EQ(pacer.work(), 64);
}

TEST_P(ThreadPoolSizes, WorkThatNoLoopClaimedIsPacedAtTheEnd) {
  ThreadPool pool(GetParam());
  RecordingPacer pacer;
  pool.set_pacer(&pacer);
  pool.begin_work(10);
  pool.parallel_for(0, [](std::int64_t, int) {});
  pool.end_work();
  EXPECT_EQ(pacer.asked(), 1);
  EXPECT_EQ(pacer.work(), 10);
  pool.end_work();
  pool.set_pacer(nullptr);
  pool.begin_work(10);
  pool.parallel_for(3, [](std::int64_t, int) {});
  pool.end_work();
  EXPECT_EQ(pacer.work(), 10);
}

TEST(ThreadPool, TasksRunAtTheSameTime) {
  ThreadPool pool(3);
  std::atomic<int> arrived{0};
  // Each task waits for the two others: this ends only if all three run at once.
  pool.parallel_for(3, [&](std::int64_t, int) {
    ++arrived;
    while (arrived < 3) std::this_thread::yield();
  });
  EXPECT_EQ(arrived, 3);
}

TEST(ThreadPool, PoolsMayBeMadeAndDestroyedQuickly) {
  for (int i = 0; i < 100; ++i) {
    ThreadPool idle(4);
    ThreadPool used(3);
    std::atomic<int> runs{0};
    used.parallel_for(5, [&](std::int64_t, int) { ++runs; });
    ASSERT_EQ(runs, 5);
  }
}

TEST(ThreadPool, MayBeCalledFromOneThreadAfterAnother) {
  ThreadPool pool(2);
  std::atomic<int> runs{0};
  const auto task = [&](std::int64_t, int) { ++runs; };
  std::thread([&] { pool.parallel_for(10, task); }).join();
  pool.parallel_for(10, task);
  EXPECT_EQ(runs, 20);
}

TEST(ThreadPoolDeathTest, CallsFromInsideATaskAreBugs) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (int threads : {1, 2}) {
    EXPECT_DEATH(
        {
          ThreadPool pool(threads);
          pool.parallel_for(
              2, [&](std::int64_t, int) { pool.parallel_for(1, [](std::int64_t, int) {}); });
        },
        "from inside a task");
  }
  EXPECT_DEATH(ThreadPool(0), "threads >= 1");
}

TEST(ThreadPool, AvailableCoresAreAtMostTheAffinityMask) {
  cpu_set_t before;
  if (sched_getaffinity(0, sizeof before, &before) != 0) GTEST_SKIP() << "more than 1024 CPUs";
  EXPECT_GE(available_cores(), 1);
  EXPECT_LE(available_cores(), CPU_COUNT(&before));
  int first = 0;
  while (!CPU_ISSET(first, &before)) ++first;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(available_cores(), 1);
  sched_setaffinity(0, sizeof before, &before);
}

}  // namespace
}  // namespace suanli
