// Both halves of a link, without sockets.
#include "suanli/net/transfer.h"

#include <gmock/gmock.h>

#include <cstring>
#include <optional>
#include <vector>

#include "suanli/net/receive_table.h"
#include "suanli/net/send_queue.h"

namespace suanli::net {
namespace {

using testing::HasSubstr;
using Outcome = std::optional<Result<Bytes>>;

Done into(Outcome& outcome) {
  return [&outcome](Result<Bytes> result) {
    SUANLI_CHECK(!outcome.has_value());  // exactly once
    outcome = std::move(result);
  };
}

const Error kGivenUp{ErrorCode::cancelled, "given up", "test", "none"};
constexpr Tag kTag{1, 2};

class SendQueueTest : public testing::Test {
 protected:
  std::vector<std::string> emitted_;
  SendQueue queue_{[this](std::string frame) { emitted_.push_back(std::move(frame)); }};
  std::vector<std::byte> data_ = std::vector<std::byte>(2 * kChunkBytes + 5);
};

TEST_F(SendQueueTest, NothingIsSentBeforeAPlaceWaitsForIt) {
  Outcome outcome;
  queue_.add(1, kTag, data_, into(outcome));
  EXPECT_FALSE(queue_.has_chunk());
  ASSERT_TRUE(queue_.on_grant({1, {9, 9}, 1 << 30}));
  EXPECT_FALSE(queue_.has_chunk()) << "another tag";
  ASSERT_TRUE(queue_.on_grant({2, kTag, data_.size()}));
  for (std::uint64_t i = 0; i < 3; ++i) {
    ASSERT_TRUE(queue_.has_chunk());
    const auto piece = queue_.next_chunk();
    EXPECT_EQ(piece.chunk.grant, 2U);
    EXPECT_EQ(piece.chunk.offset, i * kChunkBytes);
    EXPECT_EQ(piece.chunk.total, data_.size());
    EXPECT_EQ(piece.chunk.more, i < 2);
    EXPECT_EQ(piece.data.data(), data_.data() + i * kChunkBytes);
    EXPECT_EQ(piece.data.size(), i < 2 ? kChunkBytes : 5);
  }
  EXPECT_FALSE(queue_.has_chunk());
  EXPECT_FALSE(outcome) << "the peer has not said that it arrived";
  ASSERT_TRUE(queue_.on_done(2));
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->value(), Bytes(static_cast<std::int64_t>(data_.size())));
  EXPECT_EQ(queue_.transfers(), 0U);
}

TEST_F(SendQueueTest, EmptyTensorsTakeOneChunk) {
  Outcome outcome;
  ASSERT_TRUE(queue_.on_grant({1, kTag, 0}));
  queue_.add(1, kTag, {}, into(outcome));
  EXPECT_EQ(queue_.next_chunk().chunk.total, 0U);
  ASSERT_TRUE(queue_.on_done(1));
  EXPECT_EQ(outcome->value(), Bytes(0));
}

TEST_F(SendQueueTest, TensorsAndBuffersOfOneTagMeetInOrder) {
  Outcome first, second;
  queue_.add(1, kTag, std::span(data_).first(10), into(first));
  queue_.add(2, kTag, std::span(data_).first(20), into(second));
  ASSERT_TRUE(queue_.on_grant({1, kTag, 100}));
  ASSERT_TRUE(queue_.on_grant({2, kTag, 100}));
  EXPECT_EQ(queue_.next_chunk().data.size(), 10U);
  EXPECT_EQ(queue_.next_chunk().data.size(), 20U);
  queue_.fail_all(kGivenUp);
  EXPECT_FALSE(*first);
  EXPECT_FALSE(*second);
}

TEST_F(SendQueueTest, ATensorThatDoesNotFitIsRefusedOnBothSides) {
  Outcome outcome;
  ASSERT_TRUE(queue_.on_grant({1, kTag, 10}));
  queue_.add(1, kTag, std::span(data_).first(11), into(outcome));
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->error().code, ErrorCode::mismatch);
  EXPECT_THAT(emitted_, testing::ElementsAre(encode_about(FrameType::cancel, 1)));
}

TEST_F(SendQueueTest, CancellingStopsAtTheNextChunk) {
  Outcome outcome;
  ASSERT_TRUE(queue_.on_grant({1, kTag, data_.size()}));
  queue_.add(7, kTag, data_, into(outcome));
  (void)queue_.next_chunk();
  EXPECT_EQ(queue_.grant_of(7), 1U);
  queue_.cancel(7, kGivenUp);
  EXPECT_FALSE(queue_.has_chunk());
  EXPECT_EQ(outcome->error().message, "given up");
  EXPECT_EQ(emitted_.back(), encode_about(FrameType::cancel, 1));
  EXPECT_EQ(queue_.grant_of(7), 0U) << "it has ended";
  queue_.cancel(7, kGivenUp);
  EXPECT_TRUE(queue_.on_done(1)) << "it may have arrived before the peer heard of it";
}

TEST_F(SendQueueTest, ARevokedBufferIsNotUsed) {
  Outcome outcome;
  ASSERT_TRUE(queue_.on_grant({1, kTag, 10}));
  queue_.on_revoke(1);
  queue_.add(1, kTag, std::span(data_).first(5), into(outcome));
  EXPECT_FALSE(queue_.has_chunk());
  ASSERT_TRUE(queue_.on_grant({2, kTag, 10}));
  queue_.on_revoke(2);
  EXPECT_EQ(outcome->error().code, ErrorCode::cancelled);
  queue_.on_revoke(77);
}

TEST_F(SendQueueTest, APeerCannotMakeUsRememberWithoutLimit) {
  Status status;
  std::uint64_t id = 0;
  while (status && id <= kMostGrants) status = queue_.on_grant({++id, {id, 0}, std::uint64_t{1} << 40});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::protocol);
  EXPECT_EQ(id, kMostGrants + 1);
}

TEST_F(SendQueueTest, NonsenseEndsTheLink) {
  Outcome outcome;
  ASSERT_TRUE(queue_.on_grant({5, kTag, data_.size()}));
  EXPECT_FALSE(queue_.on_grant({5, kTag, 1})) << "twice";
  EXPECT_FALSE(queue_.on_done(6)) << "never granted";
  queue_.add(1, kTag, data_, into(outcome));
  EXPECT_FALSE(queue_.on_done(5)) << "not sent yet";
  queue_.fail_all(kGivenUp);
}

class ReceiveTableTest : public testing::Test {
 protected:
  // As a stream would: the data lands, then the end is told.
  Status arrive(const Chunk& chunk, char fill = 'x', bool whole = true) {
    SUANLI_ASSIGN_OR_RETURN(const auto place, table_.on_chunk(chunk));
    if (!place.empty()) std::memset(place.data(), fill, place.size());
    table_.on_chunk_end(chunk, whole);
    return {};
  }
  std::vector<std::string> emitted_;
  std::vector<std::uint64_t> gone_;
  ReceiveTable table_{[this](std::string frame) { emitted_.push_back(std::move(frame)); },
                      [this](std::uint64_t grant) { gone_.push_back(grant); }};
  std::vector<std::byte> buffer_ = std::vector<std::byte>(2 * kChunkBytes + 100);
};

TEST_F(ReceiveTableTest, ChunksMayComeInAnyOrder) {
  Outcome outcome;
  table_.add(1, kTag, buffer_, into(outcome));
  EXPECT_EQ(emitted_.back(), encode(Grant{1, kTag, buffer_.size()}));
  const std::uint64_t total = 2 * kChunkBytes + 7;
  ASSERT_TRUE(arrive({1, 2 * kChunkBytes, total, false}, 'c'));
  ASSERT_TRUE(arrive({1, 0, total, false}, 'a'));
  EXPECT_FALSE(outcome);
  ASSERT_TRUE(arrive({1, kChunkBytes, total, false}, 'b'));
  EXPECT_EQ(outcome->value(), Bytes(static_cast<std::int64_t>(total)));
  EXPECT_EQ(emitted_.back(), encode_about(FrameType::done, 1));
  EXPECT_THAT(gone_, testing::ElementsAre(1));
  EXPECT_EQ(buffer_[kChunkBytes - 1], std::byte('a'));
  EXPECT_EQ(buffer_[kChunkBytes], std::byte('b'));
  EXPECT_EQ(buffer_[total - 1], std::byte('c'));
}

TEST_F(ReceiveTableTest, WhatWasNotOfferedIsRefused) {
  Outcome outcome;
  EXPECT_FALSE(arrive({1, 0, 5, false}));
  table_.add(1, kTag, std::span(buffer_).first(10), into(outcome));
  EXPECT_FALSE(arrive({1, 0, 11, false})) << "larger than the buffer";
  EXPECT_FALSE(arrive({1, 0, std::uint64_t{1} << 40, false}));
  EXPECT_FALSE(table_.on_cancel(2));
  table_.fail_all(kGivenUp);
  EXPECT_FALSE(*outcome);
}

TEST_F(ReceiveTableTest, NoChunkCountsTwice) {
  Outcome outcome;
  table_.add(1, kTag, buffer_, into(outcome));
  ASSERT_TRUE(arrive({1, 0, 2 * kChunkBytes, false}));
  EXPECT_FALSE(arrive({1, 0, 2 * kChunkBytes, false})) << "else a hole would count as filled";
  EXPECT_FALSE(arrive({1, kChunkBytes, kChunkBytes + 1, false})) << "another size";
  EXPECT_FALSE(outcome);
  table_.fail_all(kGivenUp);
}

TEST_F(ReceiveTableTest, GivenUpOnEitherSide) {
  Outcome here, there, voided;
  table_.add(1, kTag, buffer_, into(here));
  table_.cancel(1, kGivenUp);
  EXPECT_EQ(here->error().message, "given up");
  EXPECT_EQ(emitted_.back(), encode_about(FrameType::revoke, 1));
  ASSERT_TRUE(arrive({1, 0, 5, false})) << "was on its way";
  table_.add(2, kTag, buffer_, into(there));
  ASSERT_TRUE(table_.on_cancel(2));
  EXPECT_EQ(there->error().code, ErrorCode::cancelled);
  table_.add(3, kTag, buffer_, into(voided));
  ASSERT_TRUE(arrive({3, 0, 5, false}, 'x', false));
  EXPECT_EQ(voided->error().code, ErrorCode::cancelled);
  EXPECT_THAT(gone_, testing::ElementsAre(1, 2, 3));
  EXPECT_EQ(table_.transfers(), 0U);
}

TEST_F(ReceiveTableTest, ThereIsALimit) {
  std::vector<Outcome> outcomes(kMostGrants + 1);
  for (std::size_t i = 0; i <= kMostGrants; ++i) table_.add(i + 1, kTag, {}, into(outcomes[i]));
  EXPECT_FALSE(outcomes[kMostGrants - 1]);
  EXPECT_EQ(outcomes[kMostGrants]->error().code, ErrorCode::busy);
  table_.fail_all(kGivenUp);
}

}  // namespace
}  // namespace suanli::net
