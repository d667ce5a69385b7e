// What a rate of computing is a fraction of: the fastest matrix products that this machine reaches through the engine, or
// the limits of its cores.
#pragma once

#include <vector>

#include "suanli/base/clock.h"
#include "suanli/base/error.h"
#include "suanli/base/units.h"
#include "suanli/engine/cpu/calibration.h"
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

// The loop that matrix products of this arithmetic are held against. Without AMX tiles bf16 products are f32 multiply-adds,
// or instructions that are at most twice as fast (AVX512-BF16, with which a rate could exceed this limit). Exact products are
// held against those of bf16, which the same units compute.
engine::ProductLoop product_loop(engine::Arithmetic arithmetic, bool has_tiles);

// Limits of the cores, of all threads together.
struct Calibration {
  engine::ProductLoop loop = engine::ProductLoop::f32_fma;
  FlopsPerSecond products;        // median of the samples
  FlopsPerSecond nominal;         // dense peak: operations per cycle (calibration.h) at the measured clock, of `cores`
  FlopsPerSecond elementwise;     // f32 multiply-adds, median; 0 unless sampled
  BytesPerSecond memory;          // the better of reading and copying, medians; 0 unless sampled
  double clock_hz = 0;            // of one core
  int threads = 0;                // that ran
  int cores = 0;                  // that they can have at once: fewer if there are more threads than cores
};

// Samples the limits between runs that are to be judged by them, since they swing with what else the machine does.
// One thread.
class Calibrator {
 public:
  Calibrator(engine::Arithmetic arithmetic, int threads);

  // `duration` of matrix products, and a little of the clock.
  void sample(Seconds duration);
  // As long of each of elementwise multiply-adds, reading and copying.
  void sample_elementwise_and_memory(Seconds duration);

  // Of the samples so far, at least one.
  Calibration result() const;

 private:
  engine::CalibrationLoops loops_;
  engine::ProductLoop loop_;
  std::vector<double> products_, clocks_, elementwise_, reads_, copies_;
};

}  // namespace suanli::meter
