// What is not known of a training setup, assumed from what is: layout, recomputation and micro-batch from what fits into memory,
// software from its time and layout.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/plan/step_time.h"

namespace suanli::plan {

struct SetupFacts {
  Transformer model;                                   // only the parameters must be known
  Accelerator device;
  int devices = 0;                                     // 0: unknown, also below
  int tensor = 0, pipeline = 0, data = 0, context_parallel = 0, interleave = 0, gather_group = 0;
  std::optional<int> shard;
  std::optional<bool> sequence_parallel, flash;
  std::optional<Recomputation> recomputation;
  std::optional<Stack> stack;
  double global_batch = 0;                             // sequences
  std::int64_t micro_batch = 0;                        // sequences
  std::string dtype = "bf16";
  std::optional<BytesPerSecond> cluster_link;
  double year = 2025;                                  // of the software: 2021.5 is the middle of 2021
};

// The product of the degrees that are stated; more than kMostDevices are an error.
inline constexpr double kMostDevices = 1e9;
double stated_devices(const SetupFacts& facts);

struct SettledSetup {
  TrainingSetup setup;
  std::vector<std::string> assumed;                    // "recomputation full", ...
  bool is_known = false;                               // stack, recomputation and micro-batch were stated
};

// Errors: usage (degrees that do not divide the devices, as predict_step_time).
Result<SettledSetup> settle(const SetupFacts& facts);

}  // namespace suanli::plan
