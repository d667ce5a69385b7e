#include "suanli/net/authority.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "suanli/base/text.h"
#include "suanli/net/openssl.h"
#include "suanli/net/revocation.h"

namespace suanli::net {
namespace {

constexpr const char* kKeyFile = "/authority.key";
constexpr const char* kCertificateFile = "/authority.pem";
constexpr const char* kStateFile = "/authority.json";

Result<std::string> random_hex(std::size_t digits) {
  std::array<unsigned char, 32> bytes{};
  SUANLI_CHECK(digits % 2 == 0 && digits / 2 <= bytes.size());
  if (RAND_bytes(bytes.data(), static_cast<int>(digits / 2)) != 1) return openssl::library_failure("drawing random bytes");
  std::string text;
  for (std::size_t i = 0; i < digits / 2; ++i) text += format("%02x", static_cast<unsigned>(bytes[i]));
  return text;
}

WallTime later(WallTime time, std::int64_t seconds) { return time + WallTime(seconds); }

tl::unexpected<Error> refused(const std::string& why, const std::string& next_step = "ask the pool's operator for a new token") {
  return fail(ErrorCode::unauthorised, why, "join", next_step);
}

}  // namespace

Result<Authority> Authority::create(const std::string& folder, const std::string& pool, WallTime now) {
  SUANLI_RETURN_IF_ERROR(make_folders(folder));
  SUANLI_ASSIGN_OR_RETURN(FolderLock lock, FolderLock::acquire(folder));
  // The state is written last: with it the authority exists.
  if (std::filesystem::exists(folder + kStateFile))
    return fail(ErrorCode::busy, "there is a pool's authority already", folder, "choose another folder");
  SUANLI_ASSIGN_OR_RETURN(PrivateKey key, PrivateKey::generate());
  SUANLI_ASSIGN_OR_RETURN(Certificate certificate, sign_authority(pool, key, now, later(now, kAuthorityDays * kDay)));
  SUANLI_RETURN_IF_ERROR(key.save(folder + kKeyFile));
  SUANLI_RETURN_IF_ERROR(write_file_atomic(folder + kCertificateFile, as_bytes(certificate.pem())));
  Authority authority(folder, std::move(lock), std::move(key), std::move(certificate));
  SUANLI_RETURN_IF_ERROR(authority.keep({}));
  return authority;
}

Result<Authority> Authority::open(const std::string& folder) {
  SUANLI_ASSIGN_OR_RETURN(FolderLock lock, FolderLock::acquire(folder));
  SUANLI_ASSIGN_OR_RETURN(PrivateKey key, PrivateKey::load(folder + kKeyFile));
  SUANLI_ASSIGN_OR_RETURN(Certificate certificate, Certificate::load(folder + kCertificateFile));
  if (!certificate.is_authority() || certificate.key() != key.id())
    return fail(ErrorCode::mismatch, "the authority's certificate is not for its key", folder,
                "restore the folder from a backup");
  SUANLI_ASSIGN_OR_RETURN(const std::string json, read_file(folder + kStateFile));
  Authority authority(folder, std::move(lock), std::move(key), std::move(certificate));
  SUANLI_ASSIGN_OR_RETURN(authority.state_, AuthorityState::parse(json, folder + kStateFile));
  return authority;
}

Status Authority::keep(AuthorityState next) {
  // Digests of secrets and the members of the pool concern its operator alone.
  SUANLI_RETURN_IF_ERROR(write_file_atomic(folder_ + kStateFile, as_bytes(next.to_json()), FileAccess::owner_only));
  state_ = std::move(next);
  return {};
}

Result<JoinToken> Authority::make_token(const TokenTerms& terms, WallTime now) {
  if (terms.lifetime < Seconds(1) || terms.lifetime > Seconds(3650.0 * kDay) || terms.uses < 1)
    return fail(ErrorCode::usage, "a token must hold for a second to ten years, and for one machine or more", "token",
                "name another time or count");
  JoinToken token;
  SUANLI_ASSIGN_OR_RETURN(token.id, random_hex(16));
  SUANLI_ASSIGN_OR_RETURN(token.secret, random_hex(32));
  token.authority = certificate_.fingerprint();
  token.expires = later(now, static_cast<std::int64_t>(terms.lifetime.value()));
  token.address = terms.address;
  AuthorityState next = state_;
  std::erase_if(next.tokens, [&](const IssuedToken& each) { return each.expires + WallTime(30 * kDay) < now; });
  next.tokens.push_back({token.id, sha256(token.secret), token.expires, terms.uses, false});
  SUANLI_RETURN_IF_ERROR(keep(std::move(next)));
  return token;
}

Status Authority::revoke_token(std::string_view id) {
  AuthorityState next = state_;
  const auto found = std::ranges::find(next.tokens, id, &IssuedToken::id);
  if (found == next.tokens.end())
    return fail(ErrorCode::not_found, "there is no token '" + printable(id) + "'", "token", "list the pool's tokens");
  found->revoked = true;
  return keep(std::move(next));
}

Result<Certificate> Authority::signed_for(const PeerId& peer, Role role, WallTime now, AuthorityState& next) {
  const CertificateTerms terms{peer, role, now, later(now, kCertificateDays * kDay)};
  SUANLI_ASSIGN_OR_RETURN(Certificate certificate, sign_certificate(terms, certificate_, key_));
  // What has expired is refused by its date, however wrong a clock within reason.
  std::erase_if(next.certificates, [&](const IssuedCertificate& each) { return each.not_after + WallTime(30 * kDay) < now; });
  next.certificates.push_back({certificate.serial(), peer, role, terms.not_after, false});
  return certificate;
}

bool Authority::is_revoked(const PeerId& peer) const {
  return std::ranges::find(state_.revoked_peers, peer) != state_.revoked_peers.end();
}

Result<Certificate> Authority::admit(std::string_view token_id, std::string_view secret, std::string_view request, WallTime now) {
  AuthorityState next = state_;
  const auto token = std::ranges::find(next.tokens, token_id, &IssuedToken::id);
  const Digest given = sha256(secret);
  if (token == next.tokens.end() || CRYPTO_memcmp(given.bytes.data(), token->secret.bytes.data(), given.bytes.size()) != 0)
    return refused("the token is not known to this pool");
  if (token->revoked) return refused("the token was revoked");
  if (now > token->expires)
    return refused("the token expired at " + to_string(token->expires) + "; at the pool it is " + to_string(now));
  if (token->uses_left == 0) return refused("the token has been used by as many machines as it was made for");
  SUANLI_ASSIGN_OR_RETURN(const PeerId peer, peer_of_request(request));
  if (is_revoked(peer)) return refused("peer " + peer.short_text() + " was revoked", "ask the pool's operator why");
  --token->uses_left;
  SUANLI_ASSIGN_OR_RETURN(Certificate certificate, signed_for(peer, Role::worker, now, next));
  SUANLI_RETURN_IF_ERROR(keep(std::move(next)));
  return certificate;
}

Result<Certificate> Authority::issue(const PeerId& peer, Role role, WallTime now) {
  if (is_revoked(peer)) return refused("peer " + peer.short_text() + " was revoked", "use another key");
  AuthorityState next = state_;
  SUANLI_ASSIGN_OR_RETURN(Certificate certificate, signed_for(peer, role, now, next));
  SUANLI_RETURN_IF_ERROR(keep(std::move(next)));
  return certificate;
}

Status Authority::revoke(const PeerId& peer) {
  AuthorityState next = state_;
  bool known = is_revoked(peer);
  for (IssuedCertificate& each : next.certificates) {
    if (each.peer != peer) continue;
    each.revoked = true;
    known = true;
  }
  if (!known)
    return fail(ErrorCode::not_found, "peer " + peer.short_text() + " has no certificate of this pool", "revoke",
                "list the pool's peers");
  if (!is_revoked(peer)) next.revoked_peers.push_back(peer);
  return keep(std::move(next));
}

Result<std::string> Authority::revocation_list(WallTime now) {
  AuthorityState next = state_;
  ++next.list_number;
  std::vector<std::string> serials;
  for (const IssuedCertificate& each : next.certificates)
    if (each.revoked) serials.push_back(each.serial);
  const std::int64_t number = next.list_number;
  SUANLI_RETURN_IF_ERROR(keep(std::move(next)));
  return sign_revocation_list(serials, number, now, certificate_, key_);
}

}  // namespace suanli::net
