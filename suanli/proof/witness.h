// What another computation of a run says of it: its records, the claims of another machine, or another replica. A witness knows
// more or less; what it does not know is not a contradiction.
//
// Steps count from 1: step n leads from the state after n - 1 steps to that after n. State 0 is the initial one.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "suanli/proof/op_output.h"
#include "suanli/proof/replica.h"

namespace suanli::proof {

// Thread rule: one thread at a time.
class Witness {
 public:
  virtual ~Witness() = default;
  // For sentences: "the run's records".
  virtual std::string name() const = 0;
  // Of the state after `step` steps: all that it says, which may contradict itself. Empty: unknown.
  virtual Result<std::vector<Digest>> roots(std::int64_t step) = 0;
  // Of step `step`.
  virtual Result<std::optional<StepFigures>> figures(std::int64_t step) = 0;
  // All outputs of step `step`, in their order. Empty: unknown.
  virtual Result<std::vector<OpDigest>> ops(std::int64_t step);
  // The bytes of the output at `index` of that list.
  virtual Result<std::optional<std::vector<std::byte>>> output(std::int64_t step, std::size_t index);
  // The state after `step` steps. Empty: unknown.
  virtual Result<std::vector<checkpoint::NamedTensor>> state(std::int64_t step);
};

// By step; several that differ where someone contradicts himself.
using Roots = std::map<std::int64_t, std::vector<Digest>>;

// What stands in the folder of a run: digests and figures of metrics.jsonl, as far as there are any, and snapshots.
class RecordWitness final : public Witness {
 public:
  // Errors: those of describe_run and of the records.
  static Result<std::unique_ptr<RecordWitness>> open(const std::string& run_folder);

  std::string name() const override { return "the records of " + folder_; }
  Result<std::vector<Digest>> roots(std::int64_t step) override;
  Result<std::optional<StepFigures>> figures(std::int64_t step) override;
  Result<std::vector<checkpoint::NamedTensor>> state(std::int64_t step) override;

  const RunJob& run() const { return run_; }
  std::int64_t last_step() const { return last_step_; }  // recorded
  const Roots& roots() const { return roots_; }

 private:
  RecordWitness(std::string folder, RunJob run, std::unique_ptr<checkpoint::Tier> tier)
      : folder_(std::move(folder)), run_(std::move(run)), tier_(std::move(tier)) {}
  const std::string folder_;
  const RunJob run_;
  const std::unique_ptr<checkpoint::Tier> tier_;
  Roots roots_;
  std::set<std::int64_t> snapshots_;
  std::map<std::int64_t, StepFigures> figures_;
  std::int64_t last_step_ = 0;
};

// Another replica, which does whatever it does. It goes back to a snapshot where it is asked for a step that it has passed, and
// else on from where it is.
class ReplicaWitness final : public Witness {
 public:
  explicit ReplicaWitness(Replica& replica) : replica_(replica) {}

  std::string name() const override { return "the other replica"; }
  Result<std::vector<Digest>> roots(std::int64_t step) override;
  Result<std::optional<StepFigures>> figures(std::int64_t step) override;
  Result<std::vector<OpDigest>> ops(std::int64_t step) override;
  Result<std::optional<std::vector<std::byte>>> output(std::int64_t step, std::size_t index) override;
  Result<std::vector<checkpoint::NamedTensor>> state(std::int64_t step) override;
  std::int64_t steps_made() const { return steps_made_; }

 private:
  Status go_to(std::int64_t step);
  Replica& replica_;
  std::int64_t steps_made_ = 0;
};

// All outputs of the replica's next step, which is made.
Result<std::vector<OpDigest>> digest_next_step(Replica& replica);
// The outputs of one pass of a step, by the order in which a visitor sees them: a step that is repeated begins again.
class OutputCounter {
 public:
  // Counts the output; true if a pass begins with it.
  bool next(const OpOutput& output);
  std::size_t index() const { return index_; }  // of the last one

 private:
  bool in_state_ = false;
  std::size_t index_ = 0;
};

}  // namespace suanli::proof
