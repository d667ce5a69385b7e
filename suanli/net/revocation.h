// Which certificates an authority has taken back: an X.509 revocation list, signed by the authority, so that it may travel by
// any way and through any hands.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "suanli/base/error.h"
#include "suanli/net/certificate.h"

namespace suanli::net {

// Immutable; any thread may use it.
class RevocationList {
 public:
  RevocationList() = default;  // nothing is revoked; number 0
  // Reads PEM and checks the authority's signature (unauthorised if it does not hold).
  static Result<RevocationList> parse(std::string_view pem, const Certificate& authority);

  bool contains(const std::string& serial) const { return serials_.contains(serial); }
  // Rises with each list: an older list never replaces a newer one.
  std::int64_t number() const { return number_; }
  std::size_t size() const { return serials_.size(); }

 private:
  std::set<std::string> serials_;
  std::int64_t number_ = 0;
};

// Signs a list of these serials (hexadecimal).
Result<std::string> sign_revocation_list(std::span<const std::string> serials, std::int64_t number, WallTime now,
                                         const Certificate& authority, const PrivateKey& key);

}  // namespace suanli::net
