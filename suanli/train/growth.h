// [train.grow]: a run whose model grows while it trains (model/gpt_growth.h). The run is a sequence of segments, each the
// training of one size; at the end of a segment the snapshot becomes that of the next size at the same step, and job.toml and
// run.json say which size it has. docs/formats/run-folder.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/model/gpt.h"
#include "suanli/train/job.h"
#include "suanli/train/observer.h"
#include "suanli/train/run_folder.h"
#include "suanli/train/snapshots.h"

namespace suanli::train {

// What the keys say.
struct GrowthPlan {
  struct Size {
    std::int64_t layers = 0, width = 0;
    bool operator==(const Size&) const = default;
  };
  std::vector<Size> to;          // one after another; empty: the model stays as it is
  std::vector<std::int64_t> at;  // steps done when each is taken on; empty: when the loss falls too slowly
};

// Errors (config) name the key: no list of sizes, a size that cannot be grown from the one before ([model] is where the run is,
// so those of the list that it has passed are left out), steps that do not rise or are not of the run.
Result<GrowthPlan> growth_plan_of(const JobConfig& job);

// The size that the job's model grows to next; nothing if it is as large as it gets. Heads keep their size.
std::optional<model::GptConfig> next_size(const JobConfig& job, const GrowthPlan& plan);

// Says when a segment ends. One thread.
class GrowthClock {
 public:
  // Of a settled job that check_job() has passed.
  explicit GrowthClock(const JobConfig& job);
  // After a step with this loss. `state` goes with the snapshot of that step.
  void note(std::int64_t step, double loss, GrowthState& state) const;
  bool is_due(std::int64_t step, const GrowthState& state) const;

 private:
  bool grows_ = false;
  std::optional<std::int64_t> at_;
  std::int64_t window_ = 1;
  double gain_ = 0;
};

// The newest snapshot of the run, whose model is that of job.toml, becomes one of the next size. Durable when it returns; a
// process that is killed on the way leaves the run at one size or the other. Errors: of reading and writing; config (nothing to
// grow to).
Result<GrowthRecord> grow_run(const std::string& run_folder);

// Makes job.toml and run.json say the size of the newest snapshot that can be loaded: a process may have been killed between
// them, and a damaged snapshot sends the run back to an older one. Nothing to do for runs that do not grow.
[[nodiscard]] Status align_size(RunFolder& folder);

}  // namespace suanli::train
