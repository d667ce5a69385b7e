// The one thread on which a pool's program decides things: events come from anywhere and run here in order, so that state
// machines need no lock. Run by whoever calls run().
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>

#include "suanli/base/units.h"

namespace suanli::pool {

class EventLoop {
 public:
  // Any thread; after stop() events are dropped.
  void post(std::function<void()> event);
  // Until stop(). `tick` is called at least every `tick_every`, between events.
  void run(Seconds tick_every, const std::function<void()>& tick);
  void stop();
  // Any thread but the loop's: runs the event there and returns when it has run. False if the loop has stopped.
  bool run_and_wait(const std::function<void()>& event);

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> events_;
  bool stopped_ = false;
};

}  // namespace suanli::pool
