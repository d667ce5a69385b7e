// Layouts of a large run over its devices.
#pragma once

#include <vector>

#include "suanli/base/error.h"
#include "suanli/plan/large_run_setup.h"

namespace suanli::plan {

// That given degrees multiply to, or divide, the number of devices. Error usage.
Status check_layout(const LargeRun& run);

// Every usual layout that has the degrees, the sharding, the recomputation and the batch that are given: tensor parallel inside
// a machine, stages that hold whole layers. `base` has model, device and batch; a batch that is not given grows to one
// micro-batch for each replica.
std::vector<LaidOutRun> layouts_of(const LargeRun& run, const TrainingSetup& base);

// Memory is known and suffices, or is not known.
bool fits(const LaidOutRun& run);

// In tokens a second, among those that fit, and of these among those with the smallest batch: a batch that must grow to keep all
// replicas busy changes what is learned. Null if none fits.
const LaidOutRun* fastest(const std::vector<LaidOutRun>& candidates);

}  // namespace suanli::plan
