// The outer step on the state of one machine that holds what all lanes of a job have given (state_layout.h): of a snapshot of
// the last step, or of a step that sends without a delay. Lanes that go on take the same step by themselves, with the same bits
// (local_training.h); a lane that was lost is not waited for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "suanli/base/error.h"
#include "suanli/engine/executor.h"
#include "suanli/train/local_steps.h"

namespace suanli::pool {

// `params`: of the job's graph. The state is that after `step`, of lanes 0 to `lanes` - 1. Takes the outer step that is due then
// and not taken by them: of weights and momentum that all share, and the weights of each lane, which become those. After the last
// step rounds have begun anew (train::kOuterBegun). Does nothing if none is due. Errors: not_finite, with the tensor and the
// step, and parts of the state have changed; mismatch (a tensor is missing).
Status take_outer_step(engine::State& whole, std::span<const train::OuterParam> params, const train::LocalSteps& settings,
                       engine::Arithmetic arithmetic, std::size_t lanes, std::int64_t step);

}  // namespace suanli::pool
