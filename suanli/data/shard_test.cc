#include "suanli/data/shard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <numeric>

#include "suanli/base/philox.h"
#include "suanli/base/test_folder.h"
#include "suanli/data/shard_layout.h"

namespace suanli::data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string content_of(const std::string& path) { return *read_file(path); }

// A shard of three documents: "abc", an empty one, "de".
std::string small_shard() {
  TestFolder folder;
  ShardWriter writer = *ShardWriter::create(folder / "s", 256);
  EXPECT_TRUE(writer.append_bytes(as_bytes("abc")));
  writer.end_document();
  writer.end_document();
  EXPECT_TRUE(writer.append_bytes(as_bytes("de")));
  writer.end_document();
  EXPECT_TRUE(writer.finish());
  return content_of(folder / "s");
}

// What a reader of the whole file finds: the first error of opening and verifying.
Status check_whole(std::string_view bytes) {
  SUANLI_ASSIGN_OR_RETURN(const Shard shard, Shard::parse(as_bytes(bytes), "x.shard"));
  return shard.verify();
}

// Puts a right digest on a changed header, as a forger would.
std::string resealed(std::string bytes) {
  const Digest digest = sha256(as_bytes(bytes).first(layout::kHeaderDigestAt));
  std::memcpy(bytes.data() + layout::kHeaderDigestAt, digest.bytes.data(), 32);
  return bytes;
}

class ShardWidth : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(ShardWidth, WhatIsWrittenIsRead) {
  const std::uint64_t vocab = GetParam();
  const Philox random(1, Stream::test);
  std::vector<std::uint32_t> tokens(700'001);  // several chunks at width 4, and a part of one
  for (std::size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = static_cast<std::uint32_t>(random.below(vocab, i));
  tokens[5] = static_cast<std::uint32_t>(vocab - 1);
  TestFolder folder;
  ShardWriter writer = *ShardWriter::create(folder / "s", vocab);
  ASSERT_TRUE(writer.append(std::span(tokens).first(10)));
  writer.end_document();
  ASSERT_TRUE(writer.append(std::span(tokens).subspan(10)));
  const Result<ShardInfo> info = writer.finish();
  ASSERT_TRUE(info);

  const Result<Shard> shard = Shard::open(folder / "s");
  ASSERT_TRUE(shard) << shard.error().to_string();
  EXPECT_TRUE(shard->verify());
  EXPECT_EQ(shard->info().digest, info->digest);
  EXPECT_EQ(shard->info().vocab, vocab);
  EXPECT_EQ(shard->info().token_width, token_width_for(vocab));
  EXPECT_EQ(shard->tokens(), tokens.size());
  std::vector<std::int32_t> read(tokens.size());
  ASSERT_TRUE(shard->read(0, read));
  EXPECT_TRUE(std::equal(
      read.begin(), read.end(), tokens.begin(),
      [](std::int32_t a, std::uint32_t b) { return static_cast<std::uint32_t>(a) == b; }));
  ASSERT_EQ(shard->info().documents, 2u);
  EXPECT_EQ(shard->document(0)->end, 10u);
  EXPECT_EQ(shard->document(1)->begin, 10u);
  EXPECT_EQ(shard->document(1)->end, tokens.size());
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, ShardWidth,
                         ::testing::Values(1, 200, 256, 257, 50257, 65536, 65537, 128'256,
                                           kMaxVocab));

TEST(Shard, BytesLieWhereTheFormatSays) {
  const std::string bytes = small_shard();
  ASSERT_EQ(bytes.size(), 256u + 8 + 3 * 8);  // header, 5 tokens padded to 8, three ends
  EXPECT_EQ(bytes.substr(0, 16), std::string("\x89SUANLI\n\1\0\0\0\0\1\0\0", 16));
  EXPECT_EQ(bytes.substr(256, 8), std::string("abcde\0\0\0", 8));
  EXPECT_EQ(bytes.substr(264), std::string("\3\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0\5\0\0\0\0\0\0\0", 24));
}

TEST(Shard, DocumentsMayBeEmpty) {
  const std::string bytes = small_shard();
  const Shard shard = *Shard::parse(as_bytes(bytes), "x");
  EXPECT_EQ(shard.document(1)->begin, 3u);
  EXPECT_EQ(shard.document(1)->end, 3u);
  std::vector<std::int32_t> tokens(2);
  ASSERT_TRUE(shard.read(3, tokens));
  EXPECT_THAT(tokens, ElementsAre('d', 'e'));
}

TEST(Shard, WithoutTokensIsLegal) {
  TestFolder folder;
  ShardWriter writer = *ShardWriter::create(folder / "s", 256);
  ASSERT_TRUE(writer.finish());
  const Result<Shard> shard = Shard::open(folder / "s");
  ASSERT_TRUE(shard);
  EXPECT_EQ(shard->tokens(), 0u);
  EXPECT_TRUE(shard->verify());
}

TEST(Shard, EveryTruncationIsAnError) {
  const std::string bytes = small_shard();
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const Status status = check_whole(bytes.substr(0, size));
    ASSERT_FALSE(status) << size;
    EXPECT_EQ(status.error().code, size == 0 ? ErrorCode::empty : ErrorCode::corrupt) << size;
    EXPECT_EQ(status.error().place, "x.shard");
    EXPECT_NE(status.error().next_step, "");
  }
  EXPECT_EQ(check_whole(bytes + "x").error().code, ErrorCode::corrupt);
}

TEST(Shard, EveryFlippedBitIsAnError) {
  const std::string bytes = small_shard();
  ASSERT_TRUE(check_whole(bytes));
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    std::string damaged = bytes;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    const Status status = check_whole(damaged);
    ASSERT_FALSE(status) << "bit " << bit;
    const ErrorCode expected = bit < 64   ? ErrorCode::foreign
                               : bit < 96 ? ErrorCode::version
                                          : ErrorCode::corrupt;
    EXPECT_EQ(status.error().code, expected) << "bit " << bit;
  }
}

TEST(Shard, ForeignFileIsNamedByItsFirstBytes) {
  const Status status = check_whole("GIF89a, a picture of some kind");
  EXPECT_EQ(status.error().code, ErrorCode::foreign);
  EXPECT_THAT(status.error().message, HasSubstr("GIF89a"));
}

TEST(Shard, OtherVersionIsNamed) {
  std::string bytes = small_shard();
  bytes[8] = 7;
  const Status status = check_whole(resealed(bytes));
  EXPECT_EQ(status.error().code, ErrorCode::version);
  EXPECT_THAT(status.error().message, HasSubstr("version 7"));
}

TEST(Shard, HeaderThatLiesUnderARightDigestIsCorrupt) {
  const std::string bytes = small_shard();
  for (std::size_t at = layout::kHeaderBytesAt; at < layout::kTokensRootAt; ++at) {
    for (const char value : {'\x01', '\x7f', '\xff'}) {
      std::string forged = bytes;
      if (forged[at] == value) continue;
      forged[at] = value;
      const Status status = check_whole(resealed(forged));
      // Another vocabulary of the same width is as good as the right one, unless a token lies
      // outside.
      const bool vocab = at >= layout::kVocabAt && at < layout::kTokensAt;
      if (vocab && status) continue;
      ASSERT_FALSE(status) << "byte " << at;
      EXPECT_EQ(status.error().code, ErrorCode::corrupt);
    }
  }
}

TEST(Shard, TokenOutsideTheVocabularyIsNeverRead) {
  std::string bytes = small_shard();
  layout::store(reinterpret_cast<std::byte*>(bytes.data()) + layout::kVocabAt, std::uint64_t{'d'});
  bytes = resealed(bytes);
  const Shard shard = *Shard::parse(as_bytes(bytes), "x.shard");
  std::vector<std::int32_t> tokens(4);
  const Status status = shard.read(0, tokens);
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().to_string(), HasSubstr("token 3 of this read is 100"));
  EXPECT_THAT(status.error().place, HasSubstr("x.shard"));
  EXPECT_EQ(shard.verify().error().code, ErrorCode::corrupt);
}

TEST(Shard, DamagedIndexGivesAnErrorNotAWildRange) {
  std::string bytes = small_shard();
  bytes[264 + 7] = '\x40';  // the first document now ends far outside
  const Shard shard = *Shard::parse(as_bytes(bytes), "x.shard");
  EXPECT_EQ(shard.document(0).error().code, ErrorCode::corrupt);
  EXPECT_EQ(shard.document(1).error().code, ErrorCode::corrupt);
  EXPECT_TRUE(shard.document(2));
}

TEST(Shard, ChunksAreVerifiedAlone) {
  std::string text(2 * kShardChunkBytes + 100, 'a');
  text[kShardChunkBytes] = 'b';
  TestFolder folder;
  ShardWriter writer = *ShardWriter::create(folder / "s", 256);
  ASSERT_TRUE(writer.append_bytes(as_bytes(text)));
  const ShardInfo info = *writer.finish();
  const std::vector<Digest> leaves = {sha256(text.substr(0, kShardChunkBytes)),
                                      sha256(text.substr(kShardChunkBytes, kShardChunkBytes)),
                                      sha256(text.substr(2 * kShardChunkBytes))};
  EXPECT_EQ(merkle_root(leaves), info.tokens_root);
  const Shard shard = *Shard::open(folder / "s");
  for (std::size_t i = 0; i < 3; ++i) EXPECT_TRUE(shard.chunk_matches(i, leaves[i]));
  EXPECT_FALSE(shard.chunk_matches(0, leaves[1]));
  EXPECT_FALSE(shard.chunk_matches(3, leaves[0]));
}

TEST(Shard, UnfinishedWriterLeavesNothing) {
  TestFolder folder;
  {
    ShardWriter writer = *ShardWriter::create(folder / "s", 256);
    ASSERT_TRUE(writer.append_bytes(as_bytes(std::string(3 * kShardChunkBytes, 'x'))));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Shard, MissingFileIsNotFound) {
  const Result<Shard> shard = Shard::open("/nonexistent/x.shard");
  EXPECT_EQ(shard.error().code, ErrorCode::not_found);
  EXPECT_THAT(shard.error().to_string(), HasSubstr("/nonexistent/x.shard"));
}

TEST(ShardDeathTest, TokenOutsideTheVocabularyIsABug) {
  TestFolder folder;
  ShardWriter writer = *ShardWriter::create(folder / "s", 300);
  const std::vector<std::uint32_t> tokens = {299, 300};
  EXPECT_DEATH({ auto status = writer.append(tokens); }, "token < info_.vocab");
}

}  // namespace
}  // namespace suanli::data
