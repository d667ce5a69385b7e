#include "suanli/net/join_tls.h"

#include <openssl/ssl.h>

#include "suanli/net/openssl.h"

namespace suanli::net {
namespace {

Result<Certificate> shared(X509* handle) {
  X509_up_ref(handle);
  return Certificate::from_handle({handle, X509_free}, "certificate of the pool");
}

tl::unexpected<Error> refused(std::string why) {
  return fail(ErrorCode::unauthorised, std::move(why), {},
              "check the address in the token, or ask the pool's operator for a new token; do not join this one");
}

}  // namespace

Result<std::shared_ptr<JoinTls>> JoinTls::create(const Digest& authority) {
  std::shared_ptr<JoinTls> made(new JoinTls(authority));
  made->context_ = {SSL_CTX_new(TLS_client_method()), SSL_CTX_free};
  SSL_CTX* const context = made->context_.get();
  std::string protocol = kJoinProtocol;
  protocol.insert(protocol.begin(), static_cast<char>(protocol.size()));
  const bool good = context && SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
                    SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 &&
                    // Zero is success here, unlike everywhere else.
                    SSL_CTX_set_alpn_protos(context, reinterpret_cast<const unsigned char*>(protocol.data()),
                                            static_cast<unsigned>(protocol.size())) == 0;
  if (!good) return openssl::library_failure("preparing TLS");
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_cert_verify_callback(context, verify, made.get());
  return made;
}

Status JoinTls::check(X509_STORE_CTX* chain, TlsVerification& found) const {
  X509* const leaf = X509_STORE_CTX_get0_cert(chain);
  STACK_OF(X509)* const shown = X509_STORE_CTX_get0_untrusted(chain);
  if (!leaf) return refused("whoever answers there shows no certificate");
  std::optional<Certificate> authority;
  std::string other;
  for (int i = 0; shown && i < sk_X509_num(shown); ++i) {
    const auto certificate = shared(sk_X509_value(shown, i));
    if (!certificate || !certificate->is_authority()) continue;
    if (certificate->fingerprint() == authority_) authority = *certificate;
    other = certificate->fingerprint().hex().substr(0, 16);
  }
  if (!authority && other.empty()) return refused("whoever answers there is no coordinator of a pool");
  if (!authority)
    return refused("the pool that answers has the authority " + other + "..., but the token was made by " +
                   authority_.hex().substr(0, 16) + "...");
  if (X509_verify(leaf, X509_get0_pubkey(authority->handle())) != 1) {
    openssl::take_error();
    return refused("whoever answers there shows a certificate that the token's authority did not sign");
  }
  SUANLI_ASSIGN_OR_RETURN(Certificate own, shared(leaf));
  if (own.is_authority() || own.role() != Role::coordinator || own.pool() != authority->pool())
    return refused("whoever answers there is not the pool's coordinator");
  found.peer = std::move(own);
  found.authority = std::move(authority);
  return {};
}

// Called by OpenSSL instead of its own walk along the chain.
int JoinTls::verify(X509_STORE_CTX* chain, void* self) {
  const auto* connection = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(chain, SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto& found = *static_cast<TlsVerification*>(SSL_get_app_data(connection));
  const Status accepted = static_cast<const JoinTls*>(self)->check(chain, found);
  X509_STORE_CTX_set_error(chain, accepted ? X509_V_OK : X509_V_ERR_CERT_REJECTED);
  if (!accepted) found.refusal = accepted.error();
  return accepted ? 1 : 0;
}

SSL* JoinTls::connect(TlsVerification& verification) const {
  SUANLI_CHECK(!verification.side.is_server);
  openssl::Connection connection(SSL_new(context_.get()));
  if (!connection) return nullptr;
  SSL_set_app_data(connection.get(), &verification);
  SSL_set_connect_state(connection.get());
  return connection.release();
}

}  // namespace suanli::net
