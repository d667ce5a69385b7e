// Who a machine is: an Ed25519 key that it made itself and that never leaves it. The public half *is* the name (PeerId), so
// nobody can take another's name, and nobody has to hand names out.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "suanli/base/error.h"

struct evp_pkey_st;  // OpenSSL's EVP_PKEY

namespace suanli::net {

struct PeerId {
  std::array<std::byte, 32> bytes{};  // the raw Ed25519 public key (RFC 8032)
  auto operator<=>(const PeerId&) const = default;
  std::string hex() const;         // 64 lower-case digits
  std::string short_text() const;  // the first 12 of them, for people
  static Result<PeerId> from_hex(std::string_view hex);
};

// Immutable; any thread may use it.
class PrivateKey {
 public:
  static Result<PrivateKey> generate();
  // PKCS #8 in PEM, not encrypted. A file that others than its owner may read or write is refused (unauthorised), one that is
  // no Ed25519 key too (foreign).
  static Result<PrivateKey> load(const std::string& path);
  // The key at `path`; made and saved if there is none.
  static Result<PrivateKey> load_or_create(const std::string& path);
  // Atomic, mode 0600. Replaces what is there.
  [[nodiscard]] Status save(const std::string& path) const;

  const PeerId& id() const { return id_; }
  evp_pkey_st* handle() const { return key_.get(); }

 private:
  PrivateKey(std::shared_ptr<evp_pkey_st> key, const PeerId& id) : key_(std::move(key)), id_(id) {}
  static Result<PrivateKey> from_handle(std::shared_ptr<evp_pkey_st> key, const std::string& place);
  std::shared_ptr<evp_pkey_st> key_;
  PeerId id_;
};

// The id whose public key `key` is; nothing but Ed25519 is accepted (foreign).
Result<PeerId> peer_id_of(const evp_pkey_st* key, const std::string& place);

}  // namespace suanli::net
