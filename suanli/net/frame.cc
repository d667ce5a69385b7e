#include "suanli/net/frame.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "suanli/base/text.h"

namespace suanli::net {
namespace {

constexpr std::uint32_t kMagic = 0x4E4C5553;  // "SUNL"
constexpr std::uint8_t kMore = 1;
constexpr std::size_t kRelayFieldBytes = 57;

struct Lengths {
  std::size_t least, most;
};

constexpr Lengths lengths_of(FrameType type) {
  switch (type) {
    case FrameType::hello:
      return {32, 32};
    case FrameType::message:
      return {4, 4 + kMostMessageBytes};
    case FrameType::grant:
      return {32, 32};
    case FrameType::revoke:
    case FrameType::done:
    case FrameType::cancel:
      return {8, 8};
    case FrameType::chunk:
      return {kChunkFieldBytes + kChunkTrailerBytes, kChunkFrameBytes - kFrameHeaderBytes};
    case FrameType::ping:
      return {16, 16};
    case FrameType::pong:
      return {32, 32};
    case FrameType::goodbye:
      return {1, kMostGoodbyeBytes};
    case FrameType::relay:
      return {kRelayFieldBytes, kRelayFieldBytes + RelayCall::kMostReasonBytes};
  }
  return {1, 0};
}

void put(std::string& out, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
}

std::uint64_t get(std::span<const std::byte> body, std::size_t at, int bytes) {
  SUANLI_CHECK(at + static_cast<std::size_t>(bytes) <= body.size());
  std::uint64_t value = 0;
  for (int i = 0; i < bytes; ++i) value |= std::to_integer<std::uint64_t>(body[at + static_cast<std::size_t>(i)]) << (8 * i);
  return value;
}

std::string framed(FrameType type, const std::string& body, std::uint8_t flags = 0) {
  std::string out;
  put(out, static_cast<std::uint64_t>(type), 1);
  put(out, flags, 1);
  put(out, 0, 2);
  put(out, body.size(), 4);
  return out + body;
}

tl::unexpected<Error> broken(const std::string& what) {
  return fail(ErrorCode::protocol, "the peer sent " + what, "frame", "check that both machines run the same version of suanli");
}

Status check_greeting(std::span<const std::byte> body) {
  if (get(body, 0, 4) != kMagic) return broken("a greeting that is not suanli's");
  if (const auto version = get(body, 4, 4); version != kProtocolVersion) {
    return fail(ErrorCode::version,
                "the peer speaks version " + std::to_string(version) + " of the protocol, this machine version " +
                    std::to_string(kProtocolVersion),
                "link", "install the same version of suanli on both machines");
  }
  return {};
}

}  // namespace

std::string encode(const Hello& hello) {
  std::string body;
  put(body, kMagic, 4);
  put(body, hello.version, 4);
  body.append(reinterpret_cast<const char*>(hello.link.data()), hello.link.size());
  put(body, hello.stream, 2);
  put(body, hello.streams, 2);
  put(body, kChunkBytes, 4);
  return framed(FrameType::hello, body);
}

std::string encode(const RelayCall& call) {
  std::string body;
  put(body, kMagic, 4);
  put(body, kProtocolVersion, 4);
  body.append(reinterpret_cast<const char*>(call.ticket.data()), call.ticket.size());
  body.append(reinterpret_cast<const char*>(call.peer.bytes.data()), call.peer.bytes.size());
  put(body, call.is_answer ? 1 : 0, 1);
  return framed(FrameType::relay, body + call.reason.substr(0, RelayCall::kMostReasonBytes));
}

std::string encode(const Grant& grant) {
  std::string body;
  for (const std::uint64_t value : {grant.id, grant.tag.high, grant.tag.low, grant.capacity}) put(body, value, 8);
  return framed(FrameType::grant, body);
}

std::string encode(const Ping& ping) {
  std::string body;
  for (const std::uint64_t value : {ping.number, ping.sent_ns}) put(body, value, 8);
  return framed(FrameType::ping, body);
}

std::string encode(const Pong& pong) {
  std::string body;
  for (const std::uint64_t value : {pong.number, pong.sent_ns, pong.received_ns, pong.arrival_rate}) put(body, value, 8);
  return framed(FrameType::pong, body);
}

std::string encode_message(std::uint32_t kind, std::span<const std::byte> payload) {
  SUANLI_CHECK(payload.size() <= kMostMessageBytes);
  std::string body;
  put(body, kind, 4);
  body.append(reinterpret_cast<const char*>(payload.data()), payload.size());
  return framed(FrameType::message, body);
}

std::string encode_about(FrameType type, std::uint64_t grant) {
  SUANLI_CHECK(type == FrameType::revoke || type == FrameType::done || type == FrameType::cancel);
  std::string body;
  put(body, grant, 8);
  return framed(type, body);
}

std::string encode_goodbye(ErrorCode code, std::string_view text) {
  // Names of codes are stable, their numbers are not.
  std::string body = std::string(name_of(code)) + "\n" + std::string(text);
  body.resize(std::min(body.size(), kMostGoodbyeBytes));
  return framed(FrameType::goodbye, body);
}

std::array<std::byte, kChunkPrefixBytes> encode_prefix(const Chunk& chunk) {
  SUANLI_CHECK(chunk.offset % kChunkBytes == 0 && (chunk.offset < chunk.total || chunk.total == 0));
  std::string out;
  put(out, static_cast<std::uint64_t>(FrameType::chunk), 1);
  put(out, chunk.more ? kMore : 0, 1);
  put(out, 0, 2);
  put(out, kChunkFieldBytes + chunk.data_bytes() + kChunkTrailerBytes, 4);
  for (const std::uint64_t value : {chunk.grant, chunk.offset, chunk.total}) put(out, value, 8);
  std::array<std::byte, kChunkPrefixBytes> prefix;
  std::memcpy(prefix.data(), out.data(), prefix.size());
  return prefix;
}

Result<FrameHeader> parse_header(std::span<const std::byte, kFrameHeaderBytes> bytes) {
  const auto type = get(bytes, 0, 1);
  FrameHeader header{static_cast<FrameType>(type), static_cast<std::uint8_t>(get(bytes, 1, 1)),
                     static_cast<std::uint32_t>(get(bytes, 4, 4))};
  if (type < 1 || type > static_cast<std::uint64_t>(FrameType::relay))
    return broken("a frame of the unknown type " + std::to_string(type));
  const std::uint8_t known_flags = header.type == FrameType::chunk ? kMore : 0;
  if ((header.flags & ~known_flags) != 0 || get(bytes, 2, 2) != 0) return broken("a frame with unknown flags");
  const Lengths lengths = lengths_of(header.type);
  if (header.body_bytes < lengths.least || header.body_bytes > lengths.most)
    return broken("a frame of type " + std::to_string(type) + " with " + std::to_string(header.body_bytes) +
                  " bytes; allowed are " + std::to_string(lengths.least) + " to " + std::to_string(lengths.most));
  return header;
}

Result<Hello> parse_hello(std::span<const std::byte> body) {
  SUANLI_RETURN_IF_ERROR(check_greeting(body));
  Hello hello;
  std::memcpy(hello.link.data(), body.data() + 8, hello.link.size());
  hello.stream = static_cast<std::uint16_t>(get(body, 24, 2));
  hello.streams = static_cast<std::uint16_t>(get(body, 26, 2));
  if (hello.streams < 1 || hello.streams > 16 || hello.stream > hello.streams)
    return broken("stream " + std::to_string(hello.stream) + " of " + std::to_string(hello.streams));
  if (get(body, 28, 4) != kChunkBytes) return broken("another size of chunks than this version has");
  return hello;
}

Result<RelayCall> parse_relay(std::span<const std::byte> body) {
  SUANLI_RETURN_IF_ERROR(check_greeting(body));
  RelayCall call;
  std::memcpy(call.ticket.data(), body.data() + 8, call.ticket.size());
  std::memcpy(call.peer.bytes.data(), body.data() + 24, call.peer.bytes.size());
  const std::uint64_t leg = get(body, 56, 1);
  if (leg > 1) return broken("a call to a relay that is neither question nor answer");
  call.is_answer = leg == 1;
  call.reason = std::string(reinterpret_cast<const char*>(body.data()), body.size()).substr(kRelayFieldBytes);
  return call;
}

Result<Grant> parse_grant(std::span<const std::byte> body) {
  const Grant grant{get(body, 0, 8), {get(body, 8, 8), get(body, 16, 8)}, get(body, 24, 8)};
  if (grant.id == 0) return broken("a grant with the number 0");
  return grant;
}

Result<Chunk> parse_chunk(const FrameHeader& header, std::span<const std::byte> fields) {
  const Chunk chunk{get(fields, 0, 8), get(fields, 8, 8), get(fields, 16, 8), (header.flags & kMore) != 0};
  const bool good = chunk.grant != 0 && chunk.total <= kMostTransferBytes && chunk.offset % kChunkBytes == 0 &&
                    (chunk.offset < chunk.total || (chunk.total == 0 && chunk.offset == 0)) &&
                    header.body_bytes == kChunkFieldBytes + chunk.data_bytes() + kChunkTrailerBytes;
  if (!good)
    return broken("a chunk of " + std::to_string(header.body_bytes) + " bytes at " + std::to_string(chunk.offset) + " of " +
                  std::to_string(chunk.total));
  return chunk;
}

Ping parse_ping(std::span<const std::byte> body) { return {get(body, 0, 8), get(body, 8, 8)}; }

Pong parse_pong(std::span<const std::byte> body) {
  return {get(body, 0, 8), get(body, 8, 8), get(body, 16, 8), get(body, 24, 8)};
}

std::uint64_t parse_about(std::span<const std::byte> body) { return get(body, 0, 8); }

std::uint32_t parse_message_kind(std::span<const std::byte> body) { return static_cast<std::uint32_t>(get(body, 0, 4)); }

Error parse_goodbye(std::span<const std::byte> body) {
  static constexpr ErrorCode kCodes[] = {ErrorCode::version,     ErrorCode::unauthorised, ErrorCode::protocol, ErrorCode::busy,
                                         ErrorCode::interrupted, ErrorCode::timed_out,    ErrorCode::no_memory,
                                         ErrorCode::unsupported};
  const std::string_view text(reinterpret_cast<const char*>(body.data()), body.size());
  const std::size_t end = std::min(text.find('\n'), text.size());
  const auto code = std::ranges::find(kCodes, text.substr(0, end), [](ErrorCode each) { return name_of(each); });
  const std::string_view reason = end < text.size() ? text.substr(end + 1) : text;
  return {code == std::end(kCodes) ? ErrorCode::unreachable : *code, "the peer closed the link: " + printable(reason, 200),
          "link", "look at the peer's log, and connect again"};
}

}  // namespace suanli::net
