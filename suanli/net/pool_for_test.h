// For tests: a pool with its authority, and identities of its peers.
#pragma once

#include <memory>
#include <string>

#include "suanli/base/test_folder.h"
#include "suanli/net/authority.h"
#include "suanli/net/tls_context.h"

namespace suanli::net {

class PoolForTest {
 public:
  Authority& authority() { return authority_; }
  TestFolder& folder() { return folder_; }

  // A peer whose certificate was issued `age` seconds ago.
  TlsIdentity peer(Role role = Role::worker, std::int64_t age = 0) {
    PrivateKey key = PrivateKey::generate().value();
    Certificate certificate = authority_.issue(key.id(), role, wall_time_now() - WallTime(age)).value();
    return {authority_.certificate(), std::move(certificate), std::move(key)};
  }
  std::shared_ptr<TlsContext> context(Role role = Role::worker) { return TlsContext::create(peer(role)).value(); }

 private:
  TestFolder folder_;
  Authority authority_ = Authority::create(folder_ / "ca", "mypool", wall_time_now()).value();
};

}  // namespace suanli::net
