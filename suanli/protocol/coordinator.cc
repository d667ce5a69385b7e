// Membership: who comes, who goes, who reaches whom. Jobs are in coordinator_jobs.cc.
#include "suanli/protocol/coordinator.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "suanli/base/text.h"

namespace suanli::protocol {
namespace {

std::string quoted(const std::string& name) { return "'" + printable(name) + "'"; }


}  // namespace

Coordinator::Coordinator(PoolRules rules, const Placing& placing)
    : rules_(std::move(rules)), placing_(placing), next_epoch_(rules_.first_epoch) {}

Actions Coordinator::take() { return std::exchange(actions_, {}); }

Actions Coordinator::on_connected(const std::string& peer, Moment at) {
  at_ = at;
  if (members_.contains(peer))
    drop(peer, {ErrorCode::unreachable, "it connected again", {}, {}}, Reason::worker_lost, false);
  members_[peer] = {.connected = at.now, .heard = at.now, .hello = {}};
  advance();
  return take();
}

Actions Coordinator::on_lost(const std::string& peer, const Error& why, Moment at) {
  at_ = at;
  if (members_.contains(peer)) {
    drop(peer, why, Reason::worker_lost, false);
    advance();
  }
  return take();
}

Actions Coordinator::on_garbage(const std::string& peer, const Error& why, Moment at) {
  at_ = at;
  if (members_.contains(peer)) {
    broke(peer, why.message);
    advance();
  }
  return take();
}

Actions Coordinator::on_message(const std::string& peer, const ToCoordinator& message, Moment at) {
  at_ = at;
  const auto found = members_.find(peer);
  if (found == members_.end()) {
    // It was closed, and this was on its way.
    ++dropped_;
    return {};
  }
  Member& member = found->second;
  member.heard = at.now;
  if (const Hello* hello = std::get_if<Hello>(&message)) {
    on(peer, member, *hello);
  } else if (!member.hello) {
    broke(peer, "said '" + std::string(type_of(message)) + "' before its hello");
  } else if (const Heartbeat* beat = std::get_if<Heartbeat>(&message)) {
    if (beat->number <= member.heartbeats) {
      broke(peer, "counted its heartbeats backwards");
    } else {
      member.heartbeats = beat->number;
    }
  } else if (const LineMeasures* measures = std::get_if<LineMeasures>(&message)) {
    on(peer, *measures);
  } else if (const Left* left = std::get_if<Left>(&message)) {
    const std::string reason = printable(left->reason, kMostErrorText);
    drop(peer, {ErrorCode::interrupted, "it left: " + reason, {}, {}}, Reason::worker_left, true);
  } else {
    const JobEpoch* id = std::visit(
        [](const auto& each) -> const JobEpoch* {
          if constexpr (std::is_base_of_v<JobEpoch, std::decay_t<decltype(each)>>) return &each;
          return nullptr;
        },
        message);
    SUANLI_CHECK(id != nullptr);
    std::size_t worker = 0;
    while (run_ && worker < run_->workers().size() && run_->workers()[worker].peer != peer) ++worker;
    if (!run_ || run_->id() != *id || worker == run_->workers().size()) {
      ++dropped_;
    } else {
      perform(run_->on_message(worker, message, at.now));
    }
  }
  advance();
  return take();
}

Actions Coordinator::on_tick(Moment at) {
  at_ = at;
  std::vector<std::pair<std::string, Error>> silent;
  for (const auto& [peer, member] : members_) {
    const Seconds limit = member.hello ? rules_.dead_after : rules_.hello_within;
    if (at.now - member.heard < limit) continue;
    const std::string what = member.hello ? "nothing was heard of it for " : "it connected and said nothing for ";
    silent.emplace_back(peer, Error{ErrorCode::timed_out, what + format_duration(at.now - member.heard), {},
                                    "look at that machine and its network; it joins again by itself"});
  }
  for (const auto& [peer, why] : silent) drop(peer, why, Reason::worker_silent, true);
  if (run_) perform(run_->on_tick(at.now));
  advance();
  return take();
}

// ---- joining

void Coordinator::on(const std::string& peer, Member& member, const Hello& hello) {
  if (member.hello) return broke(peer, "said 'hello' twice");
  if (const auto why = refusal(hello)) {
    actions_.push_back(Send{peer, Refused{*why}});
    actions_.push_back(Close{peer, *why});
    members_.erase(peer);
    event(Reason::worker_refused, hello.name.empty() ? peer : hello.name, why->message, why->next_step);
    return;
  }
  member.hello = hello;
  member.number = next_number_++;
  actions_.push_back(Send{peer, Welcome{member.number, rules_.pool}});
  event(Reason::worker_joined, hello.name,
        "worker " + quoted(hello.name) + " joined with " + std::to_string(hello.cores) + " cores and " +
            format_bytes(hello.memory));
  announce(peer);
}

std::optional<Error> Coordinator::refusal(const Hello& hello) const {
  if (hello.version != rules_.version || hello.protocol != kProtocolVersion) {
    // Different builds may round differently or speak differently: a job's result must not depend on who joined.
    const auto both = [](const std::string& version, std::int64_t protocol) {
      return printable(version) + " (protocol " + std::to_string(protocol) + ")";
    };
    return Error{ErrorCode::version,
                 "the worker runs suanli " + both(hello.version, hello.protocol) + ", the pool " +
                     both(rules_.version, kProtocolVersion), "pool '" + rules_.pool + "'",
                 "install suanli " + rules_.version + " on the worker's machine"};
  }
  const Seconds skew = hello.wall - at_.wall;
  if (std::abs(skew.value()) > rules_.most_clock_skew.value())
    return Error{ErrorCode::mismatch,
                 "the worker's clock is " + format_duration(Seconds(std::abs(skew.value()))) +
                     (skew > Seconds(0) ? " ahead of" : " behind") + " the coordinator's; allowed are " +
                     format_duration(rules_.most_clock_skew), "pool '" + rules_.pool + "'",
                 "set the clock of one of the two machines, best by NTP"};
  const auto welcomed = std::ranges::count_if(members_, [](const auto& each) { return each.second.hello.has_value(); });
  if (static_cast<std::size_t>(welcomed) >= rules_.most_workers)
    return Error{ErrorCode::busy, "the pool has all the " + std::to_string(welcomed) + " workers that it takes",
                 "pool '" + rules_.pool + "'", "wait until one leaves"};
  return std::nullopt;
}

void Coordinator::on(const std::string& peer, const LineMeasures& measures) {
  // The other end may just have left; the coordinator is no worker, but an end of lines.
  const auto other = members_.find(measures.peer);
  const bool known = measures.peer == rules_.own_id || (other != members_.end() && other->second.hello);
  if (!known || measures.peer == peer) return void(++dropped_);
  const auto put = [&](const std::string& from, const std::string& to, BytesPerSecond rate) {
    lines_[{from, to}] = {from, to, measures.delay, rate, peer, at_.now};
  };
  put(peer, measures.peer, measures.rate_out);
  put(measures.peer, peer, measures.rate_in);
}

// ---- leaving

void Coordinator::broke(const std::string& peer, const std::string& sentence) {
  drop(peer, {ErrorCode::protocol, "it broke the protocol: it " + sentence, {}, "report this as a defect of suanli"},
       Reason::worker_broke_protocol, true);
}

void Coordinator::drop(const std::string& peer, const Error& why, Reason reason, bool link_is_up) {
  const auto node = members_.extract(peer);
  SUANLI_CHECK(!node.empty());
  const Member& member = node.mapped();
  if (link_is_up) actions_.push_back(Close{peer, why});
  const std::string name = member.hello ? member.hello->name : peer;
  event(reason, name, (member.hello ? "worker " : "peer ") + quoted(name) + " is gone: " + why.message, why.next_step);
  if (!member.hello) return;
  std::erase_if(lines_, [&](const auto& line) { return line.first.first == peer || line.first.second == peer; });
  announce(peer);
  if (!run_) return;
  for (std::size_t i = 0; i < run_->workers().size(); ++i)
    if (run_->workers()[i].peer == peer) return perform(run_->on_lost(i, why));
}

// ---- who reaches whom

void Coordinator::announce(const std::string& changed) {
  // With another relay, those who meet through one must hear of it.
  const bool other_relay = std::exchange(told_relay_, relay()) != told_relay_;
  const auto found = members_.find(changed);
  const bool is_here = found != members_.end() && found->second.hello;
  for (const auto& [peer, member] : members_) {
    if (!member.hello) continue;
    Peers news;
    if (!is_here) news.gone.push_back(changed);
    const auto add = [&](const std::string& other, bool only_relayed) {
      auto route = route_between(peer, other, 0);
      if (route && (route->relay || !only_relayed)) news.peers.push_back(*std::move(route));
    };
    if (peer == changed || other_relay) {
      for (const auto& [other, other_member] : members_)
        if (other != peer && other_member.hello) add(other, peer != changed && other != changed);
    } else if (is_here) {
      add(changed, false);
    }
    if (!news.peers.empty() || !news.gone.empty()) actions_.push_back(Send{peer, std::move(news)});
  }
}

std::string Coordinator::relay() const {
  // The longest-standing worker that listens: the relay changes as seldom as can be.
  const std::pair<const std::string, Member>* oldest = nullptr;
  for (const auto& each : members_) {
    const bool listens = each.second.hello && each.second.hello->listen;
    if (listens && (!oldest || each.second.number < oldest->second.number)) oldest = &each;
  }
  if (oldest) return oldest->first;
  return rules_.relays ? rules_.own_id : std::string();
}

std::optional<PeerRoute> Coordinator::route_between(const std::string& from, const std::string& to,
                                                    route::WorkerIndex index) const {
  const Hello &a = *members_.at(from).hello, &b = *members_.at(to).hello;
  if (b.listen) return PeerRoute{index, to, b.listen, {}, b.place};
  if (a.listen) return PeerRoute{index, to, {}, {}, b.place};
  // announce() keeps it up to date whenever somebody comes or goes.
  if (!told_relay_.empty()) return PeerRoute{index, to, {}, told_relay_, b.place};
  return std::nullopt;
}

// ----

void Coordinator::event(Reason reason, std::string subject, std::string sentence, std::string next_step) {
  PoolEvent happened{at_.wall, reason, std::move(subject), std::move(sentence), std::move(next_step)};
  events_.push_back(happened);
  if (events_.size() > rules_.most_events) events_.pop_front();
  actions_.push_back(std::move(happened));
}

}  // namespace suanli::protocol
