// Measures what this machine can do: its limits, bare matrix products, the kernel calls of small training steps, its disk.
//
// All are measured in rounds that alternate, so that each figure sees the whole length of the calibration: machines that are
// shared swing within seconds. A figure is the median over the rounds; its interval reaches from the 10th to the 90th
// percentile of the rounds, or as far as calibrations were seen to differ from one another, whichever is wider (samples.h,
// kFloor...). Rounds in which other programs had the cores do not count if others are left (core_wait.h).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/base/units.h"
#include "suanli/engine/target.h"
#include "suanli/model/gpt.h"
#include "suanli/plan/profile.h"

namespace suanli::plan {

// A small training step whose calls are timed.
struct CalibrationModel {
  model::GptConfig model;
  std::int64_t batch = 1;
  std::int64_t micro_batches = 1;
};
// Of widths, contexts, vocabularies and batches that span what jobs have; none is a job of the examples or benches.
std::vector<CalibrationModel> calibration_models(bool quick);

struct CalibrateProgress {
  std::string doing;  // "preparing", "disk", "round 3"
  double done = 0;    // a fraction of the time
  Seconds left;
};

struct CalibrateOptions {
  bool quick = false;
  int threads = 1;
  std::vector<engine::Arithmetic> arithmetics = {engine::Arithmetic::f32, engine::Arithmetic::bf16};
  std::string folder;  // whose disk is measured; empty: none is
  Seconds duration{};  // in all; 0: 16 s quick, 100 s else. At least two rounds are made, however long they take
  std::vector<CalibrationModel> models{};  // empty: calibration_models(quick)
  std::function<void(const CalibrateProgress&)> progress{};
  const std::atomic<bool>* stop = nullptr;  // looked at between two steps
};

// Errors: interrupted; no_memory; of the disk.
Result<Profile> calibrate(const CalibrateOptions& options);

}  // namespace suanli::plan
