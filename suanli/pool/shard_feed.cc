#include "suanli/pool/shard_feed.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <utility>

#include "suanli/base/clock.h"
#include "suanli/base/text.h"

namespace suanli::pool {
namespace {

constexpr std::size_t kMostAhead = 4096;  // micro-batches worked out
constexpr Seconds kClaimPause{0.01};      // until a shard that another brings is looked for again

}  // namespace

Result<std::unique_ptr<ShardFeed>> ShardFeed::create(data::DatasetInfo info, std::int64_t context, data::Sampler sampler,
                                                     std::int64_t rows, data::ShardCache& cache,
                                                     std::vector<std::shared_ptr<data::ShardSource>> sources,
                                                     ShardFeedOptions options) {
  SUANLI_CHECK(rows >= 1);
  if (sources.empty())
    return fail(ErrorCode::usage, "there is no source of shards", {}, "name one: a folder, a URL or a peer");
  const std::string place = "dataset " + info.digest().hex().substr(0, 16);
  SUANLI_ASSIGN_OR_RETURN(data::WindowNumbers numbers, data::WindowNumbers::create(info, options.split, context, place));
  std::vector<data::WantedShard> shards;
  for (const data::ShardEntry& entry : info.of(options.split)) {
    SUANLI_ASSIGN_OR_RETURN(data::WantedShard wanted, data::wanted_shard(info, entry));
    SUANLI_RETURN_IF_ERROR(cache.check_fits(wanted));
    shards.push_back(std::move(wanted));
  }
  return std::unique_ptr<ShardFeed>(new ShardFeed(std::move(numbers), sampler, rows, cache, std::move(shards), std::move(sources),
                                                  std::move(options)));
}

ShardFeed::ShardFeed(data::WindowNumbers numbers, data::Sampler sampler, std::int64_t rows, data::ShardCache& cache,
                     std::vector<data::WantedShard> shards, std::vector<std::shared_ptr<data::ShardSource>> sources,
                     ShardFeedOptions options)
    : numbers_(std::move(numbers)),
      sampler_(sampler),
      rows_(rows),
      cache_(cache),
      shards_(std::move(shards)),
      sources_(std::move(sources)),
      options_(std::move(options)) {
  for (std::size_t i = 0; i < sources_.size(); ++i) order_.push_back(i);
  thread_ = std::thread([this] { run(); });
}

ShardFeed::~ShardFeed() {
  stop();
  thread_.join();
}

void ShardFeed::stop() {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  changed_.notify_all();
}

Seconds ShardFeed::waited() const {
  const std::lock_guard lock(mutex_);
  return waited_;
}

Bytes ShardFeed::fetched() const {
  const std::lock_guard lock(mutex_);
  return fetched_;
}

data::WindowNumbers::Place ShardFeed::place_of(std::int64_t step, std::int64_t micro_batch, std::int64_t row) const {
  const auto index = static_cast<std::uint64_t>(micro_batch * rows_ + row);
  return numbers_.at(sampler_.at(static_cast<std::uint64_t>(step), index));
}

std::vector<std::size_t> ShardFeed::shards_of(std::int64_t step, std::int64_t micro_batch) const {
  std::vector<std::size_t> shards;
  for (std::int64_t row = 0; row < rows_; ++row) {
    const std::size_t shard = place_of(step, micro_batch, row).shard;
    if (std::ranges::find(shards, shard) == shards.end()) shards.push_back(shard);
  }
  return shards;
}

std::optional<ShardFeed::Position> ShardFeed::position_of(std::int64_t step, std::int64_t micro_batch) const {
  const auto found = std::ranges::find(micro_batches_, micro_batch);
  if (found == micro_batches_.end()) return std::nullopt;
  return Position{step, static_cast<std::size_t>(found - micro_batches_.begin())};
}

void ShardFeed::drop_before(const Position& position) {
  while (!ahead_.empty() && ahead_.front().position < position) ahead_.pop_front();
  next_ = std::max(next_, position);
}

void ShardFeed::will_need(std::int64_t step, std::vector<std::int64_t> micro_batches) {
  const std::lock_guard lock(mutex_);
  micro_batches_ = std::move(micro_batches);
  ahead_.clear();
  next_ = {step, 0};
  changed_.notify_all();
}

Status ShardFeed::fill(train::Batch& batch, std::int64_t step, std::int64_t micro_batch) {
  SUANLI_CHECK(batch.rows() == rows_ && batch.context() == numbers_.context());
  {
    const std::lock_guard lock(mutex_);
    if (const auto position = position_of(step, micro_batch)) drop_before(*position);
    changed_.notify_all();
  }
  // What is here first: it may have to go for what is not.
  std::vector<std::size_t> shards = shards_of(step, micro_batch);
  std::ranges::stable_partition(shards, [&](std::size_t shard) { return cache_.contains(shards_[shard].digest); });
  for (const std::size_t shard : shards) {
    if (stopping_) return fail(ErrorCode::interrupted, "stopped on request", shards_[shard].file);
    Status status;
    const Held held = wait_for(shard, status);
    if (!held) return status;
    for (std::int64_t row = 0; row < rows_; ++row) {
      const data::WindowNumbers::Place place = place_of(step, micro_batch, row);
      if (place.shard != shard) continue;
      const train::Batch::Row to = batch.row(row);
      SUANLI_RETURN_IF_ERROR(data::read_window(*held, place.begin, to.inputs, to.targets));
    }
    // The plan has no more use for it here, so that nobody brings it again if it has to go.
    const std::lock_guard lock(mutex_);
    const auto position = position_of(step, micro_batch);
    if (position && !ahead_.empty() && ahead_.front().position == *position) std::erase(ahead_.front().shards, shard);
  }
  const std::lock_guard lock(mutex_);
  if (const auto position = position_of(step, micro_batch)) {
    const bool last = position->second + 1 == micro_batches_.size();
    drop_before(last ? Position{step + 1, 0} : Position{step, position->second + 1});
  }
  changed_.notify_all();
  return {};
}

// The shard, from the cache or a source, within the patience; else null and why.
ShardFeed::Held ShardFeed::wait_for(std::size_t shard, Status& status) {
  if (Held held = cache_.find(shards_[shard].digest, &stopping_)) return held;
  const Seconds begin = real_clock().now();
  Held held;
  for (;;) {
    bool ours = false;
    auto brought = bring(shard, ours);
    if (brought) {
      held = std::move(*brought);
      break;
    }
    status = tl::unexpected(std::move(brought).error());
    if (ours || real_clock().now() - begin + options_.pause >= options_.patience || !pause(options_.pause)) break;
  }
  const std::lock_guard lock(mutex_);
  waited_ += real_clock().now() - begin;
  return held;
}

// Waits, but for stop(): then false.
bool ShardFeed::pause(Seconds duration) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::duration<double>(duration.value()), [&] { return stopping_.load(); });
  return !stopping_;
}

void ShardFeed::on_failed(std::size_t source, const Error& why) {
  // That a source lacks a shard is no fault of it: a peer holds what it happened to need.
  if (why.code == ErrorCode::interrupted || why.code == ErrorCode::not_found) return;
  const std::string text = sources_[source]->name() + " is now the last source of shards to be asked: " + why.to_string();
  {
    const std::lock_guard lock(mutex_);
    std::erase(order_, source);
    order_.push_back(source);
    if (std::exchange(warned_[source], text) == text) return;
  }
  if (options_.warn) options_.warn(text);
}

// While another brings the shard, or the cache is full of what others use, it waits.
Result<data::ShardCache::Claim> ShardFeed::claim(std::size_t shard) {
  const Seconds begin = real_clock().now();
  for (;;) {
    if (stopping_) return fail(ErrorCode::interrupted, "stopped on request", shards_[shard].file);
    SUANLI_ASSIGN_OR_RETURN(data::ShardCache::Claim made, cache_.claim(shards_[shard], &stopping_));
    if (made.wait == data::ShardCache::Wait::none) return made;
    const bool full = made.wait == data::ShardCache::Wait::full_of_shards_in_use;
    if (full && real_clock().now() - begin > options_.patience)
      return fail(ErrorCode::no_space,
                  "the cache of shards has been full of shards in use for " + format_duration(options_.patience),
                  cache_.folder(), "allow the cache more bytes");
    pause(kClaimPause);
  }
}

// One round over all sources.
Result<ShardFeed::Held> ShardFeed::bring(std::size_t shard, bool& ours) {
  const data::WantedShard& wanted = shards_[shard];
  std::vector<std::size_t> order;
  {
    const std::lock_guard lock(mutex_);
    order = order_;
  }
  Error last{ErrorCode::not_found, {}, {}, {}};
  std::string reasons;
  std::unique_ptr<data::IncomingShard> incoming;
  ours = true;
  for (const std::size_t source : order) {
    if (!incoming) {
      SUANLI_ASSIGN_OR_RETURN(data::ShardCache::Claim claimed, claim(shard));
      if (claimed.shard) return claimed.shard;
      incoming = std::move(claimed.incoming);
    }
    Status came = sources_[source]->fetch(wanted, incoming->bytes(), stopping_);
    if (came) {
      auto held = cache_.keep(std::move(incoming), sources_[source]->name(), &stopping_);
      if (held) {
        const std::lock_guard lock(mutex_);
        fetched_ += Bytes(static_cast<std::int64_t>(wanted.bytes));
        warned_.erase(source);
        return held;
      }
      const ErrorCode code = held.error().code;
      if (code != ErrorCode::corrupt && code != ErrorCode::mismatch) return held;
      came = tl::unexpected(std::move(held).error());
    }
    const Error& why = came.error();
    if (why.code == ErrorCode::interrupted) return tl::unexpected(why);
    on_failed(source, why);
    if (why.code != ErrorCode::not_found) last.code = why.code;
    reasons += (reasons.empty() ? "" : "; ") + sources_[source]->name() + ": " + why.message;
  }
  ours = false;
  last.message = "no source gives shard " + wanted.digest.hex().substr(0, 16) + ": " + reasons;
  last.place = wanted.file;
  last.next_step = "bring one of these sources back, or name another that has the dataset";
  return tl::unexpected(std::move(last));
}

// The first shard of the plan that is not here, among as many of the plan's as fit together. With the mutex.
std::optional<std::size_t> ShardFeed::next_missing() {
  const Bytes bound = options_.ahead > Bytes(0) ? std::min(options_.ahead, cache_.limit()) : cache_.limit();
  std::set<std::size_t> counted;
  std::vector<std::size_t> needed;  // the soonest first
  Bytes bytes{0};
  bool full = micro_batches_.empty();
  for (std::size_t k = 0; !full && k < kMostAhead && counted.size() < shards_.size(); ++k) {
    if (k == ahead_.size()) {
      ahead_.push_back({next_, shards_of(next_.first, micro_batches_[next_.second])});
      next_ = next_.second + 1 < micro_batches_.size() ? Position{next_.first, next_.second + 1} : Position{next_.first + 1, 0};
    }
    for (const std::size_t shard : ahead_[k].shards) {
      if (counted.contains(shard)) continue;
      bytes += Bytes(static_cast<std::int64_t>(shards_[shard].bytes));
      full = bytes > bound && !needed.empty();
      if (full) break;
      counted.insert(shard);
      needed.push_back(shard);
    }
  }
  const auto missing = std::ranges::find_if(needed, [&](std::size_t shard) { return !cache_.contains(shards_[shard].digest); });
  if (missing == needed.end()) return std::nullopt;
  // What is needed is what was used last, the soonest last of all: others make room before it.
  for (auto shard = needed.rbegin(); shard != needed.rend(); ++shard) cache_.touch(shards_[*shard].digest);
  return *missing;
}

void ShardFeed::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const auto shard = next_missing();
    if (!shard) {
      changed_.wait(lock);
      continue;
    }
    lock.unlock();
    bool ours = false;
    const auto brought = bring(*shard, ours);
    // Not an error yet: fill() will say so if it needs the shard and it still does not come.
    if (!brought) pause(options_.pause);
    lock.lock();
  }
}

}  // namespace suanli::pool
