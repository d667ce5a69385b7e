// What a line can carry, measured when two machines meet: its delay, and its rate each way by a transfer each way that grows
// until it takes long enough to say something. Real traffic says the same later and for nothing (link_meter.h); a placement
// wants to know before there is any.
//
// Each round is a number of equal tensors, all into one buffer and from one, so memory is bounded whatever the line; who receives
// takes the time from the first's end to the last's, which leaves out the delay and the start.
#pragma once

#include <functional>
#include <memory>

#include "suanli/base/error.h"
#include "suanli/net/link.h"

namespace suanli::net {

// Tags with this high half belong to probes.
inline constexpr std::uint64_t kProbeTag = ~std::uint64_t{0};

struct ProbeOptions {
  Seconds enough{0.3};      // a round that took so long is the last
  Bytes most{256'000'000};  // sent each way in one round
  Seconds deadline{30};     // of the whole probe
};

struct LineProbe {
  Seconds round_trip{0};                   // the least seen
  BytesPerSecond rate_out{0}, rate_in{0};  // as the receiver saw it; the peer's word for what went out
  Bytes moved{0};                          // both ways
  Seconds took{0};
};

// Any thread; `done` comes once, on the reactor's thread. The result stands in the link's measures too. Other traffic of the link
// shares the line meanwhile. Errors: busy (the peer probes already), timed_out, mismatch (the peer's figures cannot be), and
// whatever ended the link.
void probe_line(std::shared_ptr<Link> link, ProbeOptions options, std::function<void(Result<LineProbe>)> done);

// Answers the peer's probes: at most a round at a time, 1 GiB each. Reactor's thread, before the link's start().
void serve_probes(const std::shared_ptr<Link>& link);

// One round, as it is asked for.
struct ProbeRound {
  static constexpr std::uint32_t kMostPieces = 256, kMostPieceBytes = 4 << 20;
  static constexpr std::uint64_t kNumbers = std::uint64_t{1} << 46;
  bool towards_asker = false;
  std::uint64_t number = 0;  // below kNumbers; in the tags of its pieces
  std::uint32_t pieces = 0, piece_bytes = 0;
  auto operator<=>(const ProbeRound&) const = default;
};
std::string encode(const ProbeRound& round);
Result<ProbeRound> parse_probe_round(const std::string& text);  // protocol

}  // namespace suanli::net
