#include "suanli/pool/shard_peer.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "suanli/base/text.h"

namespace suanli::pool {
namespace {

constexpr auto kStopPause = std::chrono::milliseconds(20);  // between two looks at the stop flag

}  // namespace

// A part of a shard under way. Its buffer belongs to the link until `result` is there.
struct PeerShards::Part {
  std::uint64_t request = 0;
  std::uint64_t offset = 0, bytes = 0;
  std::unique_ptr<std::byte[]> buffer;
  net::TransferId transfer = 0;
  std::optional<ShardAnswer> answer;    // guarded by the state's mutex, as is the next
  std::optional<Result<Bytes>> result;
};

struct PeerShards::State {
  std::mutex order;  // taken before the other
  std::mutex mutex;  // guards those below
  std::condition_variable changed;
  std::uint64_t last_request = 0;
  std::map<std::uint64_t, std::shared_ptr<Part>> parts;  // unanswered
};

PeerShards::PeerShards(std::shared_ptr<net::Link> link, std::string peer, PeerShardsOptions options)
    : link_(std::move(link)), peer_(std::move(peer)), options_(options), state_(std::make_shared<State>()) {
  SUANLI_CHECK(options_.part_bytes >= 1 && options_.part_bytes <= kMostShardPartBytes && options_.parts_ahead >= 1);
}

PeerShards::~PeerShards() = default;

std::shared_ptr<PeerShards::Part> PeerShards::ask_for(const data::WantedShard& shard, std::uint64_t offset) {
  auto part = std::make_shared<Part>();
  part->offset = offset;
  part->bytes = std::min(options_.part_bytes, shard.bytes - offset);
  part->buffer = std::make_unique<std::byte[]>(part->bytes);
  // The link may call `done` before receive() returns, so not under the mutex that it takes. Asks leave in the order of their
  // numbers, whichever threads make them: that is what the other mutex is for.
  const std::lock_guard order(state_->order);
  {
    const std::lock_guard lock(state_->mutex);
    part->request = ++state_->last_request;
    state_->parts[part->request] = part;
  }
  // The place first: then the bytes need no round trip of their own.
  part->transfer = link_->receive(shard_tag(shard.digest, part->request), std::span(part->buffer.get(), part->bytes), {},
                                  [state = state_, part](Result<Bytes> result) {
                                    const std::lock_guard lock(state->mutex);
                                    part->result = std::move(result);
                                    state->changed.notify_all();
                                  });
  const ShardAsk ask{part->request, shard.digest, part->offset, part->bytes};
  if (const Status sent = link_->send_message(kShardAskKind, as_bytes(encode(ask))); !sent)
    link_->cancel(part->transfer);
  return part;
}

void PeerShards::give_up(Part& part) {
  link_->cancel(part.transfer);
  (void)link_->send_message(kShardWithdrawKind, as_bytes(encode(ShardWithdraw{part.request})));
  const std::lock_guard lock(state_->mutex);
  state_->parts.erase(part.request);
}

Error PeerShards::error_of(const Part& part, const data::WantedShard& shard) const {
  if (part.answer && part.answer->verdict != ShardVerdict::coming) {
    switch (part.answer->verdict) {
      case ShardVerdict::absent:
        return {ErrorCode::not_found, "the peer does not hold this shard", shard.file, "ask another source"};
      case ShardVerdict::busy:
        return {ErrorCode::busy, "the peer serves too many others", shard.file, "ask again later"};
      default:
        return {ErrorCode::mismatch,
                "the peer's shard has " + std::to_string(part.answer->shard_bytes) + " bytes, the dataset lists " +
                    std::to_string(shard.bytes),
                shard.file, "check that both machines have the same dataset"};
    }
  }
  if (part.result && !*part.result) return part.result->error();
  return {ErrorCode::mismatch, "the peer sent a part of another size", shard.file,
          "check that both machines run the same version of suanli"};
}

Status PeerShards::fetch(const data::WantedShard& shard, std::span<std::byte> to, const std::atomic<bool>& stop) {
  SUANLI_CHECK(to.size() == shard.bytes);
  std::deque<std::shared_ptr<Part>> under_way;
  const auto give_all_up = [&](Error error) -> Status {
    for (const auto& part : under_way) give_up(*part);
    return tl::unexpected(std::move(error));
  };
  std::uint64_t asked = 0, arrived = 0;
  while (arrived < shard.bytes) {
    for (; asked < shard.bytes && under_way.size() < options_.parts_ahead; asked += under_way.back()->bytes)
      under_way.push_back(ask_for(shard, asked));

    const std::shared_ptr<Part> part = under_way.front();
    const auto has_ended = [&] { return part->result || (part->answer && part->answer->verdict != ShardVerdict::coming); };
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::duration<double>(options_.patience.value());
    std::unique_lock lock(state_->mutex);
    while (!has_ended()) {
      if (stop || link_->is_closed() || std::chrono::steady_clock::now() >= deadline) break;
      state_->changed.wait_for(lock, kStopPause);
    }
    if (!has_ended()) {
      lock.unlock();
      if (stop) return give_all_up({ErrorCode::interrupted, "stopped on request while a shard was fetched", shard.file, {}});
      if (link_->is_closed())
        return give_all_up({ErrorCode::unreachable, "the link to the peer was lost", shard.file, "another source is asked"});
      return give_all_up({ErrorCode::timed_out, "the peer has sent nothing for " + format_duration(options_.patience), shard.file,
                          "it is asked of another source"});
    }
    const bool whole = part->result && *part->result && static_cast<std::uint64_t>((*part->result)->value()) == part->bytes;
    if (!whole) {
      Error error = error_of(*part, shard);
      lock.unlock();
      return give_all_up(std::move(error));
    }
    state_->parts.erase(part->request);
    lock.unlock();
    std::memcpy(to.data() + part->offset, part->buffer.get(), part->bytes);
    arrived += part->bytes;
    under_way.pop_front();
  }
  return {};
}

Status PeerShards::on_answer(std::span<const std::byte> payload) {
  SUANLI_ASSIGN_OR_RETURN(const ShardAnswer answer, parse_shard_answer(payload));
  const std::lock_guard lock(state_->mutex);
  if (answer.request == 0 || answer.request > state_->last_request)
    return fail(ErrorCode::protocol, "the peer answers an ask for a shard that was never made", "link",
                "check that both machines run the same version of suanli");
  if (const auto part = state_->parts.find(answer.request); part != state_->parts.end()) {
    part->second->answer = answer;
    state_->changed.notify_all();
  }
  return {};
}

}  // namespace suanli::pool
