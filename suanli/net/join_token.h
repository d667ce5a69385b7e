// What an operator hands to somebody whose machine shall join a pool: where the pool is, how to recognise it, and a secret that
// is good for a while. As one word, to be pasted:
//
//   suanli1-ID-SECRET-FINGERPRINT-EXPIRES@HOST:PORT
//
// ID 16, SECRET 32 and FINGERPRINT 64 hexadecimal digits (SHA-256 of the authority's certificate: the joiner talks to nobody
// else), EXPIRES in seconds since 1970. The authority keeps only the digest of the secret.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "suanli/base/error.h"
#include "suanli/base/sha256.h"
#include "suanli/net/address.h"
#include "suanli/net/wall_time.h"

namespace suanli::net {

struct JoinToken {
  std::string id;      // 16 digits; public, names the token in lists and when it is revoked
  std::string secret;  // 32 digits
  Digest authority;    // fingerprint
  WallTime expires;
  Address address;

  std::string to_string() const;
  // Errors (usage) never repeat the text, which may hold a secret.
  static Result<JoinToken> parse(std::string_view text);
};

// For the joiner, before it dials: a token that has expired by this machine's clock (unauthorised) or that names another
// authority than `fingerprint` (unauthorised).
[[nodiscard]] Status check_token(const JoinToken& token, const Digest& fingerprint, WallTime now);

}  // namespace suanli::net
