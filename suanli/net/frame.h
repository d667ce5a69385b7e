// Our own frames, as bytes (docs/formats/network-frames.md). A frame is a header of 8 bytes and a body whose length is checked
// against its type before a byte of it is read, so that no peer makes us reserve what it merely announces.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "suanli/base/error.h"
#include "suanli/net/identity.h"

namespace suanli::net {

inline constexpr std::uint32_t kProtocolVersion = 1;
inline constexpr std::size_t kFrameHeaderBytes = 8;
inline constexpr std::size_t kMostMessageBytes = 64 * 1024;
// A whole chunk frame: sixteen TLS records of 16 KiB, without a remainder.
inline constexpr std::size_t kChunkFrameBytes = 256 * 1024;
inline constexpr std::size_t kChunkFieldBytes = 24, kChunkTrailerBytes = 1;
inline constexpr std::size_t kChunkPrefixBytes = kFrameHeaderBytes + kChunkFieldBytes;
// Data in every chunk of a transfer but the last, which may hold less.
inline constexpr std::uint64_t kChunkBytes = kChunkFrameBytes - kChunkPrefixBytes - kChunkTrailerBytes;
inline constexpr std::size_t kMostGoodbyeBytes = 512;
inline constexpr std::uint64_t kMostTransferBytes = std::uint64_t{1} << 40;

enum class FrameType : std::uint8_t {
  hello = 1,    // the first on every stream, both ways
  message = 2,  // a control message, opaque here
  grant = 3,    // a buffer waits for the tag's tensor
  revoke = 4,   // the buffer does not wait any more
  done = 5,     // all of the tensor has arrived
  chunk = 6,    // a part of the tensor
  cancel = 7,   // the tensor will not come
  ping = 8,
  pong = 9,
  goodbye = 10,  // why the sender closes the link
  relay = 11,    // instead of hello: lead this stream to another peer
};

using LinkId = std::array<std::byte, 16>;  // random, made by who dials; joins the streams of one link

// What a tensor is for: both ends name it alike. Opaque here, but for a high half of all ones, which is kept for probes of the
// line (line_probe.h).
struct Tag {
  std::uint64_t high = 0, low = 0;
  auto operator<=>(const Tag&) const = default;
};

struct Hello {
  std::uint32_t version = kProtocolVersion;
  LinkId link{};
  std::uint16_t stream = 0;   // 0: control; 1 and up: data
  std::uint16_t streams = 0;  // data streams of this link
};

using RelayTicket = std::array<std::byte, 16>;  // random, made by who asks; joins the two streams that a relay splices

// Said on a stream to a relay, and repeated by it when the other stream is there; what follows is the other peer's.
struct RelayCall {
  static constexpr std::size_t kMostReasonBytes = 200;
  RelayTicket ticket{};
  PeerId peer{};            // who shall be, or is, at the other end
  bool is_answer = false;   // said by the peer that was asked for
  std::string reason{};     // why the peer cannot be dialled, for people
};

struct Grant {
  std::uint64_t id = 0;  // chosen by the receiver: 1, 2, 3, ...
  Tag tag;
  std::uint64_t capacity = 0;
};

struct Chunk {
  std::uint64_t grant = 0;
  std::uint64_t offset = 0;  // a multiple of kChunkBytes
  std::uint64_t total = 0;   // of the tensor
  bool more = false;         // the sender has more chunks waiting, of this or other tensors
  std::uint64_t data_bytes() const { return total - offset < kChunkBytes ? total - offset : kChunkBytes; }
};

struct Ping {
  std::uint64_t number = 0;
  std::uint64_t sent_ns = 0;  // by the sender's clock, of any origin
};

struct Pong {
  std::uint64_t number = 0;
  std::uint64_t sent_ns = 0;       // of the ping
  std::uint64_t received_ns = 0;   // by the answerer's clock
  std::uint64_t arrival_rate = 0;  // bytes per second at which bulk has come in here of late; 0: not known
};

// Whole frames. Texts and payloads have at most the sizes above (checked).
std::string encode(const Hello& hello);
std::string encode(const RelayCall& call);  // a reason that is too long is cut
std::string encode(const Grant& grant);
std::string encode(const Ping& ping);
std::string encode(const Pong& pong);
std::string encode_message(std::uint32_t kind, std::span<const std::byte> payload);
// revoke, done, cancel
std::string encode_about(FrameType type, std::uint64_t grant);
std::string encode_goodbye(ErrorCode code, std::string_view text);
// Header and fields of a chunk; data_bytes() of data and a byte follow: 1 for whole, 0 for void (the data is worthless).
std::array<std::byte, kChunkPrefixBytes> encode_prefix(const Chunk& chunk);

struct FrameHeader {
  FrameType type{};
  std::uint8_t flags = 0;
  std::uint32_t body_bytes = 0;
};
// Checks type, flags and length (protocol).
Result<FrameHeader> parse_header(std::span<const std::byte, kFrameHeaderBytes> bytes);

// Bodies of the length that parse_header() let through; contents that cannot be are errors (protocol, version).
Result<Hello> parse_hello(std::span<const std::byte> body);
Result<RelayCall> parse_relay(std::span<const std::byte> body);
Result<Grant> parse_grant(std::span<const std::byte> body);
Result<Chunk> parse_chunk(const FrameHeader& header, std::span<const std::byte> fields);
Ping parse_ping(std::span<const std::byte> body);
Pong parse_pong(std::span<const std::byte> body);
std::uint64_t parse_about(std::span<const std::byte> body);
std::uint32_t parse_message_kind(std::span<const std::byte> body);
// The peer's reason as an error of ours.
Error parse_goodbye(std::span<const std::byte> body);

}  // namespace suanli::net
