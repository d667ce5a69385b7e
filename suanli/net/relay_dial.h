// A stream to a peer through a relay, from either end: dial the relay, say which peer (or which ticket is answered), and when the
// relay has joined the two streams, TLS with that peer over it. What comes out is like a stream that was dialled.
#pragma once

#include <functional>
#include <memory>

#include "suanli/base/error.h"
#include "suanli/net/endpoint.h"
#include "suanli/net/greeting.h"

namespace suanli::net {

struct RelayRoute {
  Address relay;
  ExpectedPeer relay_peer;
  RelayCall call;      // to whom; who answers is the server of the inner TLS
  ExpectedPeer peer;   // at the other end; its key is the call's
};

// Reactor's thread only.
class RelayDial : public std::enable_shared_from_this<RelayDial> {
 public:
  using Done = std::function<void(Result<std::shared_ptr<TlsStream>>)>;
  RelayDial(Reactor& reactor, std::shared_ptr<Endpoint> endpoint, std::shared_ptr<const TlsSetup> setup, RelayRoute route);

  // `done` comes once, unless closed before. Errors: as Endpoint::dial(), and what the relay says. `spliced`, if given, comes
  // before it: the relay has joined the streams, or why it did not.
  void start(Seconds deadline, Done done, std::function<void(Status)> spliced = nullptr);
  void close();

 private:
  void on_dialled(std::shared_ptr<TlsStream> outer);
  void on_spliced();
  void finish(Result<std::shared_ptr<TlsStream>> result);
  Seconds left() const { return until_ - Reactor::now(); }

  Reactor& reactor_;
  std::shared_ptr<Endpoint> endpoint_;
  std::shared_ptr<const TlsSetup> setup_;
  RelayRoute route_;
  Seconds until_{0};
  Done done_;
  std::function<void(Status)> spliced_;
  std::shared_ptr<TlsStream> outer_, inner_;
  std::shared_ptr<Greeting> greeting_;
  Via via_;
};

}  // namespace suanli::net
