// The MFU of a run that does not state it: the one place where plans of large runs get it from.
#pragma once

#include "suanli/plan/large_run_setup.h"
#include "suanli/plan/report.h"

namespace suanli::plan {

// "mfu", of the dense peak of the setup's dtype (`peak`, of one device): what step_time.h predicts for device, model, layout and
// batch. Where that knows too little of the device, what published runs in a like situation reached.
Assumption mfu_assumption(const LargeRun& run, const SettledRun& settled, double peak);

}  // namespace suanli::plan
