// Kernel calls timed where they run: in steps of small training graphs, between the calls that surround them in real ones.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "suanli/engine/device.h"
#include "suanli/engine/executor.h"
#include "suanli/plan/calibrate.h"
#include "suanli/plan/kernel_class.h"
#include "suanli/plan/profile.h"
#include "suanli/plan/samples.h"

namespace suanli::plan {

// Operations of one step, by the graph.
Result<Flops> calibration_flops(const CalibrationModel& model);

// One model in one arithmetic. One thread; the device outlives it.
class ModelSampler {
 public:
  static Result<std::unique_ptr<ModelSampler>> create(const CalibrationModel& model, engine::Arithmetic arithmetic,
                                                      engine::Device& device);

  // One visit: steps until about `least` has passed, of which the first only warms caches if others follow.
  Status sample(Seconds least);

  engine::Arithmetic arithmetic() const { return arithmetic_; }
  // Of the visits so far, at least one: rates of all classes and sizes of calls.
  std::vector<KernelRate> rates() const;
  // Medians over the visits: of a step, and of all its calls (each call's median, added up).
  double step_seconds() const { return steps_.median(); }
  double call_seconds() const;
  // Of a step over the sum of its calls' medians, visit by visit.
  std::vector<double> overheads() const;

 private:
  // Calls of one class, sizes, operations and bytes.
  struct Group {
    CallClass call;
    double runs = 0;                // of all its calls in a step
    std::vector<double> visit;      // seconds of one call, of the visit in progress
    Samples samples;                // medians of visits
  };
  struct Timed {
    std::size_t group = 0;
    double seconds = 0, calls = 0;  // of all steps so far
  };

  ModelSampler(const CalibrationModel& model, engine::Arithmetic arithmetic, engine::Device& device);
  Status prepare();
  Status step();
  void take_call_times();

  const CalibrationModel model_;
  const engine::Arithmetic arithmetic_;
  engine::Device& device_;
  std::vector<std::int32_t> tokens_, targets_;
  std::unique_ptr<engine::State> state_;
  std::unique_ptr<engine::Executor> executor_;
  std::vector<Group> groups_;
  std::vector<Timed> timed_;        // calls in order of phases
  std::vector<double> visit_steps_;  // seconds, of the visit in progress
  Samples steps_;                    // medians of visits
};

}  // namespace suanli::plan
