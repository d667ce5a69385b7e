// The relay's side of links between peers that cannot dial one another (docs/formats/relay.md). One calls with the name of the
// peer that it wants; that peer, which has a link to the relay, is told over it and calls back; the two streams are spliced.
// Both are authenticated towards the relay, and, through it, towards one another.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "suanli/base/error.h"
#include "suanli/net/link.h"
#include "suanli/net/splice.h"
#include "suanli/net/tls_stream.h"

namespace suanli::net {

struct RelayOptions {
  std::size_t most_streams = 512;          // spliced or waiting, of all peers
  std::size_t most_streams_per_peer = 68;  // of those that one peer called for; four links of sixteen data streams
  Seconds deadline{10};                    // for the other peer to call back
  Seconds idle{60};
  // May this peer call that one? Empty: all may.
  std::function<bool(const PeerId& from, const PeerId& to)> allow{};
};

struct RelayMeasures {
  std::size_t waiting = 0, spliced = 0;  // now
  std::int64_t ever = 0;                 // spliced since the node began
  Bytes carried{0};                      // ciphertext of peers, both ways
};

// What a relay tells the peer that is wanted, over its link.
struct RelayRequest {
  RelayTicket ticket{};
  PeerId from;
  std::string reason;  // at most RelayCall::kMostReasonBytes
};
std::string encode(const RelayRequest& request);
Result<RelayRequest> parse_relay_request(const std::string& text);  // protocol

// Reactor's thread only.
class Relay : public std::enable_shared_from_this<Relay> {
 public:
  using FindLink = std::function<std::shared_ptr<Link>(const PeerId& peer)>;
  using Refused = std::function<void(const Error&)>;  // for logs
  Relay(Reactor& reactor, RelayOptions options, FindLink find_link, Refused refused);

  // A stream whose first frame was this call.
  void take(const std::shared_ptr<TlsStream>& stream, const RelayCall& call);
  // Ends all streams of peers whose certificates are such.
  void drop_if(const std::function<bool(const Certificate&)>& is_gone);
  void close();
  RelayMeasures measures() const;

 private:
  struct Waiting {
    explicit Waiting(Reactor& reactor) : deadline(reactor) {}
    std::shared_ptr<TlsStream> stream;
    RelayCall call;
    Timer deadline;
  };
  void on_call(const std::shared_ptr<TlsStream>& stream, const RelayCall& call);
  void on_callback(const std::shared_ptr<TlsStream>& stream, const RelayCall& call);
  // Says goodbye with the reason.
  void refuse(const std::shared_ptr<TlsStream>& stream, const Error& why);
  void give_up(const RelayTicket& ticket, const Error& why);

  Reactor& reactor_;
  RelayOptions options_;
  FindLink find_link_;
  Refused refused_;
  std::map<RelayTicket, std::unique_ptr<Waiting>> waiting_;
  std::map<std::shared_ptr<Splice>, PeerId> splices_;  // and who called
  std::int64_t ever_ = 0;
  Bytes carried_{0};  // by splices that have ended
  bool closed_ = false;
};

}  // namespace suanli::net
