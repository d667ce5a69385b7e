#include "suanli/net/link_meter.h"

#include <algorithm>

namespace suanli::net {
namespace {

constexpr std::size_t kMostUnanswered = 64;
constexpr double kLeastWindow = 0.1;  // seconds of busy line for one value of the rate
constexpr double kNewest = 0.3;       // weight of the newest value
constexpr double kMostRate = 1e15;    // bytes per second; what a peer says beyond it is no rate

std::uint64_t nanoseconds(Seconds time) { return static_cast<std::uint64_t>(time.value() * 1e9); }

// a - b, although both are unsigned and of unset clocks.
double seconds_between(std::uint64_t a, std::uint64_t b) { return 1e-9 * static_cast<double>(static_cast<std::int64_t>(a - b)); }

// How much `value` is above the least so far.
double above_least(std::optional<double>& least, double value) {
  least = std::min(least.value_or(value), value);
  return value - *least;
}

}  // namespace

Ping LinkMeter::next_ping(Seconds now) {
  const Ping ping{++pings_, nanoseconds(now)};
  unanswered_.push_back(ping);
  if (unanswered_.size() > kMostUnanswered) unanswered_.pop_front();
  return ping;
}

Pong LinkMeter::answer(const Ping& ping, Seconds now) const {
  return {ping.number, ping.sent_ns, nanoseconds(now), static_cast<std::uint64_t>(measures_.rate_in.value())};
}

void LinkMeter::on_pong(const Pong& pong, Seconds now) {
  const auto asked = std::ranges::find(unanswered_, pong.number, &Ping::number);
  if (asked == unanswered_.end() || asked->sent_ns != pong.sent_ns) return;
  const double round_trip = std::max(1e-9, seconds_between(nanoseconds(now), asked->sent_ns));
  unanswered_.erase(unanswered_.begin(), asked + 1);  // answers come in order
  measures_.round_trip_last = Seconds(round_trip);
  measures_.round_trip_least =
      measures_.pings == 0 ? Seconds(round_trip) : std::min(measures_.round_trip_least, Seconds(round_trip));
  ++measures_.pings;
  // A peer may claim any time; no queue is longer than the round trip.
  const double out = above_least(least_out_, seconds_between(pong.received_ns, pong.sent_ns));
  const double in = above_least(least_in_, seconds_between(nanoseconds(now), pong.received_ns));
  measures_.queue_out = Seconds(std::min(out, round_trip));
  measures_.queue_in = Seconds(std::min(in, round_trip));
  const auto rate = static_cast<double>(pong.arrival_rate);
  if (rate > 0 && rate < kMostRate) measures_.rate_out = BytesPerSecond(rate);
}

void LinkMeter::on_chunk(Bytes bytes, bool more, Seconds now) {
  if (busy_since_) {
    busy_seconds_ += (now - *busy_since_).value();
    busy_bytes_ += static_cast<double>(bytes.value());
  }
  busy_since_ = more ? std::optional(now) : std::nullopt;
  if (busy_seconds_ < kLeastWindow) return;
  const double rate = busy_bytes_ / busy_seconds_;
  const double before = measures_.rate_in.value();
  measures_.rate_in = BytesPerSecond(before == 0 ? rate : before + kNewest * (rate - before));
  busy_seconds_ = busy_bytes_ = 0;
}

void LinkMeter::on_bytes(Bytes in, Bytes out) {
  measures_.bytes_in += in;
  measures_.bytes_out += out;
}

void LinkMeter::set_probed(BytesPerSecond out, BytesPerSecond in) {
  measures_.probed_out = out;
  measures_.probed_in = in;
}

}  // namespace suanli::net
