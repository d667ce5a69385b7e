// What a worker's stage reads its samples from when the dataset lies elsewhere: fetches the shards that the sampler will ask for
// into a cache, ahead of time, and fills batches from them with the very tokens that data::Windows would give.
//
//   SUANLI_ASSIGN_OR_RETURN(auto feed, ShardFeed::create(info, context, sampler, rows, cache, {from_submitter, from_peer}, {}));
//   feed->will_need(step, {0, 3, 5});          // this worker's micro-batches of each step, in order
//   SUANLI_RETURN_IF_ERROR(feed->fill(batch, step, 0));
//
// A thread of its own fetches what comes next, as much of it as the cache can hold together; fill() fetches what is missing all
// the same. Nothing is held between two calls, so any number of feeds can share a cache, if it has room for one shard.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "suanli/base/units.h"
#include "suanli/data/dataset.h"
#include "suanli/data/sampler.h"
#include "suanli/data/shard_cache.h"
#include "suanli/data/shard_source.h"
#include "suanli/train/batch.h"

namespace suanli::pool {

struct ShardFeedOptions {
  data::Split split = data::Split::train;
  Bytes ahead{0};        // of shards that come next, fetched before they are asked for; 0: as much as the cache may hold
  Seconds patience{60};  // how long fill() asks all sources again and again for a shard that none gives
  Seconds pause{1};      // between two rounds of that
  std::function<void(const std::string&)> warn;  // a source failed; from the feed's thread or that of fill(). May be empty
};

// One thread calls fill(); any thread the rest.
class ShardFeed {
 public:
  // `sampler` was made for the windows of this split at this context (data::WindowNumbers counts them). `sources` in order of
  // preference; one that failed or sent a damaged shard is tried last from then on, and named in a warning. `cache` outlives the
  // feed. Errors: empty (no window), no_space (a shard larger than the cache), usage (no source), corrupt (an impossible list).
  static Result<std::unique_ptr<ShardFeed>> create(data::DatasetInfo info, std::int64_t context, data::Sampler sampler,
                                                   std::int64_t rows, data::ShardCache& cache,
                                                   std::vector<std::shared_ptr<data::ShardSource>> sources,
                                                   ShardFeedOptions options);
  ~ShardFeed();
  ShardFeed(const ShardFeed&) = delete;
  ShardFeed& operator=(const ShardFeed&) = delete;

  // Fills the rows of (step, micro_batch) as train::Batch::fill does from local windows. Waits for shards that are not here yet.
  // Errors: interrupted (stop()); when no source gives a shard: not_found if all lack it, else the last reason of another kind,
  // with each source and its reason in the message.
  [[nodiscard]] Status fill(train::Batch& batch, std::int64_t step, std::int64_t micro_batch);
  // What this worker will ask for from `step` on: these micro-batches of each step, in this order. Replaces what was said before.
  void will_need(std::int64_t step, std::vector<std::int64_t> micro_batches);
  // fill() ends soon, and so does fetching; both for good.
  void stop();

  Seconds waited() const;  // in fill(), for shards that were not here
  Bytes fetched() const;   // brought into the cache by this feed

 private:
  using Held = std::shared_ptr<const data::Shard>;
  // A micro-batch's place in the plan: its step, and its index in the list of will_need().
  using Position = std::pair<std::int64_t, std::size_t>;
  struct Ahead {
    Position position;
    std::vector<std::size_t> shards;  // still needed, each once, in the order of the rows
  };

  ShardFeed(data::WindowNumbers numbers, data::Sampler sampler, std::int64_t rows, data::ShardCache& cache,
            std::vector<data::WantedShard> shards, std::vector<std::shared_ptr<data::ShardSource>> sources,
            ShardFeedOptions options);
  data::WindowNumbers::Place place_of(std::int64_t step, std::int64_t micro_batch, std::int64_t row) const;
  std::vector<std::size_t> shards_of(std::int64_t step, std::int64_t micro_batch) const;
  std::optional<Position> position_of(std::int64_t step, std::int64_t micro_batch) const;
  void drop_before(const Position& position);
  Held wait_for(std::size_t shard, Status& status);
  // `ours` becomes true if the error is not a source's, so that asking again is of no use.
  Result<Held> bring(std::size_t shard, bool& ours);
  Result<data::ShardCache::Claim> claim(std::size_t shard);
  void on_failed(std::size_t source, const Error& why);
  std::optional<std::size_t> next_missing();
  void run();
  bool pause(Seconds duration);

  const data::WindowNumbers numbers_;
  const data::Sampler sampler_;
  const std::int64_t rows_;
  data::ShardCache& cache_;
  const std::vector<data::WantedShard> shards_;  // of the split
  const std::vector<std::shared_ptr<data::ShardSource>> sources_;
  const ShardFeedOptions options_;
  std::atomic<bool> stopping_ = false;

  mutable std::mutex mutex_;  // guards those below
  std::condition_variable changed_;
  std::vector<std::size_t> order_;              // of the sources
  std::map<std::size_t, std::string> warned_;   // what was last said of a source that has not succeeded since
  std::vector<std::int64_t> micro_batches_;     // of each step
  std::deque<Ahead> ahead_;                     // worked out so far, rising
  Position next_{0, 0};                         // to be worked out
  Seconds waited_{0};
  Bytes fetched_{0};
  std::thread thread_;  // last: starts when the rest is there
};

}  // namespace suanli::pool
