// SHA-256 (FIPS 180-4) and Merkle trees over it. Uses the SHA extensions of the CPU where they are, plain C++ elsewhere:
// the same digests.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "suanli/base/error.h"

namespace suanli {

struct Digest {
  std::array<std::byte, 32> bytes{};
  auto operator<=>(const Digest&) const = default;
  std::string hex() const;
  // Exactly 64 lower-case hexadecimal digits.
  static Result<Digest> from_hex(std::string_view hex);
};

// Incremental: update() any number of times, then finish() once.
class Sha256 {
 public:
  Sha256();
  void update(std::span<const std::byte> bytes);
  void update(std::string_view text);
  // Little-endian, fixed width: for canonical encodings.
  void update_u64(std::uint64_t value);
  Digest finish();

 private:
  std::array<std::uint32_t, 8> state_;
  std::array<std::byte, 64> block_;
  std::size_t filled_ = 0;
  std::uint64_t length_ = 0;
};

Digest sha256(std::span<const std::byte> bytes);
Digest sha256(std::string_view text);

// Root of the binary Merkle tree over `leaves` (RFC 6962, section 2.1: leaf = H(0x00 || leaf digest), node =
// H(0x01 || left || right), split at the largest power of two below n; no leaves: H of the empty string).
Digest merkle_root(std::span<const Digest> leaves);

namespace internal {
// Both compression functions, for the test that holds them equal. `blocks` counts 64-byte blocks.
void sha256_compress_portable(std::uint32_t* state, const std::byte* data, std::size_t blocks);
bool sha256_has_extensions();
void sha256_compress_extensions(std::uint32_t* state, const std::byte* data, std::size_t blocks);
}  // namespace internal

}  // namespace suanli
