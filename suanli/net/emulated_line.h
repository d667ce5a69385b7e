// A line with a delay, a rate, jitter and outages, as arithmetic on a clock: no socket, no root, the same from a seed.
//
// The line is a queue in front of a wire. Bytes depart one after another: start = max(now, wire free, end of an outage), wire
// free = start + bytes on the wire / rate; they arrive at wire free + delay + jitter. As on Ethernet, 1,448 bytes of payload take
// 1,514 on the wire (headers of TCP, IP and Ethernet), and TLS adds 22 bytes to a record, so a rate is a line rate, of which 95.5
// % carries data. A sender is let in while the queue is shorter than `queue`, as a socket with a small send buffer and BBR keeps
// it.
#pragma once

#include <cstdint>
#include <vector>

#include "suanli/base/philox.h"
#include "suanli/base/units.h"

namespace suanli::net {

struct Outage {
  Seconds at{0};  // after the line began
  Seconds lasts{0};
  Seconds every{0};  // again after so long; 0: once
  bool cut = false;  // connections are lost, too
  auto operator<=>(const Outage&) const = default;
};

// One direction.
struct LineOptions {
  Seconds delay{0};
  BytesPerSecond rate{0};  // 0: without limit
  Seconds jitter{0};       // bytes arrive up to so much later, evenly; never before those sent earlier
  Seconds queue{0.01};
  std::vector<Outage> outages{};
  std::uint64_t seed = 0;
};

// One thread. Times are seconds of a clock that never goes backwards.
class EmulatedLine {
 public:
  static constexpr double kPayloadBytes = 1448, kWireBytes = 1514;

  EmulatedLine(LineOptions options, Seconds begin) : options_(std::move(options)), begin_(begin), free_(begin) {}

  // Bytes that are let in now: `most`, less, or 0.
  std::int64_t room(std::int64_t most, Seconds now) const;
  // When there is room again (not before `now`).
  Seconds room_at(Seconds now) const;
  // Puts bytes on the line; returns when they arrive.
  Seconds send(std::int64_t bytes, Seconds now);
  // The next time at or after `now` at which connections are lost; a negative number: none.
  Seconds next_cut(Seconds now) const;
  const LineOptions& options() const { return options_; }

 private:
  double wire_seconds(double bytes) const;
  // The end of the outage at `time`, or `time` itself.
  Seconds after_outage(Seconds time) const;

  LineOptions options_;
  Seconds begin_, free_, last_arrival_{0};
  std::uint64_t sent_ = 0;
};

}  // namespace suanli::net
