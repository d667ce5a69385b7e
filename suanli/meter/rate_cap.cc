#include "suanli/meter/rate_cap.h"

#include <algorithm>
#include <cmath>

#include "suanli/base/text.h"

namespace suanli::meter {
namespace {

constexpr Seconds kBurst{0.02};
constexpr double kLargestTask = 0.03;  // of one second's work at the cap

}  // namespace

RateCap::RateCap(FlopsPerSecond cap, Clock& clock) : cap_(cap), clock_(clock), due_(clock.now()) {
  SUANLI_CHECK(cap.value() > 0);
}

void RateCap::pace(double work) {
  {
    const std::scoped_lock lock(numbers_);
    largest_ = std::max(largest_, work);
    if (is_too_large(largest_)) return;
  }
  if (work <= 0) return;
  // The clock is read before the lock, so that waiting for those ahead counts too.
  const Seconds came = clock_.now();
  const std::scoped_lock turn(turn_);
  Seconds now = clock_.now();
  // A sleep may end early by the rounding of its length: look again.
  while (due_ - kBurst > now) {
    clock_.sleep_for(due_ - kBurst - now);
    const Seconds woke = clock_.now();
    if (woke <= now) break;
    now = woke;
  }
  due_ = std::max(due_, now) + Flops(work) / cap_;
  const std::scoped_lock lock(numbers_);
  waited_ += now - came;
  if (logging_) log_.push_back({now, Flops(work)});
}

bool RateCap::is_too_large(double work) const {
  constexpr double kRounding = 1 + 1e-9;
  return work > kLargestTask * cap_.value() * kRounding;
}

Seconds RateCap::waited() const {
  const std::scoped_lock lock(numbers_);
  return waited_;
}

Flops RateCap::largest() const {
  const std::scoped_lock lock(numbers_);
  return Flops(largest_);
}

FlopsPerSecond RateCap::least_cap() const {
  const double least = largest().value() / kLargestTask;
  if (least <= 0) return FlopsPerSecond(0);
  const double unit = std::pow(10.0, std::floor(std::log10(least)) - 2);
  constexpr double kRounding =
      1e-7;  // of a unit: at most 1e-9 of the cap, which is_too_large forgives
  return FlopsPerSecond(std::ceil(least / unit - kRounding) * unit);
}

Status RateCap::check() const {
  const Flops task = largest();
  if (!is_too_large(task.value())) return {};
  const std::string least = format_si(least_cap().value(), "FLOP/s");
  return fail(ErrorCode::config,
              "a cap of " + format_si(cap_.value(), "FLOP/s") +
                  " is too low for this job: its largest task is " + format_flops(task) +
                  ", more than 3 % of what the cap allows in one second",
              "run.cap",
              "set the cap to " + least + " or more, or train with fewer tokens per micro-batch");
}

void RateCap::keep_log() {
  const std::scoped_lock lock(numbers_);
  logging_ = true;
}

std::vector<RateCap::Admission> RateCap::log() const {
  const std::scoped_lock lock(numbers_);
  return log_;
}

}  // namespace suanli::meter
