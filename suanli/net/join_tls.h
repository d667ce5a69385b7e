// TLS of a machine that has only a token: it shows no certificate, and takes nobody but a coordinator whose certificate was
// signed by the authority with the token's fingerprint.
#pragma once

#include <memory>

#include "suanli/base/error.h"
#include "suanli/base/sha256.h"
#include "suanli/net/tls_setup.h"

struct ssl_ctx_st;
struct x509_store_ctx_st;

namespace suanli::net {

// Times of the certificate are not checked here: by whose clock, is what the door's opening tells.
class JoinTls final : public TlsSetup {
 public:
  static Result<std::shared_ptr<JoinTls>> create(const Digest& authority);
  ssl_st* connect(TlsVerification& verification) const override;

 private:
  explicit JoinTls(const Digest& authority) : authority_(authority) {}
  static int verify(x509_store_ctx_st* chain, void* self);
  Status check(x509_store_ctx_st* chain, TlsVerification& found) const;

  Digest authority_;
  std::shared_ptr<ssl_ctx_st> context_;
};

}  // namespace suanli::net
