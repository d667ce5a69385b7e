#include "suanli/pool/sample_buffers.h"

#include <algorithm>
#include <cstring>
#include <set>

namespace suanli::pool {
namespace {

// On the wire: the visit as little-endian u64, 0 if nothing is kept, and the digest.
constexpr std::size_t kMarkBytes = sizeof(std::uint64_t) + sizeof(Digest::bytes);

void append(std::vector<std::byte>& bytes, const std::optional<train::ActivationStore::Mark>& mark) {
  const std::size_t begin = bytes.size();
  bytes.resize(begin + kMarkBytes);
  if (!mark) return;
  for (std::size_t i = 0; i < sizeof(std::uint64_t); ++i) bytes[begin + i] = static_cast<std::byte>(mark->visit >> (8 * i));
  std::memcpy(bytes.data() + begin + sizeof(std::uint64_t), mark->digest.bytes.data(), mark->digest.bytes.size());
}

bool says_kept(std::span<const std::byte> mark) {
  return std::ranges::any_of(mark.first(sizeof(std::uint64_t)), [](std::byte each) { return each != std::byte{0}; });
}

}  // namespace

Result<SampleBuffers> SampleBuffers::create(train::ActivationStore::Options options, Samples samples,
                                            std::vector<BoundaryRoute> routes, std::int64_t micro_batches, std::uint64_t epoch,
                                            Exchange& exchange) {
  SUANLI_CHECK(options.stale_after == 0);
  auto made = train::ActivationStore::create(options);
  std::optional<Error> without_disk;
  if (!made) {
    without_disk = made.error();
    options.disk = Bytes(0);
    made = train::ActivationStore::create(options);
  }
  SUANLI_ASSIGN_OR_RETURN(train::ActivationStore store, std::move(made));
  // Both ends tell in the order of values and micro-batches.
  std::ranges::sort(routes, {}, [](const BoundaryRoute& route) { return std::pair(route.end.value, route.micro_batch); });
  SampleBuffers buffers(std::move(store), std::move(samples), std::move(routes), micro_batches, epoch, exchange);
  if (without_disk) buffers.notice(*std::move(without_disk));
  return buffers;
}

void SampleBuffers::notice(Error why) {
  if (std::exchange(was_noticed_, true)) return;
  why.message =
      "what AQ-SGD keeps of samples has no room any more, and samples of which nothing is kept cross in full: " + why.message;
  why.next_step = "make room on the worker's disk or in its memory, or set 'codec.memory' and 'codec.disk'";
  notice_ = std::move(why);
}

Bytes SampleBuffers::noted() const {
  std::size_t bytes = 0;
  for (const auto& [place, next] : noted_) bytes += next.size();
  return Bytes(static_cast<std::int64_t>(bytes));
}

// A value that passes through a stage has two ends there.
train::ActivationStore::Key SampleBuffers::key_of(const BoundaryEnd& end, std::int64_t sample) {
  return {end.value * 2 + (end.is_sender ? 1 : 0), sample};
}

Label SampleBuffers::label(std::int64_t step) const { return {epoch_, step, 0, Purpose::marks, 0, 0}; }

Status SampleBuffers::tell_marks(std::int64_t step) {
  if (talks_.contains(step)) return {};
  auto& talks = talks_[step];
  std::set<std::int64_t> used_before;
  for (std::int64_t i = 0; step > 0 && i < micro_batches_; ++i)
    for (const std::int64_t sample : samples_(step - 1, i)) used_before.insert(sample);
  for (const BoundaryRoute& route : routes_) {
    Talk& talk = talks[route.peer];
    talk.places.emplace_back(route.end, route.micro_batch);
    for (const std::int64_t sample : samples_(step, route.micro_batch))
      append(talk.own, used_before.contains(sample) ? std::nullopt : store_.mark(key_of(route.end, sample)));
  }
  for (auto& [peer, talk] : talks) {
    talk.theirs.resize(talk.own.size());
    exchange_.expect(peer, label(step), talk.theirs);
    sent_ += Bytes(static_cast<std::int64_t>(talk.own.size()));
    SUANLI_RETURN_IF_ERROR(exchange_.send(peer, label(step), talk.own));
  }
  return {};
}

Status SampleBuffers::begin_step(std::int64_t step) {
  step_ = step;
  noted_.clear();
  talks_.erase(talks_.begin(), talks_.lower_bound(step));
  SUANLI_RETURN_IF_ERROR(tell_marks(step));
  return tell_marks(step + 1);
}

Result<bool> SampleBuffers::agreed(const BoundaryEnd& end, std::int64_t micro_batch) {
  const auto route = std::ranges::find_if(
      routes_, [&](const BoundaryRoute& each) { return each.end == end && each.micro_batch == micro_batch; });
  SUANLI_CHECK(route != routes_.end());
  Talk& talk = talks_.at(step_).at(route->peer);
  if (!talk.has_arrived) SUANLI_RETURN_IF_ERROR(exchange_.wait(route->peer, label(step_)));
  talk.has_arrived = true;
  const auto place = std::ranges::find(talk.places, Place(end, micro_batch)) - talk.places.begin();
  const std::size_t size = talk.own.size() / talk.places.size();
  const auto own = std::span(talk.own).subspan(static_cast<std::size_t>(place) * size, size);
  const auto theirs = std::span(talk.theirs).subspan(static_cast<std::size_t>(place) * size, size);
  bool are_kept = std::ranges::equal(own, theirs);
  for (std::size_t at = 0; at < size; at += kMarkBytes) are_kept = are_kept && says_kept(own.subspan(at, kMarkBytes));
  return are_kept;
}

Status SampleBuffers::read(const BoundaryEnd& end, std::int64_t micro_batch, std::span<std::byte> buffer) {
  const std::vector<std::int64_t> samples = samples_(step_, micro_batch);
  const std::size_t size = buffer.size() / samples.size();
  for (std::size_t row = 0; row < samples.size(); ++row) {
    SUANLI_ASSIGN_OR_RETURN(const bool found, store_.get(key_of(end, samples[row]), buffer.subspan(row * size, size)));
    if (!found)
      return fail(ErrorCode::corrupt, "the activation kept of sample " + std::to_string(samples[row]) + " was damaged on disk",
                  "AQ-SGD's buffers", "check the disk; the job goes on from its last snapshot");
  }
  return {};
}

void SampleBuffers::note(const BoundaryEnd& end, std::int64_t micro_batch, std::vector<std::byte> next) {
  noted_[{end, micro_batch}] = std::move(next);
}

// By end and micro-batch, the same order at both ends: of a sample that comes twice in a step the last one stays.
Status SampleBuffers::commit() {
  for (const auto& [place, bytes] : noted_) {
    const auto& [end, micro_batch] = place;
    const auto found = agreed(end, micro_batch);
    SUANLI_RETURN_IF_ERROR(found);
    ++(*found ? packed_ : full_);
    const std::vector<std::int64_t> samples = samples_(step_, micro_batch);
    const std::size_t size = bytes.size() / samples.size();
    for (std::size_t row = 0; row < samples.size(); ++row) {
      const auto kept = store_.put(key_of(end, samples[row]), static_cast<std::uint64_t>(step_) + 1,
                                   std::span(bytes).subspan(row * size, size));
      // What was not kept crosses in full next time; the other end finds so by its mark.
      if (!kept) notice(kept.error());
      if (kept && !*kept)
        notice({ErrorCode::no_space, "codec.memory and codec.disk hold the activations of " +
                                         std::to_string(store_.stats().entries) + " samples and boundaries",
                "AQ-SGD's buffers", ""});
    }
  }
  noted_.clear();
  return {};
}

}  // namespace suanli::pool
