// After which steps a pool's coordinator collects the state of a job, and what it then does with it. Workers hand over one state
// at a time, every so many steps; evaluations, snapshots, samples and digests each have a period of their own.
#pragma once

#include <cstdint>
#include <optional>

#include "suanli/base/error.h"
#include "suanli/train/job.h"

namespace suanli::pool {

struct StateDates {
  // Steps between two of a kind; 0: none on the way.
  std::int64_t evaluation = 0, snapshot = 0, sample = 0, digest = 0;
  std::int64_t last_step = 0;  // after which there is a state in any case

  // Of a job whose arithmetic is settled. `can_evaluate`: the dataset has a validation window.
  static StateDates of(const train::JobConfig& job, bool can_evaluate);

  // Steps between collected states, so that evaluations and snapshots come at their own steps; 0: the last state alone. Samples
  // and digests come at theirs if that takes no other states than these or their own; otherwise with the next state there is.
  std::int64_t every() const;
  bool is_collected(std::int64_t step) const { return step == last_step || (every() > 0 && step % every() == 0); }
  // States are collected that nothing is done with: a warning that names keys and next step.
  std::optional<Error> waste() const;

 private:
  // What comes with the last step alone asks for no state of its own.
  std::int64_t on_the_way(std::int64_t period) const { return period < last_step ? period : 0; }
};

// Whether what comes every `period` steps (0: never) is due with the state after `step`, when the one before was that after
// `before`.
inline bool is_due(std::int64_t period, std::int64_t before, std::int64_t step) {
  return period > 0 && step / period > before / period;
}

}  // namespace suanli::pool
