// How a machine that has only a token becomes a member of a pool: it makes a key, asks at the pool's joining door, and gets a
// certificate for that key (docs/formats/joining.md). Afterwards it connects like any other peer.
//
//   auto joined = join_pool(JoinToken::parse(text).value(), key, {}, Seconds(20));
//   auto context = TlsContext::create({joined->authority, joined->own, key});
#pragma once

#include <functional>
#include <string>

#include "suanli/base/error.h"
#include "suanli/net/certificate.h"
#include "suanli/net/identity.h"
#include "suanli/net/join_token.h"
#include "suanli/net/wall_time.h"

namespace suanli::net {

// What the joiner says of itself.
struct JoinFacts {
  std::string software = "suanli";  // name and version, for people
  std::function<WallTime()> clock = wall_time_now;
};

struct Joined {
  Certificate own, authority;
};

// Blocks; any thread but a reactor's. Nothing is said to anybody but a coordinator of the token's authority, and the secret only
// after versions and clocks were found to agree.
//
// Errors: unreachable (nobody there), timed_out, protocol (no suanli node there), unauthorised (another pool; a clock that is
// off; a token that is wrong, expired, used up or revoked; a revoked key), version (both named), busy (too many refused
// attempts).
Result<Joined> join_pool(const JoinToken& token, const PrivateKey& key, JoinFacts facts, Seconds deadline);

}  // namespace suanli::net
