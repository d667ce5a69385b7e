// A pool's own certificate authority: a folder on the coordinator's disk with its key, its certificate and what it remembers.
//
//   auto authority = Authority::create(folder, "mypool", wall_time_now());
//   JoinToken token = *authority->make_token({.address = listen}, now);       // printed for the operator
//   Certificate worker = *authority->admit(token.id, token.secret, request, now);
//   authority->revoke(worker.key(), now);  authority->revocation_list(now);   // handed to every peer
//
// Every change is on disk (atomically) before the call returns. One thread; one process at a time (the folder is locked).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/base/file.h"
#include "suanli/net/authority_state.h"
#include "suanli/net/certificate.h"
#include "suanli/net/identity.h"
#include "suanli/net/join_token.h"

namespace suanli::net {

struct TokenTerms {
  Address address{};               // where joiners dial
  Seconds lifetime{24.0 * kHour};  // at least a second
  std::int64_t uses = 1'000;       // machines that may join by it; at least 1
};

class Authority {
 public:
  static constexpr std::int64_t kAuthorityDays = 3650, kCertificateDays = 90;

  // A new authority in a folder that has none (busy if it has one).
  static Result<Authority> create(const std::string& folder, const std::string& pool, WallTime now);
  static Result<Authority> open(const std::string& folder);

  const Certificate& certificate() const { return certificate_; }
  const AuthorityState& state() const { return state_; }

  Result<JoinToken> make_token(const TokenTerms& terms, WallTime now);
  // not_found if there is no such token.
  [[nodiscard]] Status revoke_token(std::string_view id);

  // A worker's certificate for whoever knows the secret of a token that holds. Wrong, expired, used up and revoked tokens and
  // revoked peers are refused (unauthorised); a wrong secret and an unknown token are told in the same words. A peer that asks
  // again by a token that holds gets another certificate.
  Result<Certificate> admit(std::string_view token_id, std::string_view secret, std::string_view request, WallTime now);
  // Without a token: for the coordinator itself, and to renew a certificate over a connection that has proved who asks.
  Result<Certificate> issue(const PeerId& peer, Role role, WallTime now);

  // Takes back every certificate of the peer, and admits it never again. not_found if it never had one.
  [[nodiscard]] Status revoke(const PeerId& peer);
  // Signed, in PEM; its number rises with each call.
  Result<std::string> revocation_list(WallTime now);

 private:
  Authority(std::string folder, FolderLock lock, PrivateKey key, Certificate certificate)
      : folder_(std::move(folder)), lock_(std::move(lock)), key_(std::move(key)), certificate_(std::move(certificate)) {}
  // Writes `next` and, only if that succeeds, takes it.
  [[nodiscard]] Status keep(AuthorityState next);
  Result<Certificate> signed_for(const PeerId& peer, Role role, WallTime now, AuthorityState& next);
  bool is_revoked(const PeerId& peer) const;

  std::string folder_;
  FolderLock lock_;
  PrivateKey key_;
  Certificate certificate_;
  AuthorityState state_;
};

}  // namespace suanli::net
