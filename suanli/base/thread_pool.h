// One pool of threads for all kernels of a process. Work is given as `count` independent tasks; which thread
// runs which task is not fixed, so a task must depend on its index alone: then the result has the same bits
// at any thread count.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace suanli {

// Asked before every task how long it should wait, so that work can be kept under a rate. Any thread of the pool may ask at
// any time; pace() may block.
class Pacer {
 public:
  virtual ~Pacer() = default;
  // `work` is the task's share of what begin_work() announced, in the announcer's unit (the engine's: FLOPs).
  virtual void pace(double work) = 0;
};

class ThreadPool {
 public:
  // `threads` counts the calling thread; 1 means that everything runs in the caller.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return threads_; }

  // Runs task(index, worker) for each index in [0, count) and returns when all are done; worker is in
  // [0, size()) and tells scratch buffers apart. Only one thread may call at a time, and never from inside
  // a task. Allocates nothing. `share` is this loop's part of the announced work: a kernel whose loops after the first
  // only move data gives those 0.
  template <typename Task>
  void parallel_for(std::int64_t count, const Task& task, double share = 1) {
    run(count, share, [](const void* t, std::int64_t i, int w) { (*static_cast<const Task*>(t))(i, w); },
        &task);
  }

  // The pacer to ask, or null. Not while a run is in progress.
  void set_pacer(Pacer* pacer) { pacer_ = pacer; }
  // The work of the loops until end_work(); what they did not ask for by then is paced at the end.
  void begin_work(double work);
  void end_work();

 private:
  using Call = void (*)(const void* task, std::int64_t index, int worker);
  void run(std::int64_t count, double share, Call call, const void* task);

  struct State;
  int threads_;
  Pacer* pacer_ = nullptr;
  double work_ = 0;  // announced
  double left_ = 0;  // of it, not yet asked for
  std::unique_ptr<State> state_;
};

// The number of cores this process may run on (its affinity mask and cgroup quota), at least 1.
int available_cores();

}  // namespace suanli
