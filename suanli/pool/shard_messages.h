// What two peers say to one another about shards, as bytes (docs/protocols/shards.md): who wants a part of a shard asks, the
// other answers, and the bytes come as a transfer.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "suanli/base/sha256.h"
#include "suanli/net/frame.h"

namespace suanli::pool {

inline constexpr std::uint32_t kShardAskKind = 16, kShardAnswerKind = 17, kShardWithdrawKind = 18;
// Kinds 16 to 19 belong to shards.
inline constexpr bool is_shard_kind(std::uint32_t kind) { return kind >= 16 && kind <= 19; }

// A part of a shard, so that neither end needs memory for a whole one and a lost link costs little.
inline constexpr std::uint64_t kMostShardPartBytes = std::uint64_t{16} << 20;

struct ShardAsk {
  std::uint64_t request = 0;  // chosen by the asker, rising on a link; from 1
  Digest digest;
  std::uint64_t offset = 0;  // in the shard's file
  std::uint64_t bytes = 0;   // 1 to kMostShardPartBytes
};

enum class ShardVerdict : std::uint32_t {
  coming = 0,   // as a transfer under shard_tag()
  absent = 1,   // the shard is not here
  busy = 2,     // too many asks of this link wait
  outside = 3,  // the shard has no such bytes
};

struct ShardAnswer {
  std::uint64_t request = 0;
  ShardVerdict verdict = ShardVerdict::absent;
  std::uint64_t shard_bytes = 0;  // of the whole file; 0 if absent or busy
};

// The asker does not want it any more.
struct ShardWithdraw {
  std::uint64_t request = 0;
};

std::string encode(const ShardAsk& ask);
std::string encode(const ShardAnswer& answer);
std::string encode(const ShardWithdraw& withdraw);

// A payload of another length, or with contents that cannot be, is an error (protocol).
Result<ShardAsk> parse_shard_ask(std::span<const std::byte> payload);
Result<ShardAnswer> parse_shard_answer(std::span<const std::byte> payload);
Result<ShardWithdraw> parse_shard_withdraw(std::span<const std::byte> payload);

// The tag under which the bytes of a request travel: a hash, so that it is no other tensor's.
net::Tag shard_tag(const Digest& digest, std::uint64_t request);

}  // namespace suanli::pool
