// What a link's own traffic tells of it: delay from pings, rate from bulk while the sender had more to send.
//
// A delay in one direction cannot be told from clocks that nobody has set alike; what can is how much longer than ever before
// something took in that direction, that is, its queue. So the delay each way is half the least round trip, plus its queue.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>

#include "suanli/base/units.h"
#include "suanli/net/frame.h"

namespace suanli::net {

struct LinkMeasures {
  std::int64_t pings = 0;       // answered so far
  Seconds round_trip_least{0};  // 0: not measured yet
  Seconds round_trip_last{0};
  Seconds queue_out{0}, queue_in{0};       // of the last ping, beyond the least seen
  BytesPerSecond rate_in{0}, rate_out{0};  // of bulk; 0: not measured yet
  BytesPerSecond probed_in{0}, probed_out{0};  // by the last probe of the line (line_probe.h); 0: none yet
  Bytes bytes_in{0}, bytes_out{0};         // of frames, all streams
  Seconds delay_out() const { return round_trip_least / 2.0 + queue_out; }
  Seconds delay_in() const { return round_trip_least / 2.0 + queue_in; }
};

// Pure; one thread. Times are seconds of this machine's monotonic clock.
class LinkMeter {
 public:
  Ping next_ping(Seconds now);
  Pong answer(const Ping& ping, Seconds now) const;
  // An answer to no ping of ours changes nothing.
  void on_pong(const Pong& pong, Seconds now);
  // A chunk of bulk has come in whole; `more`: the sender had more to send when it cut this one.
  void on_chunk(Bytes bytes, bool more, Seconds now);
  void on_bytes(Bytes in, Bytes out);
  void set_probed(BytesPerSecond out, BytesPerSecond in);
  LinkMeasures measures() const { return measures_; }

 private:
  LinkMeasures measures_;
  std::uint64_t pings_ = 0;
  std::deque<Ping> unanswered_;
  std::optional<double> least_out_, least_in_;  // seconds between two unset clocks: only differences mean something
  std::optional<Seconds> busy_since_;           // the last chunk's arrival, if more was to come
  double busy_seconds_ = 0, busy_bytes_ = 0;
};

}  // namespace suanli::net
