// X.509 certificates of a pool: the pool's own authority signs a worker's Ed25519 key. What a certificate says of a peer is its
// key (the PeerId), its role and the time it holds; names of hosts play no part, since workers move and have none.
//
//   subject of a peer:       CN = PeerId in hex, OU = role, O = pool      EKU serverAuth and clientAuth
//   subject of an authority: CN = "suanli authority", O = pool            basicConstraints CA, pathlen 0
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "suanli/base/error.h"
#include "suanli/base/sha256.h"
#include "suanli/base/units.h"
#include "suanli/net/identity.h"
#include "suanli/net/wall_time.h"

struct x509_st;  // OpenSSL's X509

namespace suanli::net {

enum class Role { coordinator, worker };
std::string_view name_of(Role role);
Result<Role> role_of(std::string_view name, const std::string& place);

// Immutable; any thread may use it.
class Certificate {
 public:
  // One certificate in PEM; `place` names its source in errors (foreign). Certificates that no authority of ours makes (another
  // kind of key, no pool) are foreign too.
  static Result<Certificate> parse(std::string_view pem, const std::string& place);
  static Result<Certificate> load(const std::string& path);
  // Shares the object.
  static Result<Certificate> from_handle(std::shared_ptr<x509_st> certificate, const std::string& place);

  std::string pem() const;
  Digest fingerprint() const;                 // SHA-256 of the DER encoding
  const PeerId& key() const { return key_; }  // of a peer: its id
  const std::string& pool() const { return pool_; }
  bool is_authority() const { return authority_; }
  Role role() const { return role_; }                    // of a peer
  const std::string& serial() const { return serial_; }  // lower-case hexadecimal
  WallTime not_before() const { return not_before_; }
  WallTime not_after() const { return not_after_; }
  x509_st* handle() const { return certificate_.get(); }

 private:
  std::shared_ptr<x509_st> certificate_;
  PeerId key_;
  std::string pool_, serial_;
  bool authority_ = false;
  Role role_ = Role::worker;
  WallTime not_before_, not_after_;
};

// How far the clocks of two machines may differ before certificates are refused for it.
inline constexpr Seconds kClockTolerance{300};

// Is `now` inside the certificate's time, give or take `tolerance`? If not (unauthorised), the error names both times, and says
// that a clock may be wrong.
[[nodiscard]] Status check_validity(const Certificate& certificate, WallTime now, Seconds tolerance = kClockTolerance);

// A request for a certificate (PKCS #10 in PEM), signed by the key: it proves that whoever sends it holds the key.
Result<std::string> make_request(const PrivateKey& key);
// The id in a request whose signature holds (unauthorised if it does not, foreign if it is no request).
Result<PeerId> peer_of_request(std::string_view pem);

// What an authority signs.
struct CertificateTerms {
  PeerId peer;
  Role role = Role::worker;
  WallTime not_before, not_after;
};
Result<Certificate> sign_certificate(const CertificateTerms& terms, const Certificate& authority, const PrivateKey& key);
Result<Certificate> sign_authority(const std::string& pool, const PrivateKey& key, WallTime not_before, WallTime not_after);

}  // namespace suanli::net
