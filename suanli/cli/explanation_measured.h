// What each kernel call of a job's program takes on this machine, beside what it would take at the machine's limits.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "suanli/cli/explanation.h"
#include "suanli/meter/peak.h"
#include "suanli/train/bench_step.h"
#include "suanli/train/bench_step_runner.h"

namespace suanli::cli {

// All runs of one call in a step. The limit is what takes longer: its operations at the calibrated rate (of products, or of
// f32 multiply-adds for everything else), or its bytes at the calibrated bandwidth. Bytes are its inputs once and its outputs
// once, the least it can move; what already lies in a cache can beat that limit.
struct MeasuredCall {
  graph::Phase phase = graph::Phase::forward;
  std::size_t index = 0;  // in the phase
  std::string kernel;
  double bytes = 0, flops = 0;
  Seconds at_rate{}, at_bandwidth{};
  Seconds measured{};  // median over the steps

  Seconds predicted() const { return at_rate > at_bandwidth ? at_rate : at_bandwidth; }
  double share_of_limit() const { return measured > Seconds(0) ? predicted() / measured : 0; }
  bool is_memory_bound() const { return at_bandwidth > at_rate; }
};

struct Measurement {
  int steps = 0;
  Seconds step_median;
  meter::Calibration rates;
  std::vector<MeasuredCall> calls;  // in running order
};

// Of the very program that is explained, on as many threads as the job says.
Result<std::unique_ptr<train::StepRunner>> runner_of(const Explanation& explanation);

// Runs 2 steps to warm up and 5 that count, each followed by a calibration. `runner` has run none yet.
// Errors: not_finite; interrupted.
Result<Measurement> measure(train::StepRunner& runner, const std::function<void(const train::BenchProgress&)>& progress,
                            train::StopFlag stop = nullptr);

// Calls that do the same on operands of the same shapes together, those that take longest first.
std::string measured_text(const Explanation& explanation, const Measurement& measurement);
// Every call, in order.
std::string measured_calls_text(const Explanation& explanation, const Measurement& measurement);
Json measured_json(const Explanation& explanation, const Measurement& measurement);

}  // namespace suanli::cli
