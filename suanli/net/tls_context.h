// Mutual TLS 1.3 for all connections of a node: who we are, whose authority we trust, and what it has revoked. Peers are
// recognised by their key alone. No session is ever resumed, so each connection is checked against the newest list.
//
// One exception, and only where the endpoint opens it (TlsSide::may_join): a client that names kJoinProtocol in its first message
// is not asked for a certificate. Its connection is marked and leads to the joining door alone.
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
#include "suanli/net/tls_setup.h"

struct ssl_ctx_st;
struct x509_store_ctx_st;

namespace suanli::net {

struct TlsIdentity {
  Certificate authority;
  Certificate certificate;  // signed by the authority, for the key
  PrivateKey key;
};

// Any thread.
class TlsContext final : public TlsSetup {
 public:
  using WallClock = std::function<WallTime()>;
  // Errors: mismatch (the parts do not belong together), unauthorised (our own certificate does not hold now).
  static Result<std::shared_ptr<TlsContext>> create(TlsIdentity identity, WallClock clock = wall_time_now);
  ~TlsContext() override;

  // An older list than the one in force is refused (mismatch). Connections made before live on: the node closes them.
  [[nodiscard]] Status set_revocation_list(RevocationList list);
  bool is_revoked(const Certificate& certificate) const;
  // Shows a newer certificate of the same key and role from now on. Connections made before live on. Errors: as create().
  [[nodiscard]] Status renew(Certificate certificate);
  TlsIdentity identity() const;

  ssl_st* connect(TlsVerification& verification) const override;

 private:
  TlsContext(TlsIdentity identity, WallClock clock);
  static int verify(int good, x509_store_ctx_st* chain);
  static int choose_protocol(ssl_st* connection, const unsigned char** chosen, unsigned char* chosen_size,
                             const unsigned char* offered, unsigned offered_size, void* unused);
  // The library's object that connections of this identity are made from.
  static Result<std::shared_ptr<ssl_ctx_st>> library_context(const TlsIdentity& identity, WallTime now);
  // The checks that X.509 alone does not make.
  Status check(const Certificate& certificate, const ExpectedPeer& expected, int& x509_error) const;

  WallClock clock_;
  mutable std::mutex mutex_;  // guards what follows
  TlsIdentity identity_;
  std::shared_ptr<ssl_ctx_st> context_;
  std::shared_ptr<const RevocationList> revoked_;
};

}  // namespace suanli::net
