#include "suanli/plan/core_wait.h"

#include <filesystem>
#include <fstream>

namespace suanli::plan {
namespace {

// Of one core: short waits are part of any system, and threads of the same step wait for one another anyway.
constexpr double kMostWaiting = 0.05;

}  // namespace

Seconds waited_for_cores() {
  double nanoseconds = 0;
  std::error_code error;
  for (std::filesystem::directory_iterator entry("/proc/self/task", error), end; !error && entry != end; entry.increment(error)) {
    // "time on a core, time waiting for one, times it got one", the first two in nanoseconds.
    std::ifstream in(entry->path() / "schedstat");
    double ran = 0, waited = 0;
    if (in >> ran >> waited) nanoseconds += waited;
  }
  return Seconds(1e-9 * nanoseconds);
}

bool Disturbance::was_disturbed() {
  const Seconds now = real_clock().now(), waited_now = waited_for_cores();
  const Seconds wall = now - begin_, waited = waited_now - waited_at_begin_;
  begin_ = now;
  waited_at_begin_ = waited_now;
  wall_ += wall;
  waited_ += waited;
  return waited > wall * kMostWaiting;
}

}  // namespace suanli::plan
