#include "suanli/pool/link_exchange.h"

#include <algorithm>
#include <utility>

namespace suanli::pool {

net::Tag tag_of(const Label& label) {
  constexpr std::uint64_t kEpochMask = (1U << 24) - 1;  // nothing of an epoch is on its way sixteen million later
  const auto field = [](auto value, int bits) {
    const auto number = static_cast<std::uint64_t>(value);
    SUANLI_CHECK(number < std::uint64_t{1} << bits);
    return number;
  };
  return {(label.epoch & kEpochMask) << 40 | field(label.step, 40), field(label.attempt, 8) << 56 |
                                                                    field(static_cast<int>(label.purpose), 8) << 48 |
                                                                    field(label.number, 24) << 24 | field(label.port, 24)};
}

LinkExchange::LinkExchange(std::map<WorkerIndex, std::shared_ptr<net::Link>> links) : links_(std::move(links)) {}

LinkExchange::~LinkExchange() { close({ErrorCode::cancelled, "the job was left", "exchange", ""}); }

void LinkExchange::close(const Error& why) {
  fail(why);
  (void)end();
}

net::Link* LinkExchange::link_to(WorkerIndex worker) const {
  const auto found = links_.find(worker);
  return found == links_.end() ? nullptr : found->second.get();
}

// Under the lock. The first failure stays: what follows is its consequence.
void LinkExchange::note_failure(State& state, const Error& why) {
  if (!state.failure) state.failure = why;
  state.changed.notify_all();
}

void LinkExchange::fail(const Error& why) {
  const std::lock_guard lock(state_->mutex);
  note_failure(*state_, why);
}

void LinkExchange::expect(WorkerIndex from, const Label& label, std::span<std::byte> buffer) {
  net::Link* link = link_to(from);
  SUANLI_CHECK(link != nullptr);
  const Key key{from, label};
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->failure) return;
    SUANLI_CHECK(state_->arrivals.try_emplace(key).second);
  }
  const std::size_t size = buffer.size();
  const net::TransferId id = link->receive(tag_of(label), buffer, {}, [state = state_, key, size](Result<Bytes> came) {
    const std::lock_guard lock(state->mutex);
    Arrival& arrival = state->arrivals.at(key);
    arrival.has_ended = true;
    arrival.is_there = came.has_value();
    const std::string what = key.second.to_string() + " from worker " + std::to_string(key.first);
    if (!came) {
      Error why = came.error();
      why.message = what + ": " + why.message;
      if (why.code == ErrorCode::unreachable || why.code == ErrorCode::timed_out)
        why.next_step = "check that this worker runs, and that the line between the two works in both directions";
      note_failure(*state, why);
    } else if (*came != Bytes(static_cast<std::int64_t>(size))) {
      note_failure(*state, {ErrorCode::protocol,
                            what + " has " + std::to_string(came->value()) + " bytes instead of " + std::to_string(size),
                            "exchange", "check that all workers run the same version"});
    }
    state->changed.notify_all();
  });
  const std::lock_guard lock(state_->mutex);
  state_->arrivals.at(key).id = id;
}

Status LinkExchange::wait(WorkerIndex from, const Label& label) {
  {
    std::unique_lock lock(state_->mutex);
    const auto found = state_->arrivals.find({from, label});
    SUANLI_CHECK(found != state_->arrivals.end() || state_->failure);
    state_->changed.wait(lock, [&] { return state_->failure || found->second.is_there; });
    if (!state_->failure) {
      state_->arrivals.erase(found);
      return {};
    }
  }
  return end();
}

Status LinkExchange::send(WorkerIndex to, const Label& label, std::vector<std::byte> bytes) {
  net::Link* link = link_to(to);
  SUANLI_CHECK(link != nullptr);
  std::uint64_t number = 0;
  bool has_failed = false;
  {
    const std::lock_guard lock(state_->mutex);
    has_failed = state_->failure.has_value();
    number = ++state_->last_send;
    if (!has_failed) state_->sends[number] = {to, 0, is_counted(label.purpose)};
  }
  if (has_failed) return end();
  // Owned by the callback, which the link keeps until the bytes are not needed any more.
  const auto kept = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
  const net::TransferId id = link->send(tag_of(label), *kept, {}, [state = state_, number, kept, to, label](Result<Bytes> went) {
    const std::lock_guard lock(state->mutex);
    state->sends.erase(number);
    if (!went) {
      Error why = went.error();
      why.message = label.to_string() + " to worker " + std::to_string(to) + ": " + why.message;
      note_failure(*state, why);
    }
    state->changed.notify_all();
  });
  const std::lock_guard lock(state_->mutex);
  if (const auto sent = state_->sends.find(number); sent != state_->sends.end()) sent->second.id = id;
  return {};
}

Status LinkExchange::wait_for_sends(std::size_t most) {
  {
    std::unique_lock lock(state_->mutex);
    const auto open = [&] {
      return static_cast<std::size_t>(
          std::ranges::count_if(state_->sends, [](const auto& each) { return each.second.is_counted; }));
    };
    state_->changed.wait(lock, [&] { return state_->failure || open() <= most; });
    if (!state_->failure) return {};
  }
  return end();
}

Status LinkExchange::end() {
  std::vector<std::pair<WorkerIndex, net::TransferId>> open;
  {
    const std::lock_guard lock(state_->mutex);
    for (const auto& [key, arrival] : state_->arrivals)
      if (!arrival.has_ended) open.emplace_back(key.first, arrival.id);
    for (const auto& [number, sent] : state_->sends) open.emplace_back(sent.to, sent.id);
  }
  for (const auto& [worker, id] : open) link_to(worker)->cancel(id);
  std::unique_lock lock(state_->mutex);
  state_->changed.wait(lock, [&] {
    return state_->sends.empty() && std::ranges::all_of(state_->arrivals, [](const auto& each) { return each.second.has_ended; });
  });
  return tl::unexpected(*state_->failure);
}

}  // namespace suanli::pool
