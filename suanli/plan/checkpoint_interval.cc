#include "suanli/plan/checkpoint_interval.h"

#include <algorithm>
#include <cmath>

namespace suanli::plan {
namespace {

// Lost to faults: up to here the first order differs from the complete model by less than 1 %.
constexpr double kFirstOrder = 0.1;

double lost_to_faults(const Interruptions& given) {
  return (given.recovery.value() + given.interval.value() / 2) / given.mean_time.value();
}

double time_for_snapshots(const Interruptions& given) { return 1 + given.stall / given.interval; }

}  // namespace

Seconds young_interval(Seconds stall, Seconds mean_time) { return Seconds(std::sqrt(2 * stall.value() * mean_time.value())); }

Seconds daly_interval(Seconds stall, Seconds mean_time) {
  if (stall >= 2.0 * mean_time) return mean_time;
  const double half = stall.value() / (2 * mean_time.value());
  return young_interval(stall, mean_time) * (1 + std::sqrt(half) / 3 + half / 9) - stall;
}

Seconds stall_for_every_step(Seconds step, Seconds mean_time) {
  return Seconds(step.value() * step.value() / (2 * mean_time.value()));
}

std::int64_t best_steps_between(Seconds stall, Seconds mean_time, Seconds step, Seconds write) {
  if (!std::isfinite(mean_time.value())) return 0;
  constexpr double kMost = 9e15;  // still exact as a double
  const double writing = std::ceil(write / step);
  const double faults = stall <= stall_for_every_step(step, mean_time) ? 1 : std::round(young_interval(stall, mean_time) / step);
  return static_cast<std::int64_t>(std::clamp(std::max(writing, faults), 1.0, kMost));
}

double expected_time_ratio(const Interruptions& given) {
  return std::max(0.0, 1 - lost_to_faults(given)) / time_for_snapshots(given);
}

double complete_time_ratio(const Interruptions& given) {
  const double mean = given.mean_time.value();
  if (!std::isfinite(mean)) return 1 / time_for_snapshots(given);
  return given.interval.value() /
         (mean * std::exp(given.recovery.value() / mean) * std::expm1((given.interval + given.stall).value() / mean));
}

double useful_time_ratio(const Interruptions& given) {
  return lost_to_faults(given) <= kFirstOrder ? expected_time_ratio(given) : complete_time_ratio(given);
}

}  // namespace suanli::plan
