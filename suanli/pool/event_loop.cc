#include "suanli/pool/event_loop.h"

#include <chrono>
#include <memory>
#include <utility>

namespace suanli::pool {

void EventLoop::post(std::function<void()> event) {
  const std::lock_guard lock(mutex_);
  if (stopped_) return;
  events_.push_back(std::move(event));
  changed_.notify_all();
}

void EventLoop::run(Seconds tick_every, const std::function<void()>& tick) {
  using Clock = std::chrono::steady_clock;
  const auto every = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(tick_every.value()));
  auto next_tick = Clock::now();
  // Events that wait as a tick becomes due come first: what they tell, such as that a peer is alive, is older than the tick.
  std::size_t before_tick = 0;
  bool is_due = false;
  std::unique_lock lock(mutex_);
  while (!stopped_) {
    if (!is_due && Clock::now() >= next_tick) {
      is_due = true;
      before_tick = events_.size();
    }
    if (is_due && before_tick == 0) {
      lock.unlock();
      tick();
      lock.lock();
      is_due = false;
      next_tick = Clock::now() + every;
      continue;
    }
    if (events_.empty()) {
      changed_.wait_until(lock, next_tick);
      continue;
    }
    if (is_due) --before_tick;
    const std::function<void()> event = std::move(events_.front());
    events_.pop_front();
    lock.unlock();
    event();
    lock.lock();
  }
  const auto dropped = std::exchange(events_, {});
  lock.unlock();
}

void EventLoop::stop() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  changed_.notify_all();
}

bool EventLoop::run_and_wait(const std::function<void()>& event) {
  // Shared with the event, which may be dropped.
  struct Waiting {
    std::mutex mutex;
    std::condition_variable changed;
    bool has_run = false, was_dropped = false;
  };
  const auto waiting = std::make_shared<Waiting>();
  struct Guard {
    std::shared_ptr<Waiting> waiting;
    ~Guard() {
      const std::lock_guard lock(waiting->mutex);
      waiting->was_dropped = true;
      waiting->changed.notify_all();
    }
  };
  {
    auto guard = std::make_shared<Guard>(waiting);
    post([guard = std::move(guard), &event] {
      event();
      const std::lock_guard lock(guard->waiting->mutex);
      guard->waiting->has_run = true;
    });
  }
  std::unique_lock lock(waiting->mutex);
  waiting->changed.wait(lock, [&] { return waiting->has_run || waiting->was_dropped; });
  return waiting->has_run;
}

}  // namespace suanli::pool
