// A figure that is not known exactly: the value to expect, and the 10th and 90th percentile of what it may turn out to be (an
// interval that holds four of five).
#pragma once

#include <algorithm>

namespace suanli::plan {

// Of plain numbers in SI units.
struct Interval {
  double low = 0, expected = 0, high = 0;

  static constexpr Interval exactly(double value) { return {value, value, value}; }
  // expected * (1 - below) to expected * (1 + above).
  static constexpr Interval around(double expected, double below, double above) {
    return {expected * (1 - below), expected, expected * (1 + above)};
  }
  constexpr bool is_exact() const { return low == high; }
  constexpr bool operator==(const Interval&) const = default;
};

// Times a number of at least 0.
constexpr Interval scaled(const Interval& value, double factor) {
  return {value.low * factor, value.expected * factor, value.high * factor};
}
// Of figures that err together: the ends add up.
constexpr Interval sum(const Interval& a, const Interval& b) {
  return {a.low + b.low, a.expected + b.expected, a.high + b.high};
}
// Seconds of so many operations where no more than `cap` may be done per second (0: no limit): nothing is faster.
constexpr double capped(double seconds, double flops, double cap) { return cap > 0 ? std::max(seconds, flops / cap) : seconds; }
constexpr Interval capped(const Interval& seconds, double flops, double cap) {
  return {capped(seconds.low, flops, cap), capped(seconds.expected, flops, cap), capped(seconds.high, flops, cap)};
}

}  // namespace suanli::plan
