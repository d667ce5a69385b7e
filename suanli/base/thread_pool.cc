#include "suanli/base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <system_error>
#include <thread>
#include <vector>

#include "suanli/base/cgroup.h"
#include "suanli/base/error.h"

namespace suanli {
namespace {

constexpr std::size_t kCacheLine = 64;
// Kernels follow one another within microseconds; waking a sleeping thread costs about as much as
// this spin.
constexpr std::chrono::microseconds kSpin(40);

thread_local bool inside_task = false;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Returns once ready(value) holds: spins for a while, then sleeps until notified.
template <typename Ready>
std::uint32_t wait_until(const std::atomic<std::uint32_t>& atomic, bool spin, Ready ready) {
  std::uint32_t value = atomic.load(std::memory_order_acquire);
  if (spin && !ready(value)) {
    const auto end = std::chrono::steady_clock::now() + kSpin;
    do {
      for (int i = 0; i < 16 && !ready(value); ++i) {
        pause();
        value = atomic.load(std::memory_order_acquire);
      }
    } while (!ready(value) && std::chrono::steady_clock::now() < end);
  }
  while (!ready(value)) {
    atomic.wait(value, std::memory_order_acquire);
    value = atomic.load(std::memory_order_acquire);
  }
  return value;
}

int cores_of_affinity() {
  // The kernel refuses a set smaller than its own, so grow it.
  for (int cpus = 1024; cpus <= 1 << 20; cpus *= 2) {
    cpu_set_t* set = CPU_ALLOC(cpus);
    const std::size_t size = CPU_ALLOC_SIZE(cpus);
    const bool known = sched_getaffinity(0, size, set) == 0;
    const int count = known ? CPU_COUNT_S(size, set) : 0;
    CPU_FREE(set);
    if (known) return count;
  }
  return static_cast<int>(std::thread::hardware_concurrency());
}

}  // namespace

// A run is a gate that the caller opens and closes. A worker takes part only if it comes in while
// the gate is open, so the caller waits for workers that have begun, never for one that the
// operating system has yet to wake.
struct ThreadPool::State {
  static constexpr std::uint32_t kOpen = std::uint32_t{1} << 31;

  // Changes when there is work, or the end.
  alignas(kCacheLine) std::atomic<std::uint32_t> round{0};
  // kOpen | number of workers inside.
  alignas(kCacheLine) std::atomic<std::uint32_t> gate{0};
  // The first index that nobody has taken.
  alignas(kCacheLine) std::atomic<std::int64_t> next{0};

  // Written by the caller while the gate is closed and nobody is inside.
  alignas(kCacheLine) Call call = nullptr;
  const void* task = nullptr;
  std::int64_t count = 0;
  Pacer* pacer = nullptr;
  double work_per_task = 0;

  std::atomic<bool> busy{false};
  std::atomic<bool> stop{false};
  bool spin = true;  // only where each thread has a core to itself
  std::vector<std::thread> threads;

  // An exception that leaves a task ends the process: tasks report failures by value.
  void take_tasks(int worker) noexcept {
    inside_task = true;
    for (;;) {
      const std::int64_t index = next.fetch_add(1, std::memory_order_relaxed);
      if (index >= count) break;
      if (pacer != nullptr) pacer->pace(work_per_task);
      call(task, index, worker);
    }
    inside_task = false;
  }

  bool enter() {
    std::uint32_t seen = gate.load(std::memory_order_relaxed);
    while (seen & kOpen) {
      if (gate.compare_exchange_weak(seen, seen + 1, std::memory_order_acq_rel)) return true;
    }
    return false;
  }

  void leave() {
    if (gate.fetch_sub(1) == 1) gate.notify_one();
  }

  void work(int worker) {
    std::uint32_t seen = 0;
    for (;;) {
      seen = wait_until(round, spin, [seen](std::uint32_t now) { return now != seen; });
      if (stop.load(std::memory_order_acquire)) return;
      if (!enter()) continue;
      take_tasks(worker);
      leave();
    }
  }

  void announce() {
    round.fetch_add(1);
    round.notify_all();
  }
};

ThreadPool::ThreadPool(int threads) : threads_(threads), state_(std::make_unique<State>()) {
  SUANLI_CHECK(threads >= 1);
  state_->spin = threads <= available_cores();
  state_->threads.reserve(static_cast<std::size_t>(threads - 1));
  for (int worker = 1; worker < threads; ++worker) {
    try {
      state_->threads.emplace_back([state = state_.get(), worker] { state->work(worker); });
    } catch (const std::system_error&) {
      threads_ = worker;  // the machine grants no more threads: a smaller pool does the same work
      break;
    }
  }
}

ThreadPool::~ThreadPool() {
  state_->stop.store(true, std::memory_order_release);
  state_->announce();
  for (std::thread& thread : state_->threads) thread.join();
}

void ThreadPool::begin_work(double work) { work_ = left_ = work; }

void ThreadPool::end_work() {
  if (pacer_ != nullptr && left_ > 0) pacer_->pace(left_);
  work_ = left_ = 0;
}

void ThreadPool::run(std::int64_t count, double share, Call call, const void* task) {
  SUANLI_CHECK(count >= 0);
  SUANLI_CHECK(!inside_task && "parallel_for was called from inside a task");
  State& state = *state_;
  SUANLI_CHECK(!state.busy.exchange(true, std::memory_order_acquire) &&
               "two threads called parallel_for at once");
  state.call = call;
  state.task = task;
  state.count = count;
  const double work = count > 0 ? std::min(work_ * share, left_) : 0;
  left_ -= work;
  state.pacer = work > 0 ? pacer_ : nullptr;
  state.work_per_task = count > 0 ? work / static_cast<double>(count) : 0;
  state.next.store(0, std::memory_order_relaxed);
  const bool shared = threads_ > 1 && count > 1;
  if (shared) {
    state.gate.store(State::kOpen, std::memory_order_release);
    state.announce();
  }
  state.take_tasks(0);
  if (shared) {
    state.gate.fetch_and(~State::kOpen);
    wait_until(state.gate, state.spin, [](std::uint32_t gate) { return gate == 0; });
  }
  state.busy.store(false, std::memory_order_release);
}

int available_cores() {
  int cores = cores_of_affinity();
  const double quota = cgroup_limits().cores;
  if (quota > 0) cores = std::min(cores, static_cast<int>(std::ceil(std::min(quota, 1e6))));
  return std::max(cores, 1);
}

}  // namespace suanli
