#include "suanli/net/emulated_line.h"

#include <algorithm>
#include <cmath>

namespace suanli::net {
namespace {

constexpr std::int64_t kRecordBytes = 16384;  // of TLS
constexpr double kRecordOverheadBytes = 22;

// The beginning of the last run of an outage that begins at or before `time` (after the line's begin); negative: none.
double last_begin(const Outage& outage, double time) {
  const double at = outage.at.value(), every = outage.every.value();
  if (time < at) return -1;
  return every > 0 ? at + std::floor((time - at) / every) * every : at;
}

}  // namespace

double EmulatedLine::wire_seconds(double bytes) const {
  if (options_.rate.value() <= 0) return 0;
  const double payload = bytes * (1 + kRecordOverheadBytes / static_cast<double>(kRecordBytes));
  return payload * (kWireBytes / kPayloadBytes) / options_.rate.value();
}

Seconds EmulatedLine::after_outage(Seconds time) const {
  // Outages may follow one another; each is looked at once more for each that could push the time into it.
  for (std::size_t round = 0; round <= options_.outages.size(); ++round) {
    const Seconds before = time;
    for (const Outage& outage : options_.outages) {
      const double since = (time - begin_).value();
      const double began = last_begin(outage, since);
      if (began >= 0 && since < began + outage.lasts.value()) time = begin_ + Seconds(began) + outage.lasts;
    }
    if (time == before) break;
  }
  return time;
}

std::int64_t EmulatedLine::room(std::int64_t most, Seconds now) const {
  const double rate = options_.rate.value();
  if (after_outage(now) > now) return 0;
  if (rate <= 0) return most;
  const double waiting = std::max((free_ - now).value(), 0.0);
  if (waiting >= options_.queue.value()) return 0;
  // At least a packet, else a slow line with a short queue would let nothing in at all.
  const double bytes = std::max((options_.queue.value() - waiting) * rate * kPayloadBytes / kWireBytes, kPayloadBytes);
  return std::min(most, static_cast<std::int64_t>(bytes));
}

Seconds EmulatedLine::room_at(Seconds now) const {
  // When a good part of the queue is free: not a wake-up for each packet, and early enough for a late one.
  return std::max(after_outage(now), free_ - options_.queue * 0.75);
}

Seconds EmulatedLine::send(std::int64_t bytes, Seconds now) {
  const Seconds start = after_outage(std::max(now, free_));
  free_ = start + Seconds(wire_seconds(static_cast<double>(bytes)));
  const double jitter = options_.jitter.value() * Philox(options_.seed, Stream::test).uniform(sent_++);
  last_arrival_ = std::max(last_arrival_, free_ + options_.delay + Seconds(jitter));
  return last_arrival_;
}

Seconds EmulatedLine::next_cut(Seconds now) const {
  Seconds next(-1);
  for (const Outage& outage : options_.outages) {
    if (!outage.cut) continue;
    const double since = (now - begin_).value();
    double at = last_begin(outage, since);
    if (at < since) at = since <= outage.at.value() ? outage.at.value() : at + outage.every.value();
    if (at < since) continue;
    const Seconds time = begin_ + Seconds(at);
    if (next < Seconds(0) || time < next) next = time;
  }
  return next;
}

}  // namespace suanli::net
