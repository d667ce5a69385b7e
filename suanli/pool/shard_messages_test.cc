#include "suanli/pool/shard_messages.h"

#include <gtest/gtest.h>

#include <set>

#include "suanli/base/file.h"

namespace suanli::pool {
namespace {

std::string hex(const std::string& bytes) {
  std::string text;
  for (const char each : bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    text += kDigits[static_cast<unsigned char>(each) >> 4];
    text += kDigits[static_cast<unsigned char>(each) & 15];
  }
  return text;
}

// The bytes of the example in docs/protocols/shards.md.
TEST(ShardMessages, HaveTheBytesOfTheirPage) {
  const std::string digest = "3d923600968172f356b8738e15bf73c8882f2d607deb6fe19747b4ae327c31bd";
  const ShardAsk ask{1, Digest::from_hex(digest).value(), 0, 65536};
  EXPECT_EQ(hex(encode(ask)), "0100000000000000" + digest + "00000000000000000000010000000000");
  EXPECT_EQ(hex(encode(ShardAnswer{1, ShardVerdict::outside, 288})), "010000000000000003000000000000002001000000000000");
  EXPECT_EQ(hex(encode(ShardWithdraw{258})), "0201000000000000");
}

TEST(ShardMessages, AreReadAsTheyWereWritten) {
  const ShardAsk ask{7, sha256("x"), 1 << 20, kMostShardPartBytes};
  const auto parsed = parse_shard_ask(as_bytes(encode(ask))).value();
  EXPECT_EQ(parsed.request, ask.request);
  EXPECT_EQ(parsed.digest, ask.digest);
  EXPECT_EQ(parsed.offset, ask.offset);
  EXPECT_EQ(parsed.bytes, ask.bytes);
  const auto answer = parse_shard_answer(as_bytes(encode(ShardAnswer{8, ShardVerdict::busy, 9}))).value();
  EXPECT_EQ(answer.request, 8U);
  EXPECT_EQ(answer.verdict, ShardVerdict::busy);
  EXPECT_EQ(answer.shard_bytes, 9U);
}

TEST(ShardMessages, WhatCannotBeIsRefused) {
  const auto refused = [](const ShardAsk& ask) { return parse_shard_ask(as_bytes(encode(ask))).error().code; };
  EXPECT_EQ(refused({0, {}, 0, 1}), ErrorCode::protocol);
  EXPECT_EQ(refused({1, {}, 0, 0}), ErrorCode::protocol);
  EXPECT_EQ(refused({1, {}, 0, kMostShardPartBytes + 1}), ErrorCode::protocol);
  const std::string unknown = encode(ShardAnswer{1, static_cast<ShardVerdict>(4), 0});
  EXPECT_EQ(parse_shard_answer(as_bytes(unknown)).error().code, ErrorCode::protocol);
  const std::string longer = encode(ShardWithdraw{1}) + "x";
  EXPECT_EQ(parse_shard_withdraw(as_bytes(longer)).error().code, ErrorCode::protocol);
  EXPECT_EQ(parse_shard_ask(as_bytes(longer)).error().code, ErrorCode::protocol);
  EXPECT_EQ(parse_shard_answer(as_bytes(longer)).error().code, ErrorCode::protocol);
}

TEST(ShardMessages, TagsDifferByDigestAndRequest) {
  std::set<net::Tag> tags;
  for (std::uint64_t request = 1; request <= 100; ++request) {
    tags.insert(shard_tag(sha256("a"), request));
    tags.insert(shard_tag(sha256("b"), request));
  }
  EXPECT_EQ(tags.size(), 200U);
}

}  // namespace
}  // namespace suanli::pool
