// Samples of one figure over the rounds of a calibration, and the interval they give.
#pragma once

#include <algorithm>
#include <vector>

#include "suanli/meter/quantile.h"
#include "suanli/plan/interval.h"

namespace suanli::plan {

class Samples {
 public:
  // `disturbed`: other programs had cores meanwhile (core_wait.h). Such samples count only if there are too few others.
  void add(double value, bool disturbed = false) { (disturbed ? disturbed_ : quiet_).push_back(value); }

  // Those that count; at least one sample was added.
  std::vector<double> values() const {
    if (quiet_.size() >= kEnough) return quiet_;
    std::vector<double> all = quiet_;
    all.insert(all.end(), disturbed_.begin(), disturbed_.end());
    return all;
  }
  double median() const { return meter::median(values()); }

  // Median, and the 10th and 90th percentile, but at least `floor` (a fraction) to each side. The rounds of one calibration see
  // how the machine swings within it; `floor` is for what a quiet one does between calibrations. Together they are to hold four
  // of five repetitions; how far they do is in docs/benchmarks.md.
  Interval interval(double floor) const {
    const std::vector<double> counted = values();
    const double expected = meter::median(counted);
    return {std::min(meter::quantile(counted, 0.1), expected * (1 - floor)), expected,
            std::max(meter::quantile(counted, 0.9), expected * (1 + floor))};
  }

 private:
  static constexpr std::size_t kEnough = 3;
  std::vector<double> quiet_, disturbed_;
};

}  // namespace suanli::plan
