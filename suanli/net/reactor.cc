#include "suanli/net/reactor.h"

#include <pthread.h>

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <future>
#include <utility>

#include "suanli/base/error.h"

namespace suanli::net {

struct Reactor::Guard {
  asio::executor_work_guard<asio::io_context::executor_type> work;
};

Reactor::Reactor() : context_(std::make_unique<asio::io_context>(1)), guard_(new Guard{asio::make_work_guard(*context_)}) {
  thread_ = std::thread([this] { context_->run(); });
}

Reactor::~Reactor() {
  SUANLI_CHECK(!is_own_thread());
  context_->stop();
  thread_.join();
}

void Reactor::post(std::function<void()> work) { asio::post(*context_, std::move(work)); }

void Reactor::run_and_wait(const std::function<void()>& work) {
  if (is_own_thread()) return work();
  std::promise<void> done;
  post([&] {
    work();
    done.set_value();
  });
  done.get_future().wait();
}

Seconds Reactor::now() {
  return Seconds(std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count());
}

Seconds Reactor::cpu_time() const {
  clockid_t clock;
  timespec time{};
  if (pthread_getcpuclockid(const_cast<std::thread&>(thread_).native_handle(), &clock) != 0 || clock_gettime(clock, &time) != 0)
    return Seconds(0);
  return Seconds(static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec));
}

struct Timer::State {
  explicit State(asio::io_context& context) : timer(context) {}
  asio::steady_timer timer;
  std::function<void()> work;
  std::uint64_t round = 0;  // a handler that is queued already when its timer is stopped finds another round
};

Timer::Timer(Reactor& reactor) : state_(std::make_shared<State>(reactor.context())) {}

Timer::~Timer() { stop(); }

void Timer::start(Seconds delay, std::function<void()> work) {
  State& state = *state_;
  state.work = std::move(work);
  const std::uint64_t round = ++state.round;
  // Half a year is as good as for ever, and far from where the clock's integers end.
  const double seconds = delay.value() > 1.5e7 ? 1.5e7 : delay.value();
  state.timer.expires_after(
      std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(seconds)));
  state.timer.async_wait([kept = std::weak_ptr<State>(state_), round](const asio::error_code& error) {
    const std::shared_ptr<State> living = kept.lock();
    if (!living || error || living->round != round) return;
    const std::function<void()> due = std::exchange(living->work, nullptr);
    due();
  });
}

void Timer::stop() {
  ++state_->round;
  state_->work = nullptr;
  state_->timer.cancel();
}

}  // namespace suanli::net
