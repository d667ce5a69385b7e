// The bytes of a shard's header, shared by its writer and its reader (docs/formats/shard.md).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "suanli/base/file.h"
#include "suanli/base/sha256.h"

namespace suanli::data::layout {

// The first byte is not ASCII and the last is a newline, so that a transfer as text shows.
inline constexpr std::array<unsigned char, 8> kMagic = {0x89, 'S', 'U', 'A', 'N', 'L', 'I', '\n'};
inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::size_t kHeaderBytes = 256;  // also where the tokens begin: a multiple of 64
inline constexpr std::size_t kIndexAlignment = 8;

// Offsets in the header.
inline constexpr std::size_t kVersionAt = 8;        // u32
inline constexpr std::size_t kHeaderBytesAt = 12;   // u32
inline constexpr std::size_t kTokenWidthAt = 16;    // u32
inline constexpr std::size_t kChunkBytesAt = 20;    // u32
inline constexpr std::size_t kVocabAt = 24;         // u64
inline constexpr std::size_t kTokensAt = 32;        // u64
inline constexpr std::size_t kDocumentsAt = 40;     // u64
inline constexpr std::size_t kTokensOffsetAt = 48;  // u64
inline constexpr std::size_t kIndexOffsetAt = 56;   // u64
inline constexpr std::size_t kFileBytesAt = 64;     // u64
inline constexpr std::size_t kReservedAt = 72;      // zero up to kTokensRootAt
inline constexpr std::size_t kTokensRootAt = 160;
inline constexpr std::size_t kIndexDigestAt = 192;
inline constexpr std::size_t kHeaderDigestAt = 224;  // SHA-256 of all bytes before it

inline constexpr std::uint64_t align_up(std::uint64_t value, std::uint64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

template <typename Number>
void store(std::byte* to, Number value) {
  for (std::size_t i = 0; i < sizeof(Number); ++i) {
    to[i] = static_cast<std::byte>(value >> (8 * i));
  }
}

template <typename Number>
Number load(const std::byte* from) {
  Number value = 0;
  for (std::size_t i = 0; i < sizeof(Number); ++i) {
    value |= static_cast<Number>(std::to_integer<Number>(from[i]) << (8 * i));
  }
  return value;
}

inline Digest load_digest(const std::byte* from) {
  Digest digest;
  std::memcpy(digest.bytes.data(), from, digest.bytes.size());
  return digest;
}

}  // namespace suanli::data::layout
