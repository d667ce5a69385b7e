#include "suanli/pool/shard_messages.h"

#include <cstring>

#include "suanli/data/shard_layout.h"

namespace suanli::pool {
namespace {

using data::layout::load;
using data::layout::load_digest;

constexpr std::size_t kAskBytes = 56, kAnswerBytes = 24, kWithdrawBytes = 8;

void put(std::string& to, std::uint64_t value) {
  std::byte bytes[8];
  data::layout::store(bytes, value);
  to.append(reinterpret_cast<const char*>(bytes), sizeof bytes);
}

tl::unexpected<Error> broken(const std::string& what) {
  return fail(ErrorCode::protocol, "the peer sent " + what, "link", "check that both machines run the same version of suanli");
}

Status check_size(std::span<const std::byte> payload, std::size_t expected, const char* what) {
  if (payload.size() == expected) return {};
  return broken(std::string(what) + " of " + std::to_string(payload.size()) + " bytes instead of " + std::to_string(expected));
}

}  // namespace

std::string encode(const ShardAsk& ask) {
  std::string bytes;
  put(bytes, ask.request);
  bytes.append(reinterpret_cast<const char*>(ask.digest.bytes.data()), ask.digest.bytes.size());
  put(bytes, ask.offset);
  put(bytes, ask.bytes);
  return bytes;
}

std::string encode(const ShardAnswer& answer) {
  std::string bytes;
  put(bytes, answer.request);
  put(bytes, static_cast<std::uint64_t>(answer.verdict));
  put(bytes, answer.shard_bytes);
  return bytes;
}

std::string encode(const ShardWithdraw& withdraw) {
  std::string bytes;
  put(bytes, withdraw.request);
  return bytes;
}

Result<ShardAsk> parse_shard_ask(std::span<const std::byte> payload) {
  SUANLI_RETURN_IF_ERROR(check_size(payload, kAskBytes, "an ask for a shard"));
  const std::byte* at = payload.data();
  const ShardAsk ask{load<std::uint64_t>(at), load_digest(at + 8), load<std::uint64_t>(at + 40), load<std::uint64_t>(at + 48)};
  if (ask.request == 0) return broken("an ask for a shard without a number");
  if (ask.bytes == 0 || ask.bytes > kMostShardPartBytes)
    return broken("an ask for " + std::to_string(ask.bytes) + " bytes of a shard");
  return ask;
}

Result<ShardAnswer> parse_shard_answer(std::span<const std::byte> payload) {
  SUANLI_RETURN_IF_ERROR(check_size(payload, kAnswerBytes, "an answer about a shard"));
  const std::byte* at = payload.data();
  const auto verdict = load<std::uint64_t>(at + 8);
  if (verdict > static_cast<std::uint64_t>(ShardVerdict::outside))
    return broken("the unknown answer " + std::to_string(verdict) + " about a shard");
  return ShardAnswer{load<std::uint64_t>(at), static_cast<ShardVerdict>(verdict), load<std::uint64_t>(at + 16)};
}

Result<ShardWithdraw> parse_shard_withdraw(std::span<const std::byte> payload) {
  SUANLI_RETURN_IF_ERROR(check_size(payload, kWithdrawBytes, "a withdrawn ask"));
  return ShardWithdraw{load<std::uint64_t>(payload.data())};
}

net::Tag shard_tag(const Digest& digest, std::uint64_t request) {
  Sha256 hash;
  hash.update("suanli shard tag 1\n");
  hash.update(digest.bytes);
  hash.update_u64(request);
  const Digest tag = hash.finish();
  return {load<std::uint64_t>(tag.bytes.data()), load<std::uint64_t>(tag.bytes.data() + 8)};
}

}  // namespace suanli::pool
