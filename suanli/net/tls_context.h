// Mutual TLS 1.3 for all connections of a node: who we are, whose authority we trust, and what it has revoked. Peers are
// recognised by their key alone. No session is ever resumed, so each connection is checked against the newest list.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "suanli/base/error.h"
#include "suanli/net/certificate.h"
#include "suanli/net/identity.h"
#include "suanli/net/revocation.h"

struct ssl_ctx_st;
struct ssl_st;
struct x509_store_ctx_st;

namespace suanli::net {

// Who answers is only taken if it is this peer, in this role.
struct ExpectedPeer {
  std::optional<PeerId> id;
  std::optional<Role> role;
};

struct TlsIdentity {
  Certificate authority;
  Certificate certificate;  // signed by the authority, for the key
  PrivateKey key;
};

// Any thread.
class TlsContext {
 public:
  using WallClock = std::function<WallTime()>;
  // Errors: mismatch (the parts do not belong together), unauthorised (our own certificate does not hold now).
  static Result<std::shared_ptr<TlsContext>> create(TlsIdentity identity, WallClock clock = wall_time_now);
  ~TlsContext();

  // An older list than the one in force is refused (mismatch). Connections made before live on: the node closes them.
  [[nodiscard]] Status set_revocation_list(RevocationList list);
  bool is_revoked(const Certificate& certificate) const;
  const TlsIdentity& identity() const { return identity_; }

  // What the handshake of one connection found out; outlives the connection it is attached to.
  struct Verification {
    ExpectedPeer expected;
    const TlsContext* context = nullptr;
    std::optional<Certificate> peer;  // if it was accepted
    std::optional<Error> refusal;     // why it was not
  };
  // A new connection on an open socket, or null; the caller frees it.
  ssl_st* connect(int socket, bool as_server, Verification& verification) const;

 private:
  TlsContext(TlsIdentity identity, WallClock clock);
  static int verify(int good, x509_store_ctx_st* chain);
  // The checks that X.509 alone does not make.
  Status check(const Certificate& certificate, const ExpectedPeer& expected, int& x509_error) const;

  TlsIdentity identity_;
  WallClock clock_;
  ssl_ctx_st* context_ = nullptr;
  mutable std::mutex mutex_;
  std::shared_ptr<const RevocationList> revoked_;
};

}  // namespace suanli::net
