// The benches of the training step: the cases, and what is measured of each.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/meter/peak.h"
#include "suanli/train/bench_step_runner.h"
#include "suanli/train/evaluation.h"

namespace suanli::train {

struct BenchCase {
  std::string_view name, what;
  model::GptConfig model;
  std::int64_t batch;  // sequences per step

  StepShape shape() const { return {.model = model, .batch = batch, .micro_batches = 1}; }
};
std::span<const BenchCase> bench_cases();
// Error usage, with the nearest name.
Result<BenchCase> find_bench_case(std::string_view name);

struct BenchProgress {
  int done = 0, steps = 0;  // timed steps; 0 of 0 while warming up
  Seconds left;             // of the timed steps
};

struct BenchOptions {
  int steps = 0;  // timed; 0: about ten seconds, at least 5 and at most 30
  std::function<void(const BenchProgress&)> progress{};
  StopFlag stop = nullptr;  // looked at before each step
};

// Error interrupted once `stop` is set, which says what was done of it.
Status check_stop(StopFlag stop, const BenchProgress& progress);

// Calls of one kernel in one phase.
struct KindTime {
  graph::Phase phase;
  std::string kernel;
  std::size_t calls = 0;  // in the program
  Seconds seconds;        // of a step, median
};

struct BenchReport {
  int steps = 0;  // timed, after 2 that were not
  Seconds step_median, step_p10, step_p90;
  TokensPerSecond tokens_per_second;  // at the median
  meter::Calibration calibration;
  double mfu = 0;         // of the nominal dense peak, a fraction
  double efficiency = 0;  // of the calibration loop's rate beside the steps
  double gemm_share = 0;  // the same of the GEMM calls alone: their operations over their seconds
  double cpu_per_wall = 0;  // cores busy during the steps, median; well below the threads: something else had them
  Bytes peak_resident;      // of the process
  std::vector<KindTime> kinds;  // longest first
};

// Runs 2 steps to warm up, then the timed ones, each followed by 20 ms of calibration. `runner` has run none yet. Errors:
// not_finite; interrupted.
Result<BenchReport> bench(StepRunner& runner, const BenchOptions& options);

}  // namespace suanli::train
