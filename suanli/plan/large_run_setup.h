// What a large run leaves open is settled here: shape, batch, layout and recomputation such that the state fits.
#pragma once

#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/plan/device_memory.h"
#include "suanli/plan/large_run.h"

namespace suanli::plan {

// A complete setup, and whether norms and the activation function are made again in backward (device_memory.h).
struct LaidOutRun {
  TrainingSetup setup;
  bool trims = false;
};

struct SettledRun {
  TrainingSetup setup;               // complete
  bool trims = false;                // as LaidOutRun
  bool has_given_shape = false;      // layers and width; else they are those of usual_shape()
  bool has_given_context = false;
  bool has_given_batch = false;
  bool has_given_layout = false;     // all three degrees
  std::vector<std::string> notes;    // what was chosen, and why
  std::vector<Error> warnings;
};

DeviceMemory device_memory(const LaidOutRun& run);

// Seconds of a step, to compare layouts with: as step_time.h predicts, else by closed forms alone.
double expected_step_seconds(const LaidOutRun& run);

// Errors: usage, no_memory.
Result<SettledRun> settle_run(const LargeRun& run);

// What is impossible in itself, whatever is settled later. Error usage.
Status check_large_run(const LargeRun& run);

}  // namespace suanli::plan
