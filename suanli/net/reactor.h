// The one thread on which all sockets and timers of a node run. Everything that belongs to a connection is touched by this
// thread alone, so nothing there needs a lock; other threads hand work over with post(). Nothing that runs here may block.
#pragma once

#include <functional>
#include <memory>
#include <thread>

#include "suanli/base/units.h"

namespace asio {
class io_context;
}

namespace suanli::net {

class Reactor {
 public:
  Reactor();
  // Stops and joins. What was posted and has not run is dropped. Not on the reactor's own thread.
  ~Reactor();
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;

  // Runs `work` later, on the reactor's thread. Any thread.
  void post(std::function<void()> work);
  // Runs `work` on the reactor's thread and returns when it is done. Any thread.
  void run_and_wait(const std::function<void()>& work);
  bool is_own_thread() const { return std::this_thread::get_id() == thread_.get_id(); }
  asio::io_context& context() { return *context_; }
  // The monotonic clock that timers go by.
  static Seconds now();
  // User and system time that the reactor's thread has taken. Any thread.
  Seconds cpu_time() const;

 private:
  struct Guard;
  std::unique_ptr<asio::io_context> context_;
  std::unique_ptr<Guard> guard_;
  std::thread thread_;
};

// Runs a function once, later, unless stopped before. Reactor's thread only; destroying it stops it.
class Timer {
 public:
  explicit Timer(Reactor& reactor);
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  // Replaces what was started before. The work may destroy the timer.
  void start(Seconds delay, std::function<void()> work);
  void stop();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace suanli::net
