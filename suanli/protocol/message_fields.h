// Every field of every message, once: its key, its place in the struct and its limits. Writer and reader both walk this list
// (messages.cc), so that they cannot disagree.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "suanli/protocol/messages.h"

namespace suanli::protocol {

// Limits of a value.
struct Text {
  std::size_t most;
  std::size_t least = 0;
};
struct Whole {  // number
  std::int64_t low, high;
};
struct Real {  // finite number
  double low, high;
};
template <typename E, std::size_t N>
struct Choice {
  std::array<std::pair<E, std::string_view>, N> names;
};
struct Hex {};
struct Struct {};     // its fields are listed below
struct ErrorName {};  // of an ErrorCode
template <typename L>
struct List {
  std::size_t most;
  L each;
};
template <typename L>
struct Table {
  std::size_t most;
  Text key;
  L each;
};

inline constexpr std::int64_t kMostWhole = std::int64_t{1} << 53;  // what JSON's readers all keep exactly
inline constexpr Whole kCount{0, kMostWhole};
inline constexpr Real kFinite{-1e300, 1e300}, kAmount{0, 1e300};
inline constexpr Text kId{128, 1}, kName{64, 1}, kAddress{300, 1};
inline constexpr Text kLongText{std::size_t{8} << 20};
inline constexpr Choice<Outcome, 3> kOutcome{{{{Outcome::ok, "ok"}, {Outcome::repeat, "repeat"}, {Outcome::error, "error"}}}};
inline constexpr Choice<Then, 4> kThen{
    {{{Then::next, "next"}, {Then::snapshot, "snapshot"}, {Then::finish, "finish"}, {Then::stop, "stop"}}}};

// A walker is called as walk(key, member, limits); an std::optional member may be absent.
template <typename T, typename W>
using Of = std::conditional_t<W::kWrites, const T, T>;

template <typename W>
void fields(W& walk, Of<Error, W>& m) {
  walk("code", m.code, ErrorName{});
  walk("message", m.message, Text{kMostErrorText});
  walk("place", m.place, Text{kMostErrorText});
  walk("next_step", m.next_step, Text{kMostErrorText});
}

template <typename W>
void fields(W& walk, Of<Rates, W>& m) {
  walk("f32", m.f32, kAmount);
  walk("bf16", m.bf16, kAmount);
  walk("exact", m.exact, kAmount);
}

template <typename W>
void fields(W& walk, Of<HoursWindow, W>& m) {
  walk("from", m.from, Whole{0, 1439});
  walk("to", m.to, Whole{0, 1439});
}

template <typename W>
void fields(W& walk, Of<Hello, W>& m) {
  walk("version", m.version, kName);
  walk("protocol", m.protocol, Whole{0, 1'000'000});
  if (m.protocol != kProtocolVersion) return walk.ignore_the_rest();
  walk("name", m.name, kName);
  walk("listen", m.listen, kAddress);
  walk("cores", m.cores, Whole{1, 1'000'000});
  walk("memory", m.memory, kCount);
  walk("rates", m.rates, Struct{});
  walk("share", m.share, Real{1e-6, 1});
  walk("cap", m.cap, kAmount);
  walk("hours", m.hours, Struct{});
  walk("wall", m.wall, kFinite);
  walk("place", m.place, Text{300});
}

template <typename W>
void fields(W& walk, Of<Heartbeat, W>& m) {
  walk("number", m.number, kCount);
}

template <typename W>
void fields(W& walk, Of<LineMeasures, W>& m) {
  walk("peer", m.peer, kId);
  walk("delay", m.delay, Real{0, 1e6});
  walk("rate_out", m.rate_out, kAmount);
  walk("rate_in", m.rate_in, kAmount);
}

template <typename W>
void fields(W& walk, Of<JobEpoch, W>& m) {
  walk("job", m.job, kId);
  walk("epoch", m.epoch, Whole{1, kMostWhole});
}

template <typename W>
Of<JobEpoch, W>& job_epoch(W&, Of<JobEpoch, W>& m) {
  return m;
}

template <typename W>
void fields(W& walk, Of<Ready, W>& m) {
  fields(walk, job_epoch(walk, m));
}

template <typename W>
void fields(W& walk, Of<Failed, W>& m) {
  fields(walk, job_epoch(walk, m));
  walk("error", m.error, Struct{});
}

template <typename W>
void fields(W& walk, Of<Prepared, W>& m) {
  fields(walk, job_epoch(walk, m));
  walk("step", m.step, Whole{1, kMostWhole});
  walk("attempt", m.attempt, Whole{1, kMostAttempts});
  walk("outcome", m.outcome, kOutcome);
  walk("error", m.error, Struct{});
  walk.require((m.outcome == Outcome::error) == m.error.has_value(), "error", "does not fit the outcome");
  walk("loss", m.loss, kFinite);
  walk("tokens", m.tokens, kCount);
  walk("grad_norm", m.grad_norm, kFinite);
}

template <typename W>
void fields(W& walk, Of<Committed, W>& m) {
  fields(walk, job_epoch(walk, m));
  walk("step", m.step, Whole{1, kMostWhole});
  walk("seconds", m.seconds, Table<Real>{64, kName, kAmount});
  walk("flops", m.flops, kAmount);
  walk("bytes_in", m.bytes_in, kCount);
  walk("bytes_out", m.bytes_out, kCount);
  walk("warning", m.warning, Struct{});
}

template <typename W>
void fields(W& walk, Of<TensorFacts, W>& m) {
  walk("name", m.name, Text{256, 1});
  walk("bytes", m.bytes, kCount);
  walk("digest", m.digest, Hex{});
}

template <typename W>
void fields(W& walk, Of<StatePart, W>& m) {
  fields(walk, job_epoch(walk, m));
  walk("step", m.step, Whole{1, kMostWhole});
  walk("tensors", m.tensors, List<Struct>{65'536, {}});
}

template <typename W>
void fields(W& walk, Of<Left, W>& m) {
  walk("reason", m.reason, Text{kMostErrorText});
}

template <typename W>
void fields(W& walk, Of<Welcome, W>& m) {
  walk("member", m.member, kCount);
  walk("pool", m.pool, kName);
}

template <typename W>
void fields(W& walk, Of<Refused, W>& m) {
  walk("error", m.error, Struct{});
}

template <typename W>
void fields(W& walk, Of<PeerRoute, W>& m) {
  walk("index", m.index, Whole{0, kMostWorkers - 1});
  walk("id", m.id, kId);
  walk("address", m.address, kAddress);
  walk("relay", m.relay, kId);
  walk.require(!m.address || !m.relay, "relay", "stands beside an address");
  walk("place", m.place, Text{300});
}

template <typename W>
void fields(W& walk, Of<Peers, W>& m) {
  walk("peers", m.peers, List<Struct>{kMostWorkers, {}});
  walk("gone", m.gone, List<Text>{kMostWorkers, kId});
}

template <typename W>
void fields(W& walk, Of<Assign, W>& m) {
  fields(walk, job_epoch(walk, m));
  walk("job_file", m.job_file, Text{std::size_t{1} << 20});
  walk("dataset", m.dataset, kLongText);
  walk("route", m.route, kLongText);
  walk("index", m.index, Whole{0, kMostWorkers - 1});
  walk("peers", m.peers, List<Struct>{kMostWorkers, {}});
  walk("from_snapshot", m.from_snapshot, kCount);
  walk("begin_step", m.begin_step, Whole{1, kMostWhole});
}

template <typename W>
void fields(W& walk, Of<Begin, W>& m) {
  fields(walk, job_epoch(walk, m));
}

template <typename W>
void fields(W& walk, Of<Commit, W>& m) {
  fields(walk, job_epoch(walk, m));
  walk("step", m.step, Whole{1, kMostWhole});
  walk("then", m.then, kThen);
}

template <typename W>
void fields(W& walk, Of<Repeat, W>& m) {
  fields(walk, job_epoch(walk, m));
  walk("step", m.step, Whole{1, kMostWhole});
  walk("attempt", m.attempt, Whole{1, kMostAttempts});
}

template <typename W>
void fields(W& walk, Of<Settle, W>& m) {
  fields(walk, job_epoch(walk, m));
  walk("step", m.step, Whole{1, kMostWhole});
}

template <typename W>
void fields(W& walk, Of<Stop, W>& m) {
  fields(walk, job_epoch(walk, m));
  walk("error", m.error, Struct{});
}

}  // namespace suanli::protocol
