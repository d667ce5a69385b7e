// The run folder of a job that a pool trains: the same folder as of a run on one machine (docs/formats/run-folder.md), with
// metrics, snapshots and evaluations, so that every verb for runs works on it.
//
// The state lies here as one machine would hold it; whoever collects it from the workers writes it before save(). Calls may come
// from two threads: what happened (on_step, warn), and what is saved (state, save).
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "suanli/checkpoint/local_tier.h"
#include "suanli/graph/stage_graph.h"
#include "suanli/pool/state_dates.h"
#include "suanli/protocol/job.h"
#include "suanli/route/route_table.h"
#include "suanli/train/generate.h"
#include "suanli/train/metrics.h"
#include "suanli/train/run_folder.h"
#include "suanli/train/setup.h"
#include "suanli/train/snapshots.h"
#include "suanli/train/trainer.h"

namespace suanli::pool {

class RunRecorder {
 public:
  // Takes the run folder: a new run, or one to go on with. `threads` are those of all workers, as far as known. Errors: as of
  // train::train.
  static Result<std::unique_ptr<RunRecorder>> create(const train::JobConfig& job, const train::TrainOptions& options);
  ~RunRecorder();

  const train::JobConfig& job() const { return job_; }  // settled
  const data::Dataset& dataset() const { return *dataset_; }
  const graph::Graph& graph() const { return graph_; }
  // Of step steps_done(): initial, or of the snapshot that the run goes on from.
  engine::State& state() { return *state_; }
  std::int64_t steps_done() const { return meta_.step; }
  // After which steps save() is to be called.
  const StateDates& dates() const { return dates_; }

  // Where the stages lie: operations of the codecs between them are counted, too, and those of codecs and sums between replicas,
  // of all replicas together, with each update; of outer steps, which come every H steps, the H-th part. Before announce(); later
  // calls do nothing.
  Status count_codecs(const route::Placement& placement);
  // As the run begins; later calls do nothing.
  void announce(int threads);
  // `held`: how long of its seconds the step stood ready until an earlier state had been saved.
  void on_step(const protocol::StepFacts& facts, Seconds held);
  // The state is that after `step`. Does what has become due since the state before: an evaluation, a sample, a digest, a
  // snapshot. A state that no snapshot is due of is kept as one all the same, for it is here, but only until the next comes.
  Status save(std::int64_t step);
  void warn(const Error& warning);
  // Ends the session's record. With an error the run can go on from its last snapshot.
  Result<train::TrainReport> finish(train::Outcome outcome, const std::optional<Error>& error);

 private:
  explicit RunRecorder(train::RunFolder folder) : folder_(std::move(folder)) {}
  train::Spent spent() const;
  void write(const std::string& line);
  void book(std::int64_t step, meter::Part part, std::int64_t runs);
  void add_work(meter::Part part, const meter::Work& work, double times);
  Result<meter::Work> replica_work(const graph::StageGraph& stage, std::size_t replicas) const;
  Status evaluate(std::int64_t step);
  void tell(std::int64_t step, const train::Evaluation& evaluation);
  Status sample(std::int64_t step);
  Status keep(std::int64_t step, bool is_passing);

  train::RunFolder folder_;
  train::JobConfig job_;
  std::optional<data::Dataset> dataset_;
  std::optional<data::Windows> valid_windows_;
  graph::Graph graph_;
  std::unique_ptr<engine::Device> device_;
  std::unique_ptr<engine::State> state_;
  std::unique_ptr<train::Evaluator> evaluator_;
  std::unique_ptr<train::Generator> generator_;  // null unless the job wants samples
  std::unique_ptr<checkpoint::LocalTier> tier_;
  std::unique_ptr<train::SnapshotSaver> saver_;
  std::optional<train::MetricsFile> metrics_;
  train::WorkByPart work_;
  StateDates dates_;
  train::Observer nobody_;
  train::Observer* observer_ = nullptr;
  Clock* clock_ = nullptr;

  std::mutex saving_;  // held while a state is saved, and to end that for good; guards the three below
  bool is_finished_ = false;
  std::int64_t looked_ = 0;              // the step of the state before
  std::optional<std::int64_t> passing_;  // a snapshot that goes when the next is there
  std::mutex mutex_;          // guards what follows, the metrics file and the observer
  train::SnapshotMeta meta_;  // as far as steps are committed
  train::StartInfo info_;
  Seconds begun_, pace_;
  std::int64_t first_step_ = 0;
  std::vector<Error> damages_;  // of snapshots that could not be used, until the session is announced
  std::optional<train::Evaluation> owed_;  // of the step that this session goes on from, until it is announced
  // Of the last steps, as they were committed: a snapshot comes when others may have been made since.
  struct Committed {
    double loss = 0;
    meter::Usage usage;
  };
  std::map<std::int64_t, Committed> committed_;
  bool metrics_failed_ = false, is_announced_ = false;
};

}  // namespace suanli::pool
