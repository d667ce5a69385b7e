// Makes authenticated connections: listens and dials. What comes out has passed mutual TLS; everybody else is turned away here,
// and cannot keep the endpoint busy: unfinished handshakes have a deadline and a limit, beyond which the oldest is dropped.
// A client that asks to join without a certificate is given to the joining door, if one is open, and to nobody else ever.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>

#include "suanli/base/error.h"
#include "suanli/net/address.h"
#include "suanli/net/reactor.h"
#include "suanli/net/tls_setup.h"
#include "suanli/net/tls_stream.h"

namespace suanli::net {

struct EndpointOptions {
  Seconds handshake_deadline{10};
  int most_handshakes = 256;  // unfinished, of those who dialled us
  SocketOptions socket;
};

// Reactor's thread only. Shared: what runs on the reactor keeps it alive until close().
class Endpoint : public std::enable_shared_from_this<Endpoint> {
 public:
  using Accepted = std::function<void(std::shared_ptr<TlsStream>)>;
  using Refused = std::function<void(const Error&)>;  // for logs
  using Dialled = std::function<void(Result<std::shared_ptr<TlsStream>>)>;

  static std::shared_ptr<Endpoint> create(Reactor& reactor, std::shared_ptr<const TlsSetup> setup, EndpointOptions options);
  ~Endpoint();

  // Returns the address with the port that was taken. Errors: busy (port in use), unreachable (no such address here).
  Result<Address> listen(const Address& address, Accepted accepted, Refused refused);
  // From now on those who ask to join go to the door; null: nobody may.
  void set_door(Accepted door) { door_ = std::move(door); }
  // Calls `done` once, unless the endpoint is closed before. All addresses that the host has are tried. Errors: unreachable,
  // timed_out, unauthorised, protocol.
  void dial(const Address& address, const ExpectedPeer& expected, Seconds deadline, Dialled done);
  void close();

 private:
  struct Listener;
  struct Dialling;
  Endpoint(Reactor& reactor, std::shared_ptr<const TlsSetup> setup, EndpointOptions options);
  void accept_next();
  void begin_handshake(int socket, const std::string& place);

  Reactor& reactor_;
  std::shared_ptr<const TlsSetup> setup_;
  EndpointOptions options_;
  std::unique_ptr<Listener> listener_;
  std::list<std::shared_ptr<TlsStream>> handshakes_;  // oldest first
  Accepted accepted_, door_;
  Refused refused_;
  Timer pause_;
  bool closed_ = false;
};

}  // namespace suanli::net
