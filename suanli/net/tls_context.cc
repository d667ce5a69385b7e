#include "suanli/net/tls_context.h"

#include <openssl/ssl.h>

#include <algorithm>

#include "suanli/net/openssl.h"

namespace suanli::net {
namespace {

tl::unexpected<Error> refused(std::string why, std::string next_step) {
  return fail(ErrorCode::unauthorised, std::move(why), {}, std::move(next_step));
}

}  // namespace

TlsContext::TlsContext(TlsIdentity identity, WallClock clock)
    : clock_(std::move(clock)), identity_(std::move(identity)), revoked_(std::make_shared<RevocationList>()) {}

TlsContext::~TlsContext() = default;

Result<std::shared_ptr<SSL_CTX>> TlsContext::library_context(const TlsIdentity& own, WallTime now) {
  const std::string place = "certificate of peer " + own.certificate.key().short_text();
  if (!own.authority.is_authority() || own.certificate.is_authority() ||
      X509_verify(own.certificate.handle(), X509_get0_pubkey(own.authority.handle())) != 1) {
    openssl::take_error();
    return fail(ErrorCode::mismatch, "it was not signed by the authority of pool '" + own.authority.pool() + "'", place,
                "join the pool again");
  }
  if (own.certificate.key() != own.key.id())
    return fail(ErrorCode::mismatch, "it is not for the key of this machine", place, "join the pool again");
  SUANLI_RETURN_IF_ERROR(check_validity(own.certificate, now));

  std::shared_ptr<SSL_CTX> made(SSL_CTX_new(TLS_method()), SSL_CTX_free);
  SSL_CTX* const context = made.get();
  const bool good = context && SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
                    SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 &&
                    SSL_CTX_use_certificate(context, own.certificate.handle()) == 1 &&
                    SSL_CTX_use_PrivateKey(context, own.key.handle()) == 1 &&
                    X509_STORE_add_cert(SSL_CTX_get_cert_store(context), own.authority.handle()) == 1 &&
                    // Said with our own: who joins knows its fingerprint alone.
                    SSL_CTX_add1_chain_cert(context, own.authority.handle()) == 1 && SSL_CTX_set_num_tickets(context, 0) == 1;
  if (!good) return openssl::library_failure("preparing TLS");
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, verify);
  SSL_CTX_set_alpn_select_cb(context, choose_protocol, nullptr);
  // Times are checked by check_validity(), which allows for clocks that differ and says so.
  X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context), X509_V_FLAG_NO_CHECK_TIME);
  return made;
}

Result<std::shared_ptr<TlsContext>> TlsContext::create(TlsIdentity identity, WallClock clock) {
  SUANLI_ASSIGN_OR_RETURN(std::shared_ptr<SSL_CTX> context, library_context(identity, clock()));
  std::shared_ptr<TlsContext> made(new TlsContext(std::move(identity), std::move(clock)));
  made->context_ = std::move(context);
  return made;
}

Status TlsContext::renew(Certificate certificate) {
  TlsIdentity next = identity();
  if (certificate.is_authority() || certificate.role() != next.certificate.role() ||
      certificate.pool() != next.certificate.pool())
    return fail(ErrorCode::mismatch, "it is for another role or pool than the one it shall replace", "new certificate",
                "join the pool again");
  next.certificate = std::move(certificate);
  SUANLI_ASSIGN_OR_RETURN(std::shared_ptr<SSL_CTX> context, library_context(next, clock_()));
  const std::lock_guard lock(mutex_);
  identity_ = std::move(next);
  context_ = std::move(context);  // connections hold the old one as long as they live
  return {};
}

TlsIdentity TlsContext::identity() const {
  const std::lock_guard lock(mutex_);
  return identity_;
}

Status TlsContext::set_revocation_list(RevocationList list) {
  const std::lock_guard lock(mutex_);
  if (list.number() < revoked_->number()) {
    return fail(ErrorCode::mismatch,
                "revocation list " + std::to_string(list.number()) + " is older than the one in force, " +
                    std::to_string(revoked_->number()),
                "revocation list", "fetch it again from the coordinator");
  }
  revoked_ = std::make_shared<RevocationList>(std::move(list));
  return {};
}

bool TlsContext::is_revoked(const Certificate& certificate) const {
  const std::lock_guard lock(mutex_);
  return revoked_->contains(certificate.serial());
}

Status TlsContext::check(const Certificate& certificate, const ExpectedPeer& expected, int& x509_error) const {
  const std::string whose = "peer " + certificate.key().short_text();
  x509_error = X509_V_ERR_CERT_REJECTED;
  if (certificate.is_authority()) return refused("the peer shows the certificate of an authority", "use a worker's certificate");
  const WallTime now = clock_();
  if (Status valid = check_validity(certificate, now); !valid) {
    x509_error = now > certificate.not_after() ? X509_V_ERR_CERT_HAS_EXPIRED : X509_V_ERR_CERT_NOT_YET_VALID;
    return valid;
  }
  if (is_revoked(certificate)) {
    x509_error = X509_V_ERR_CERT_REVOKED;
    return refused("the certificate of " + whose + " was revoked", "ask the pool's operator why");
  }
  if (expected.id && certificate.key() != *expected.id)
    return refused("peer " + expected.id->short_text() + " was expected, but " + whose + " answers", "check the address");
  if (expected.role && certificate.role() != *expected.role)
    return refused(
        whose + " is a " + std::string(name_of(certificate.role())) + ", not a " + std::string(name_of(*expected.role)),
        "check the address");
  return {};
}

// Called by OpenSSL for each certificate of the chain, the peer's own last. Returns whether to go on; the error left in `chain`
// chooses the alert that the peer gets to see.
int TlsContext::verify(int good, X509_STORE_CTX* chain) {
  const auto* connection = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(chain, SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto& found = *static_cast<TlsVerification*>(SSL_get_app_data(connection));
  if (!good) {
    const int error = X509_STORE_CTX_get_error(chain);
    if (!found.refusal)
      found.refusal = refused("the peer's certificate is not one of pool '" + found.context->identity().authority.pool() +
                                  "': " + X509_verify_cert_error_string(error),
                              "join the peer to this pool")
                          .value();
    return 0;
  }
  if (X509_STORE_CTX_get_error_depth(chain) != 0) return 1;
  X509* const handle = X509_STORE_CTX_get_current_cert(chain);
  X509_up_ref(handle);
  auto certificate = Certificate::from_handle({handle, X509_free}, "certificate of the peer");
  int x509_error = X509_V_ERR_CERT_REJECTED;
  const Status accepted =
      certificate ? found.context->check(*certificate, found.side.expected, x509_error)
                  : Status(tl::unexpected(certificate.error()));
  if (!accepted) {
    found.refusal = accepted.error();
    X509_STORE_CTX_set_error(chain, x509_error);
    return 0;
  }
  found.peer = *std::move(certificate);
  return 1;
}

// Called by OpenSSL on a server when a client names protocols in its first message, before the server asks for a certificate.
// Clients that name none, or others than ours, go on as if nothing had been said: they are asked for one.
int TlsContext::choose_protocol(SSL* connection, const unsigned char** chosen, unsigned char* chosen_size,
                                const unsigned char* offered, unsigned offered_size, void*) {
  auto& found = *static_cast<TlsVerification*>(SSL_get_app_data(connection));
  const std::string_view wanted = kJoinProtocol;
  // A list of texts, each behind a byte with its length; OpenSSL has checked that they fill the list.
  for (unsigned at = 0; at < offered_size; at += 1u + offered[at]) {
    const std::string_view name(reinterpret_cast<const char*>(offered + at + 1),
                                std::min<unsigned>(offered[at], offered_size - at - 1));
    if (name != wanted) continue;
    if (!found.side.may_join) return SSL_TLSEXT_ERR_ALERT_FATAL;
    found.joining = true;
    SSL_set_verify(connection, SSL_VERIFY_NONE, nullptr);
    *chosen = offered + at + 1;
    *chosen_size = offered[at];
    return SSL_TLSEXT_ERR_OK;
  }
  return SSL_TLSEXT_ERR_NOACK;
}

SSL* TlsContext::connect(TlsVerification& verification) const {
  const std::unique_lock lock(mutex_);
  openssl::Connection connection(SSL_new(context_.get()));
  if (!connection) return nullptr;
  verification.context = this;
  SSL_set_app_data(connection.get(), &verification);
  verification.side.is_server ? SSL_set_accept_state(connection.get()) : SSL_set_connect_state(connection.get());
  return connection.release();
}

}  // namespace suanli::net
