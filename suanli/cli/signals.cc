#include "suanli/cli/signals.h"

#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <ctime>

namespace suanli::cli {
namespace {

// A terminal signals the whole process group, and a shell script may pass the signal on once more.
constexpr std::int64_t kDoubleMilliseconds = 200;

std::atomic<bool> stopped = false;
std::atomic<std::int64_t> first_milliseconds = 0;
static_assert(std::atomic<bool>::is_always_lock_free);
static_assert(std::atomic<std::int64_t>::is_always_lock_free);

std::int64_t now_milliseconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

void on_signal(int number) {
  const int error = errno;
  const std::int64_t now = now_milliseconds();
  if (!stopped.exchange(true)) {
    first_milliseconds = now;
    constexpr char kNote[] = "\nstopping cleanly; once more ends it at once\n";
    if (write(STDERR_FILENO, kNote, sizeof kNote - 1) < 0) errno = error;
  } else if (now - first_milliseconds > kDoubleMilliseconds) {
    std::signal(number, SIG_DFL);
    std::raise(number);
  }
  errno = error;
}

}  // namespace

const std::atomic<bool>* stop_on_signals() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  return &stopped;
}

void ignore_broken_pipes() { std::signal(SIGPIPE, SIG_IGN); }

}  // namespace suanli::cli
