#include "suanli/net/frame.h"

#include <gmock/gmock.h>

#include <cstring>
#include <vector>

#include "suanli/net/frame_reader.h"

namespace suanli::net {
namespace {

using testing::HasSubstr;

// Writes down what comes.
class Notes final : public FrameSink {
 public:
  Status on_hello(const Hello& hello) override { return note("hello " + std::to_string(hello.stream)); }
  Status on_relay(const RelayCall& call) override { return note("relay " + call.reason); }
  Status on_message(std::uint32_t kind, std::span<const std::byte> payload) override {
    return note("message " + std::to_string(kind) + " " +
                std::string(reinterpret_cast<const char*>(payload.data()), payload.size()));
  }
  Status on_grant(const Grant& grant) override {
    return note("grant " + std::to_string(grant.id) + " " + std::to_string(grant.tag.high) + "/" + std::to_string(grant.tag.low) +
                " " + std::to_string(grant.capacity));
  }
  Status on_about(FrameType type, std::uint64_t grant) override {
    return note("about " + std::to_string(static_cast<int>(type)) + " " + std::to_string(grant));
  }
  Status on_ping(const Ping& ping) override { return note("ping " + std::to_string(ping.number)); }
  Status on_pong(const Pong& pong) override { return note("pong " + std::to_string(pong.arrival_rate)); }
  Status on_goodbye(const Error& reason) override { return note(std::string(name_of(reason.code)) + ": " + reason.message); }
  Result<std::span<std::byte>> on_chunk(const Chunk& chunk) override {
    if (chunk.grant != 1) return std::span<std::byte>();
    buffer.resize(chunk.total);
    return std::as_writable_bytes(std::span(buffer)).subspan(chunk.offset, chunk.data_bytes());
  }
  Status on_chunk_end(const Chunk& chunk, bool whole, bool wanted) override {
    return note("chunk " + std::to_string(chunk.grant) + "@" + std::to_string(chunk.offset) + (whole ? " whole" : " void") +
                (wanted ? "" : " unwanted"));
  }

  std::vector<std::string> notes;
  std::string buffer;

 private:
  Status note(std::string text) {
    notes.push_back(std::move(text));
    return {};
  }
};

Status feed(FrameReader& reader, std::string_view bytes, std::size_t piece = 1 << 20) {
  while (!bytes.empty()) {
    const auto space = reader.space();
    const std::size_t count = std::min({space.size(), bytes.size(), piece});
    std::memcpy(space.data(), bytes.data(), count);
    bytes.remove_prefix(count);
    SUANLI_RETURN_IF_ERROR(reader.advance(count));
  }
  return {};
}

std::string chunk_frame(const Chunk& chunk, char fill, bool whole = true) {
  const auto prefix = encode_prefix(chunk);
  return std::string(reinterpret_cast<const char*>(prefix.data()), prefix.size()) + std::string(chunk.data_bytes(), fill) +
         (whole ? '\1' : '\0');
}

const std::string kHello = encode(Hello{.stream = 2, .streams = 4});

TEST(Frame, ControlFramesComeBackHoweverTheyAreCut) {
  const std::string bytes = kHello + encode(Grant{5, {1, 2}, 1'000}) + encode_message(7, std::as_bytes(std::span("abc", 3))) +
                            encode_message(8, {}) + encode_about(FrameType::revoke, 5) + encode(Ping{3, 4}) +
                            encode(Pong{3, 4, 5, 6}) + encode_goodbye(ErrorCode::version, "too\nold");
  for (const std::size_t piece : {1u, 3u, 8u, 1000u}) {
    Notes notes;
    FrameReader reader(StreamKind::control, notes);
    ASSERT_TRUE(feed(reader, bytes, piece));
    EXPECT_THAT(notes.notes, testing::ElementsAre("hello 2", "grant 5 1/2 1000", "message 7 abc", "message 8 ", "about 4 5",
                                                  "ping 3", "pong 6", "version: the peer closed the link: too\\nold"));
  }
}

TEST(Frame, ChunksGoStraightToTheirPlace) {
  const std::uint64_t total = kChunkBytes + 10;
  const std::string bytes = kHello + chunk_frame({1, kChunkBytes, total, false}, 'b') + chunk_frame({1, 0, total, true}, 'a') +
                            chunk_frame({2, 0, 3, true}, 'x') + chunk_frame({1, 0, 0, false}, '-');
  for (const std::size_t piece : {17u, 5000u, 1u << 20}) {
    Notes notes;
    FrameReader reader(StreamKind::data, notes);
    const std::string head = bytes.substr(0, bytes.size() - kChunkPrefixBytes - 1);
    ASSERT_TRUE(feed(reader, head, piece));
    EXPECT_EQ(notes.buffer, std::string(kChunkBytes, 'a') + std::string(10, 'b'));
    ASSERT_TRUE(feed(reader, bytes.substr(head.size()), piece));
    EXPECT_THAT(notes.notes, testing::ElementsAre("hello 2", "chunk 1@" + std::to_string(kChunkBytes) + " whole",
                                                  "chunk 1@0 whole", "chunk 2@0 whole unwanted", "chunk 1@0 whole"));
  }
}

TEST(Frame, AWholeChunkFillsSixteenRecords) { EXPECT_EQ(chunk_frame({1, 0, 10 * kChunkBytes, false}, 'a').size(), 16U * 16384U); }

TEST(Frame, AForgottenBufferIsNotTouched) {
  Notes notes;
  FrameReader reader(StreamKind::data, notes);
  const std::string chunk = chunk_frame({1, 0, 1000, false}, 'a');
  ASSERT_TRUE(feed(reader, kHello + chunk.substr(0, kChunkPrefixBytes + 100)));
  reader.forget(1);
  ASSERT_TRUE(feed(reader, chunk.substr(kChunkPrefixBytes + 100)));
  EXPECT_EQ(notes.buffer, std::string(100, 'a') + std::string(900, '\0'));
  EXPECT_EQ(notes.notes.back(), "chunk 1@0 whole unwanted");
}

TEST(Frame, AVoidChunkIsToldApart) {
  Notes notes;
  FrameReader reader(StreamKind::data, notes);
  ASSERT_TRUE(feed(reader, kHello + chunk_frame({1, 0, 10, false}, 'a', false)));
  EXPECT_EQ(notes.notes.back(), "chunk 1@0 void");
}

Status refusal_of(StreamKind kind, const std::string& bytes) {
  Notes notes;
  FrameReader reader(kind, notes);
  return feed(reader, bytes);
}

std::string header(int type, std::uint32_t bytes, int flags = 0) {
  std::string text{static_cast<char>(type), static_cast<char>(flags), 0, 0};
  for (int i = 0; i < 4; ++i) text.push_back(static_cast<char>(bytes >> (8 * i)));
  return text;
}

TEST(Frame, AnnouncementsBeyondTheLimitsAreRefusedBeforeAnythingIsReserved) {
  for (int type = 0; type <= 12; ++type) {
    const Status status = refusal_of(StreamKind::control, (type == 1 ? "" : kHello) + header(type, 0xFFFFFFFF));
    ASSERT_FALSE(status) << type;
    EXPECT_EQ(status.error().code, ErrorCode::protocol);
  }
  EXPECT_FALSE(refusal_of(StreamKind::control, kHello + header(2, kMostMessageBytes + 5)));
  EXPECT_FALSE(refusal_of(StreamKind::control, kHello + header(8, 15)));
  for (int type = 1; type <= 10; ++type)
    EXPECT_FALSE(refusal_of(StreamKind::control, (type == 1 ? "" : kHello) + header(type, 0))) << "no body at all: " << type;
  EXPECT_FALSE(refusal_of(StreamKind::control, kHello + header(8, 16, 1))) << "flags";
}

TEST(Frame, StreamsKeepToTheirKind) {
  EXPECT_THAT(refusal_of(StreamKind::control, encode(Ping{})).error().message, HasSubstr("before its greeting"));
  EXPECT_THAT(refusal_of(StreamKind::control, kHello + kHello).error().message, HasSubstr("second greeting"));
  EXPECT_THAT(refusal_of(StreamKind::data, kHello + encode(Ping{})).error().message, HasSubstr("on a data stream"));
  EXPECT_THAT(refusal_of(StreamKind::control, kHello + chunk_frame({1, 0, 1, false}, 'a')).error().message,
              HasSubstr("on the control stream"));
  EXPECT_FALSE(refusal_of(StreamKind::control, std::string("GET / HTTP/1.1\r\n\r\n")));
}

TEST(Frame, ChunksThatCannotBeAreRefused) {
  const auto fields = [](std::uint64_t grant, std::uint64_t offset, std::uint64_t total, std::uint32_t data) {
    std::string text = header(6, static_cast<std::uint32_t>(kChunkFieldBytes + data + 1));
    for (const std::uint64_t value : {grant, offset, total})
      for (int i = 0; i < 8; ++i) text.push_back(static_cast<char>(value >> (8 * i)));
    return kHello + text;
  };
  EXPECT_TRUE(refusal_of(StreamKind::data, fields(1, 0, 10, 10)));
  EXPECT_FALSE(refusal_of(StreamKind::data, fields(0, 0, 10, 10)));
  EXPECT_FALSE(refusal_of(StreamKind::data, fields(1, 1, 10, 9))) << "not at a multiple";
  EXPECT_FALSE(refusal_of(StreamKind::data, fields(1, 0, 10, 9))) << "shorter than it must be";
  EXPECT_FALSE(refusal_of(StreamKind::data, fields(1, kChunkBytes, kChunkBytes, 0))) << "behind the end";
  EXPECT_FALSE(refusal_of(StreamKind::data, fields(1, 0, kMostTransferBytes + 1, kChunkBytes)));
  EXPECT_FALSE(refusal_of(StreamKind::data, fields(1, 0, ~std::uint64_t{0}, kChunkBytes)));
}

TEST(Frame, AnotherVersionIsRefusedWithBothNamed) {
  Hello old;
  old.version = 7;
  old.streams = 1;
  const Status status = refusal_of(StreamKind::control, encode(old));
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::version);
  EXPECT_THAT(status.error().message, HasSubstr("version 7 of the protocol, this machine version 1"));
}

}  // namespace
}  // namespace suanli::net
