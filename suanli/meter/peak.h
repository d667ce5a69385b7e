// The fastest rate this machine's matrix products reach through the engine: what MFU is measured
// against when nobody has stated the machine's peak.
#pragma once

#include "suanli/base/clock.h"
#include "suanli/base/error.h"
#include "suanli/base/units.h"
#include "suanli/engine/device.h"
#include "suanli/engine/target.h"

namespace suanli::meter {

struct PeakOptions {
  std::int64_t size = 1024;  // the products are [size, size] x [size, size]
  int products = 8;          // per run, each reading the one before
  Seconds duration{
      0.3};  // runs begin until this is over; at least three, of which the first only warms up
};

// The best of several runs: other programs on the machine only ever slow one down.
Result<FlopsPerSecond> measure_peak(engine::Device& device, engine::Arithmetic arithmetic,
                                    Clock& clock, const PeakOptions& options = {});

}  // namespace suanli::meter
