// A run computed again on this machine, from one of its snapshots or from the beginning, for those who check it: the state
// after each step, and the outputs of every op of a step. Reads the run's folder and dataset, writes nothing.
//
//   SUANLI_ASSIGN_OR_RETURN(auto replica, Replica::create("runs/bible"));
//   SUANLI_RETURN_IF_ERROR(replica->restore(100));       // the run keeps a snapshot of that step; 0 needs none
//   while (replica->step() < 120) SUANLI_RETURN_IF_ERROR(replica->advance());
//   replica->root();                                     // to be compared with what the run says of step 120
//
// In exact arithmetic every honest machine gets the same bits; in others this machine does, with any number of threads.
// Thread rule: one thread at a time.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "suanli/checkpoint/manifest.h"
#include "suanli/checkpoint/snapshot.h"
#include "suanli/checkpoint/tier.h"
#include "suanli/proof/output_watch.h"
#include "suanli/proof/run_job.h"
#include "suanli/train/setup.h"

namespace suanli::proof {

// What a step computed beside the state. The loss is of the step's tokens before its update.
struct StepFigures {
  float loss = 0, grad_norm = 0;
  bool operator==(const StepFigures&) const = default;
};

struct ReplicaOptions {
  int threads = 0;                 // 0: as the run's job says
  std::string data{};              // folder of the dataset; empty: as the run's job says
  train::StopFlag stop = nullptr;  // looked at while the dataset is verified
};

class Replica {
 public:
  // At step 0, with the job's initial values. Errors: those of describe_run and of the dataset; mismatch (the dataset or this
  // build's graph is not the run's); no_memory.
  static Result<std::unique_ptr<Replica>> create(const std::string& run_folder, const ReplicaOptions& options = {});

  const train::JobConfig& job() const { return setup_->job; }
  const RunJob& run() const { return run_; }
  const std::string& folder() const { return folder_; }
  int threads() const { return setup_->threads; }
  const graph::Graph& graph() const { return setup_->graph; }
  std::int64_t step() const { return step_; }  // steps done

  // Takes the state of the run's snapshot of `step`, or the initial values for 0. Errors: not_found (names the steps that there
  // are), corrupt, mismatch.
  [[nodiscard]] Status restore(std::int64_t step);
  // The largest step, at most `step`, that restore() can begin with.
  Result<std::int64_t> nearest(std::int64_t step) const;

  // One step more. Errors: not_finite; io of the dataset. The state is then that of the step before, but for exponents of token
  // sums that were found or raised.
  [[nodiscard]] Status advance();
  // The same, op by op and not fused, with whatever memory that takes: every output is shown to `visit`, first the state as the
  // step begins. Bits are the same in exact arithmetic alone. Error no_memory besides. A step whose token sums overflow
  // (docs/formats/exact-arithmetic.md, section 7) begins again, with the state.
  [[nodiscard]] Status advance(const OutputVisitor& visit);
  // Of the last step; none since restore().
  const std::optional<StepFigures>& figures() const { return figures_; }

  // Every advance() is made op by op and shown to this visitor first. Empty: to nobody.
  void set_tamper(OutputVisitor tamper) { tamper_ = std::move(tamper); }

  // Of the state.
  Result<std::vector<checkpoint::NamedTensor>> state();
  Digest root();
  Result<std::vector<std::byte>> read(const std::string& tensor);

 private:
  Replica(std::string folder, RunJob run, std::unique_ptr<train::Setup> setup, std::unique_ptr<checkpoint::Tier> tier);
  float learning_rate() const;  // of the next step
  Status make_step(engine::Executor& executor, OutputWatch* watch);
  Result<engine::Executor*> unfused();

  const std::string folder_;
  const RunJob run_;
  std::unique_ptr<train::Setup> setup_;
  std::unique_ptr<checkpoint::Tier> tier_;
  std::unique_ptr<engine::Executor> unfused_;  // made when it is first asked for
  train::Batch batch_;
  OutputVisitor tamper_;
  std::optional<StepFigures> figures_;
  std::int64_t step_ = 0;
};

}  // namespace suanli::proof
