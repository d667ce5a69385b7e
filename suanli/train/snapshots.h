// A run's snapshots: state copied beside the next step's computing, written by a thread, restored
// on resume.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "suanli/base/sha256.h"
#include "suanli/checkpoint/background_writer.h"
#include "suanli/checkpoint/local_tier.h"
#include "suanli/engine/executor.h"
#include "suanli/meter/ledger.h"

namespace suanli::train {

// Where a run whose model grows stands (growth.h).
struct GrowthState {
  std::int64_t since = 0;  // the step after which it took on its size
  double sum = 0;          // of the losses of `count` steps of this window
  std::int64_t count = 0;
  std::optional<double> before{};  // the mean loss of the window before
  bool is_due = false;
  bool operator==(const GrowthState&) const = default;
};

// What a snapshot knows beside its tensors; the JSON in its manifest.
struct SnapshotMeta {
  std::int64_t step = 0;
  std::uint64_t seed = 0;
  Digest graph, dataset;
  std::string job;     // TOML
  meter::Usage usage;  // of the run up to here
  double loss = 0;     // of the last step
  std::optional<double> valid_loss, best_valid_loss;
  std::int64_t evaluated_step = -1;  // of valid_loss
  GrowthState growth{};
};
std::string print_meta(const SnapshotMeta& meta);
// A missing or wrong field is an error (corrupt) that names it.
Result<SnapshotMeta> parse_meta(std::string_view text, const std::string& place);

// Writes snapshots. At most one is being copied from the device and one being written. One thread.
class SnapshotSaver {
 public:
  // Both outlive the saver.
  SnapshotSaver(engine::State& state, checkpoint::Tier& tier, int keep);
  // Finishes what was begun.
  ~SnapshotSaver();

  // Begins to copy the state, which the device does while the next step's forward and backward run.
  // Waits only for a snapshot before that is still being copied or, after it, written.
  [[nodiscard]] Status begin(const SnapshotMeta& meta);
  // Hands a finished copy to the writing thread. Never waits for the device, and for the disk only
  // if the snapshot before is still being written.
  void poll();
  // Waits until all that was begun is written or has failed.
  void finish();

  // What happened since the last call: steps that became durable (the newest only), errors of the
  // writer.
  struct News {
    std::optional<std::int64_t> saved_step;
    std::vector<Error> errors;
  };
  News news();
  // The newest snapshot that is durable, and the last error of the writer, as of the last finish()
  // or news().
  std::optional<std::int64_t> saved_step() const { return saved_step_; }
  const std::optional<Error>& last_error() const { return last_error_; }

 private:
  void submit_pending();
  void keep_news(checkpoint::BackgroundWriter::Progress progress);
  engine::State& state_;
  checkpoint::BackgroundWriter writer_;
  std::optional<checkpoint::Snapshot> pending_;  // being copied
  engine::Event copied_;
  News news_;
  std::optional<std::int64_t> saved_step_;
  std::optional<Error> last_error_;
};

// Whether a tensor is what replicas on a pool keep beside the state of one machine (docs/formats/codecs.md, section 5): its name
// begins with "replica/" or "outer.".
bool is_of_replicas(std::string_view name);

// Writes the snapshot's tensors into `state`, which must have them all, and no others. Error mismatch names `from`, and of state
// of replicas where the run can go on.
[[nodiscard]] Status write_state(const checkpoint::Snapshot& snapshot, engine::State& state, const std::string& from);

struct Restored {
  SnapshotMeta meta;
  std::vector<Error> damages;  // of newer snapshots that could not be used
};
// Loads the newest usable snapshot into `state`, whose tensors must be the snapshot's, all of them
// or, with `parameters_only`, a part. No snapshot at all: not_found. Another model's: mismatch.
Result<Restored> restore_latest(const checkpoint::Tier& tier, engine::State& state,
                                const std::string& place, bool parameters_only);
// The same for a pool: the state takes the tensors of replicas that the snapshot has.
Result<Restored> restore_latest_with_replicas(const checkpoint::Tier& tier, engine::State& state, const std::string& place);

}  // namespace suanli::train
