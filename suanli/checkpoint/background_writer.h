// Saves snapshots on a thread of its own, so that training goes on meanwhile.
//
//   BackgroundWriter writer(tier, /*keep=*/3);
//   Snapshot snapshot = writer.recycle();      // old buffers, to be overwritten
//   copy_state_into(snapshot);
//   Seconds waited = writer.submit(std::move(snapshot));
//   for (const Error& error : writer.poll().errors) log(error);   // disk full: training goes on
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "suanli/base/clock.h"
#include "suanli/checkpoint/tier.h"

namespace suanli::checkpoint {

// Holds one snapshot at most: while it is being written, one other can be filled. So two copies of
// the state exist beside the state itself, and in steady state their buffers are used again and
// again. One thread calls the functions; `tier` and `clock` outlive the object.
class BackgroundWriter {
 public:
  struct Progress {
    std::optional<std::int64_t> saved_step;  // the last one that is durable
    std::int64_t saved_count = 0;
    std::vector<Error> errors;  // since the last poll() or drain(), oldest first
  };

  // After each save all but the newest `keep` snapshots are pruned.
  BackgroundWriter(Tier& tier, int keep, Clock& clock = real_clock());
  // Finishes what was submitted.
  ~BackgroundWriter();
  BackgroundWriter(const BackgroundWriter&) = delete;
  BackgroundWriter& operator=(const BackgroundWriter&) = delete;

  // A snapshot written earlier, its buffers still allocated, its content stale; empty if there is
  // none.
  Snapshot recycle();

  // Returns at once if the writer is idle; else waits until the snapshot before is written. Returns
  // the time waited. A failed save never fails here: poll() tells it, and the next submit tries
  // again.
  Seconds submit(Snapshot&& snapshot);

  Progress poll();
  // Waits until all is written, then as poll().
  Progress drain();

 private:
  void run();
  void wait_until_idle(std::unique_lock<std::mutex>& lock);
  Progress take_progress();

  Tier& tier_;
  const int keep_;
  Clock& clock_;
  std::mutex mutex_;  // all below, except that while busy_ slot_ belongs to the thread
  std::condition_variable changed_;
  bool busy_ = false, stopping_ = false;
  Snapshot slot_;  // being written if busy_, else to be recycled
  Progress progress_;
  std::thread thread_;  // last: starts when the rest is there
};

}  // namespace suanli::checkpoint
