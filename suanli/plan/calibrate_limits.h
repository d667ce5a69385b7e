// The limits of cores and memory, sampled by the loops that `suanli bench` runs beside its steps (engine/cpu/calibration.h).
#pragma once

#include <vector>

#include "suanli/engine/cpu/calibration.h"
#include "suanli/plan/profile.h"
#include "suanli/plan/samples.h"

namespace suanli::plan {

class LimitSampler {
 public:
  LimitSampler(const std::vector<engine::Arithmetic>& arithmetics, int threads);

  // About `each` of every loop.
  void sample(Seconds each);
  // The first sample's, for judging what there is time for.
  FlopsPerSecond multiply_adds() const { return FlopsPerSecond(fma_.median()); }
  // Clock, bandwidths and peaks. At least one sample.
  void describe(Profile& profile) const;

 private:
  struct Peak {
    engine::Arithmetic arithmetic;
    engine::ProductLoop loop;
  };
  engine::CalibrationLoops loops_;
  std::vector<Peak> peaks_;
  Samples fma_, tiles_, read_, copy_, clock_;
};

}  // namespace suanli::plan
