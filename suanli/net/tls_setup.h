// Who makes the TLS side of connections, and what a handshake finds out: mutual TLS of a node (tls_context.h), or the one-sided
// TLS of a machine that has a token and no certificate yet (join_tls.h).
#pragma once

#include <optional>

#include "suanli/base/error.h"
#include "suanli/net/certificate.h"
#include "suanli/net/identity.h"

struct ssl_st;

namespace suanli::net {

class TlsContext;

// Who answers is only taken if it is this peer, in this role.
struct ExpectedPeer {
  std::optional<PeerId> id;
  std::optional<Role> role;
};

// Which end of a connection we are.
struct TlsSide {
  bool is_server = false;
  ExpectedPeer expected{};
  // A server's: a client that names the joining protocol (ALPN, kJoinProtocol) need not show a certificate. It is then marked
  // as `joining` and is nobody: it is never taken for a peer.
  bool may_join = false;
};

// The name by which a client without a certificate asks for the joining door (RFC 7301).
inline constexpr char kJoinProtocol[] = "suanli-join/1";

// What the handshake of one connection found out; outlives the connection it is attached to.
struct TlsVerification {
  TlsSide side{};
  const TlsContext* context = nullptr;  // of a node
  std::optional<Certificate> peer;      // if it was accepted
  std::optional<Error> refusal;         // why it was not
  bool joining = false;
  std::optional<Certificate> authority;  // of a joiner: who signed the certificate of the peer
};

// Any thread.
class TlsSetup {
 public:
  virtual ~TlsSetup() = default;
  // A new connection without a transport, or null; the caller frees it.
  virtual ssl_st* connect(TlsVerification& verification) const = 0;
};

}  // namespace suanli::net
