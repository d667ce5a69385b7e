// What a large run needs of a device's memory: one form for plans (large_run_setup.h) and for setups that are assumed (settle.h).
#pragma once

#include "suanli/plan/step_time.h"

namespace suanli::plan {

// Of one device, bytes.
struct DeviceMemory {
  StateMemory state;
  double activations = 0;  // with logits and the block that is made again; without what buffers and fragmentation add
  double total() const { return state.total() + kOverhead * activations; }
  static constexpr double kOverhead = 1.1;  // expected; "activation_overhead" of reports
};

// Of the fullest stage: the first, which keeps the activations of all micro-batches in flight, or the last, which has logits.
// `trims`: norms and the activation function are made again in backward, which stacks do at little cost where memory is short: 22
// of the 34 bytes that Korthikanti et al. count per element stay (their table 2 adds up to 34: results of norms are 4 of them,
// that of the activation function 8).
DeviceMemory device_memory(const TrainingSetup& setup, bool trims = false);

// What a device has for them: its memory less what the driver, the libraries and their kernels keep. 0 if its memory is unknown.
double usable_memory(const Accelerator& device);
// 6 % of the memory: about 5 GB of an 80 GB device.
inline constexpr double kUsableShare = 0.94;

}  // namespace suanli::plan
