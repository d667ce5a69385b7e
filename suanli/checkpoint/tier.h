// Where snapshots are kept. Every tier (local disk; later own memory, a peer's memory, an object
// store) is one Tier.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/base/sha256.h"
#include "suanli/checkpoint/snapshot.h"

namespace suanli::checkpoint {

struct SnapshotInfo {
  std::int64_t step = 0;
  Bytes bytes;                  // of its data; 0 if damaged
  Digest root;                  // state_root() of its tensors
  std::optional<Error> damage;  // of its manifest; the data is looked at by load() only
};

// save() and prune() come from one thread at a time; list() and load() from any thread, and may
// then miss a snapshot that is pruned meanwhile (not_found).
class Tier {
 public:
  virtual ~Tier() = default;

  // Durable when it returns; replaces a snapshot of the same step. A failure leaves every other
  // snapshot, and the old one of the same step, as they were.
  [[nodiscard]] virtual Status save(const Snapshot& snapshot) = 0;

  // Ascending steps. Empty if there are none.
  [[nodiscard]] virtual Result<std::vector<SnapshotInfo>> list() const = 0;

  // Every byte it returns has been checked against the manifest's digests. Not there: not_found.
  [[nodiscard]] virtual Result<Snapshot> load(std::int64_t step,
                                              const TensorFilter& filter) const = 0;

  // Removes all but the newest `keep` (at least 1) snapshots, and never the newest one that can be
  // loaded: damaged ones do not count.
  [[nodiscard]] virtual Status prune(int keep) = 0;
};

struct LoadedSnapshot {
  Snapshot snapshot;
  std::vector<Error>
      damages;  // of newer snapshots that could not be loaded, newest first: tell the user
};

// The newest snapshot that can be loaded. None at all: not_found. All damaged: the error of the
// newest. One of an unknown format version on the way is an error too (version): it is not damaged,
// and going back would lose work.
[[nodiscard]] Result<LoadedSnapshot> load_latest(const Tier& tier, const TensorFilter& filter);

}  // namespace suanli::checkpoint
