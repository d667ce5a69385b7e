// The buffers of AQ-SGD at one worker, and what both ends of a boundary agree to do with them: a micro-batch crosses as packed
// changes if both ends keep the same bits of all its samples, else in full (docs/formats/codecs.md, section 5).
//
//   buffers.begin_step(step, boundaries);                 tells the other ends what is kept of the next step's samples
//   agreed = buffers.agreed(boundary, micro_batch);       waits for what they have told
//   buffers.read(boundary, micro_batch, m);               if agreed
//   buffers.note(boundary, micro_batch, next);            what is to be kept once the step counts
//   buffers.commit();
//
// Marks (visit and digest of each buffer) travel a step ahead, so that nobody waits for them. Of a sample that is used in two
// steps running they would be out of date: it crosses in full the second time.
//
// A step that is prepared again, or never committed, leaves no trace.
//
// What cannot be kept, because the room of the options is taken, the disk is full or cannot be written, or the machine has no
// memory, crosses in full: take_notice() says so once, and training goes on. Only what both ends have agreed to have and cannot
// be read any more ends the job's placement.
//
// One thread, that which computes (JobRunner's): it may copy and wait for the disk, and nobody else does meanwhile.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/pool/exchange.h"
#include "suanli/route/balance.h"
#include "suanli/train/activation_store.h"

namespace suanli::pool {

// The buffers may take the part 1 / kBufferShare of a worker's memory (route/stage_memory.h has the rest).
inline constexpr std::int64_t kBufferShare = route::kKeptShare;

// One end of a value that crosses once for each micro-batch.
struct BoundaryEnd {
  std::int32_t value = 0;  // the canonical node
  bool is_sender = false;
  auto operator<=>(const BoundaryEnd&) const = default;
};

// Who is at the other end of a micro-batch.
struct BoundaryRoute {
  BoundaryEnd end;
  std::int64_t micro_batch = 0;
  WorkerIndex peer = 0;
};

class SampleBuffers {
 public:
  // The samples of a micro-batch, one for each row; a pure function that all workers share.
  using Samples = std::function<std::vector<std::int64_t>(std::int64_t step, std::int64_t micro_batch)>;

  // `routes` are this worker's, of every step. Nothing may give way in the store (stale_after 0): marks are told before they are
  // used. `exchange` outlives the buffers. Without a spill file that can be made, there is none.
  static Result<SampleBuffers> create(train::ActivationStore::Options options, Samples samples, std::vector<BoundaryRoute> routes,
                                      std::int64_t micro_batches, std::uint64_t epoch, Exchange& exchange);

  // Forgets what an earlier attempt has noted. Sends marks where they have not been sent yet.
  Status begin_step(std::int64_t step);
  Result<bool> agreed(const BoundaryEnd& end, std::int64_t micro_batch);
  // Of all the micro-batch's samples, row by row. Error corrupt: the spill file was damaged since.
  Status read(const BoundaryEnd& end, std::int64_t micro_batch, std::span<std::byte> buffer);
  void note(const BoundaryEnd& end, std::int64_t micro_batch, std::vector<std::byte> next);
  Status commit();

  const train::ActivationStore::Stats& stats() const { return store_.stats(); }
  // Micro-batches that have crossed so, at this worker's ends, since the start.
  std::int64_t packed() const { return packed_; }
  std::int64_t full() const { return full_; }
  Bytes sent() const { return sent_; }  // marks
  Bytes noted() const;                  // by note(), until the step is committed
  // Why samples cross in full that could be kept with more room: once.
  std::optional<Error> take_notice() { return std::exchange(notice_, std::nullopt); }

 private:
  using Place = std::pair<BoundaryEnd, std::int64_t>;  // end, micro-batch
  struct Talk {                                        // with one peer about one step
    std::vector<Place> places;                         // in this order both ends tell
    std::vector<std::byte> own, theirs;
    bool has_arrived = false;
  };

  SampleBuffers(train::ActivationStore store, Samples samples, std::vector<BoundaryRoute> routes, std::int64_t micro_batches,
                std::uint64_t epoch, Exchange& exchange)
      : store_(std::move(store)), samples_(std::move(samples)), routes_(std::move(routes)), micro_batches_(micro_batches),
        epoch_(epoch), exchange_(exchange) {}
  Status tell_marks(std::int64_t step);
  Label label(std::int64_t step) const;
  void notice(Error why);
  static train::ActivationStore::Key key_of(const BoundaryEnd& end, std::int64_t sample);

  train::ActivationStore store_;
  Samples samples_;
  std::vector<BoundaryRoute> routes_;
  std::int64_t micro_batches_;
  std::uint64_t epoch_;
  Exchange& exchange_;
  std::int64_t step_ = -1;
  std::map<std::int64_t, std::map<WorkerIndex, Talk>> talks_;  // by step: this and the next
  std::map<Place, std::vector<std::byte>> noted_;
  std::int64_t packed_ = 0, full_ = 0;
  std::optional<Error> notice_;
  bool was_noticed_ = false;
  Bytes sent_;
};

}  // namespace suanli::pool
