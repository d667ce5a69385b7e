// What an authority remembers, as a file (docs/formats/authority.md): tokens handed out, certificates issued, what was revoked.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/base/sha256.h"
#include "suanli/net/certificate.h"

namespace suanli::net {

struct IssuedToken {
  std::string id;  // 16 hexadecimal digits
  Digest secret;   // SHA-256 of the secret's digits
  WallTime expires;
  std::int64_t uses_left = 0;
  bool revoked = false;
};

struct IssuedCertificate {
  std::string serial;
  PeerId peer;
  Role role = Role::worker;
  WallTime not_after;
  bool revoked = false;
};

struct AuthorityState {
  std::int64_t list_number = 0;  // of the last revocation list
  std::vector<IssuedToken> tokens;
  std::vector<IssuedCertificate> certificates;
  std::vector<PeerId> revoked_peers;  // never admitted again

  std::string to_json() const;
  // Errors: corrupt, version.
  static Result<AuthorityState> parse(std::string_view json, const std::string& place);
};

}  // namespace suanli::net
