#include <cstdint>
#include <string>
#include <vector>

#include "suanli/pool/shard_messages.h"

using namespace suanli;
using namespace suanli::pool;

std::vector<std::string> suanli_fuzz_seeds() {
  return {encode(ShardAsk{1, sha256("a shard"), 1 << 20, 1 << 20}), encode(ShardAnswer{7, ShardVerdict::coming, 67'109'376}),
          encode(ShardAnswer{8, ShardVerdict::outside, 300}), encode(ShardWithdraw{3})};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto payload = std::as_bytes(std::span(data, size));
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  const auto check = [&](const auto& parsed) {
    // What was accepted is written as it came; what was not says that the peer is to blame.
    if (parsed) {
      SUANLI_CHECK(encode(*parsed) == bytes);
    } else {
      SUANLI_CHECK(parsed.error().code == ErrorCode::protocol);
    }
  };
  const auto ask = parse_shard_ask(payload);
  check(ask);
  if (ask) SUANLI_CHECK(ask->bytes >= 1 && ask->bytes <= kMostShardPartBytes && ask->request > 0);
  check(parse_shard_answer(payload));
  check(parse_shard_withdraw(payload));
  return 0;
}
