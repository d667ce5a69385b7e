#include "suanli/pool/shard_service.h"

#include <sys/mman.h>
#include <unistd.h>

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

namespace suanli::pool {
namespace {

// Lets the disk begin before the link asks for the pages: a page that has to come from the disk holds all sockets up.
void read_soon(std::span<const std::byte> bytes) {
  static const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data());
  const std::uintptr_t aligned = begin - begin % page;
  (void)madvise(reinterpret_cast<void*>(aligned), bytes.size() + (begin - aligned), MADV_WILLNEED);
}

}  // namespace

struct ShardService::State : std::enable_shared_from_this<State> {
  struct Part {
    std::shared_ptr<net::Link> link;
    std::optional<net::TransferId> transfer;  // once it is known
    bool withdrawn = false;
  };
  struct Peer {
    std::weak_ptr<net::Link> link;
    std::deque<ShardAsk> waiting{};
    std::map<std::uint64_t, Part> parts{};  // under way, by request
    std::uint64_t last_request = 0;
  };

  State(std::vector<Find> finds, ShardServiceOptions given) : places(std::move(finds)), options(given) {}

  // The next ask that may be served, of the links in turn; peers that are gone are forgotten.
  std::optional<std::pair<std::shared_ptr<net::Link>, ShardAsk>> next_locked();
  void serve(const std::shared_ptr<net::Link>& link, const ShardAsk& ask);
  void on_done(const net::Link* link, std::uint64_t request, const Result<Bytes>& result);
  void run();

  const std::vector<Find> places;
  const ShardServiceOptions options;
  mutable std::mutex mutex;  // guards those below; never held over a call of a link
  std::condition_variable changed;
  bool stopping = false;
  std::map<const net::Link*, Peer> peers;
  const net::Link* last = nullptr;  // whose turn it was
  std::size_t under_way = 0;
  Counts counts;
};

std::optional<std::pair<std::shared_ptr<net::Link>, ShardAsk>> ShardService::State::next_locked() {
  for (auto at = peers.begin(); at != peers.end();) {
    const auto link = at->second.link.lock();
    const bool gone = !link || link->is_closed();
    if (gone) {
      counts.given_up += at->second.waiting.size() + at->second.parts.size();
      under_way -= at->second.parts.size();
      at->second.waiting.clear();
      at->second.parts.clear();
    }
    at = at->second.waiting.empty() && at->second.parts.empty() ? peers.erase(at) : std::next(at);
  }
  if (under_way >= options.most_parts) return std::nullopt;
  auto at = peers.upper_bound(last);
  for (std::size_t tried = 0; tried < peers.size(); ++tried, ++at) {
    if (at == peers.end()) at = peers.begin();
    Peer& peer = at->second;
    if (peer.waiting.empty() || peer.parts.size() >= options.most_parts_per_link) continue;
    auto link = peer.link.lock();
    if (!link) continue;
    const ShardAsk ask = peer.waiting.front();
    peer.waiting.pop_front();
    last = at->first;
    peer.parts[ask.request] = {link, std::nullopt, false};
    ++under_way;
    return std::pair(std::move(link), ask);
  }
  return std::nullopt;
}

void ShardService::State::on_done(const net::Link* link, std::uint64_t request, const Result<Bytes>& result) {
  const std::lock_guard lock(mutex);
  const auto peer = peers.find(link);
  if (peer == peers.end() || peer->second.parts.erase(request) == 0) return;
  --under_way;
  if (result) {
    ++counts.sent;
    counts.bytes += *result;
  } else {
    ++counts.given_up;
  }
  changed.notify_all();
}

void ShardService::State::serve(const std::shared_ptr<net::Link>& link, const ShardAsk& ask) {
  std::shared_ptr<const data::Shard> shard;
  for (auto place = places.begin(); !shard && place != places.end(); ++place) shard = (*place)(ask.digest);
  ShardAnswer answer{ask.request, ShardVerdict::coming, shard ? shard->file_bytes().size() : 0};
  if (!shard) {
    answer.verdict = ShardVerdict::absent;
  } else if (ask.bytes > answer.shard_bytes || ask.offset > answer.shard_bytes - ask.bytes) {
    answer.verdict = ShardVerdict::outside;
  }
  // A link that ends says so to the transfer, or is found closed at the next turn.
  (void)link->send_message(kShardAnswerKind, as_bytes(encode(answer)));
  if (answer.verdict != ShardVerdict::coming) {
    const std::lock_guard lock(mutex);
    ++(shard ? counts.refused : counts.absent);
    if (const auto peer = peers.find(link.get()); peer != peers.end() && peer->second.parts.erase(ask.request) > 0) --under_way;
    return;
  }
  const auto bytes = shard->file_bytes().subspan(ask.offset, ask.bytes);
  read_soon(bytes);
  const net::TransferId transfer =
      link->send(shard_tag(ask.digest, ask.request), bytes, {options.deadline},
                 [self = shared_from_this(), shard, key = link.get(), request = ask.request](const Result<Bytes>& result) {
                   self->on_done(key, request, result);
                 });
  bool withdrawn = false;
  {
    const std::lock_guard lock(mutex);
    const auto peer = peers.find(link.get());
    if (peer == peers.end()) return;
    const auto part = peer->second.parts.find(ask.request);
    if (part == peer->second.parts.end()) return;  // has ended already
    part->second.transfer = transfer;
    withdrawn = part->second.withdrawn || stopping;
  }
  if (withdrawn) link->cancel(transfer);
}

void ShardService::State::run() {
  std::unique_lock lock(mutex);
  while (!stopping) {
    if (auto next = next_locked()) {
      lock.unlock();
      serve(next->first, next->second);
      next.reset();  // a link may end here, which is not for under the lock
      lock.lock();
    } else {
      changed.wait(lock);
    }
  }
}

ShardService::ShardService(std::vector<Find> places, ShardServiceOptions options)
    : state_(std::make_shared<State>(std::move(places), options)), thread_([state = state_] { state->run(); }) {}

ShardService::~ShardService() {
  std::vector<std::pair<std::shared_ptr<net::Link>, net::TransferId>> under_way;
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
    for (const auto& [key, peer] : state_->peers) {
      for (const auto& [request, part] : peer.parts) {
        if (part.transfer) under_way.emplace_back(part.link, *part.transfer);
      }
    }
    state_->changed.notify_all();
  }
  thread_.join();
  for (const auto& [link, transfer] : under_way) link->cancel(transfer);
}

Status ShardService::on_message(const std::shared_ptr<net::Link>& link, std::uint32_t kind, std::span<const std::byte> payload) {
  if (kind == kShardWithdrawKind) {
    SUANLI_ASSIGN_OR_RETURN(const ShardWithdraw withdraw, parse_shard_withdraw(payload));
    std::optional<net::TransferId> transfer;
    {
      const std::lock_guard lock(state_->mutex);
      const auto peer = state_->peers.find(link.get());
      if (peer == state_->peers.end()) return {};
      state_->counts.given_up +=
          std::erase_if(peer->second.waiting, [&](const ShardAsk& ask) { return ask.request == withdraw.request; });
      if (const auto part = peer->second.parts.find(withdraw.request); part != peer->second.parts.end()) {
        part->second.withdrawn = true;
        transfer = part->second.transfer;
      }
    }
    if (transfer) link->cancel(*transfer);
    return {};
  }
  if (kind != kShardAskKind) return {};
  SUANLI_ASSIGN_OR_RETURN(const ShardAsk ask, parse_shard_ask(payload));
  bool full = false;
  {
    const std::lock_guard lock(state_->mutex);
    ++state_->counts.asked;
    State::Peer& peer = state_->peers[link.get()];
    if (peer.link.lock() != link) peer = State::Peer{link};
    if (ask.request <= std::exchange(peer.last_request, ask.request))
      return fail(ErrorCode::protocol, "the numbers of the peer's asks for shards do not rise", "link",
                  "check that both machines run the same version of suanli");
    full = peer.waiting.size() >= state_->options.most_waiting_per_link;
    if (full) {
      ++state_->counts.refused;
    } else {
      peer.waiting.push_back(ask);
      state_->changed.notify_all();
    }
  }
  // A peer that does not take its answers either is given up by the link.
  if (full)
    (void)link->send_message(kShardAnswerKind, as_bytes(encode(ShardAnswer{ask.request, ShardVerdict::busy, 0})));
  return {};
}

ShardService::Counts ShardService::counts() const {
  const std::lock_guard lock(state_->mutex);
  Counts counts = state_->counts;
  counts.under_way = state_->under_way;
  for (const auto& [key, peer] : state_->peers) counts.waiting += peer.waiting.size();
  return counts;
}

}  // namespace suanli::pool
