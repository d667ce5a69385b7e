#include "suanli/net/frame_reader.h"

#include <algorithm>

namespace suanli::net {
namespace {

tl::unexpected<Error> broken(const std::string& what) {
  return fail(ErrorCode::protocol, "the peer sent " + what, "frame", "check that both machines run the same version of suanli");
}

}  // namespace

void FrameReader::expect(Phase phase, std::size_t bytes) {
  phase_ = phase;
  filled_ = 0;
  wanted_ = bytes;
}

std::span<std::byte> FrameReader::space() {
  const std::size_t left = wanted_ - filled_;
  if (phase_ == Phase::chunk_data) {
    if (keeping_) return destination_.subspan(filled_, left);
    if (!waste_) waste_ = std::make_unique<std::array<std::byte, 16384>>();
    return std::span(*waste_).first(std::min(left, waste_->size()));
  }
  if (small_.size() < wanted_) small_.resize(wanted_);
  return std::as_writable_bytes(std::span(small_)).subspan(filled_, left);
}

Status FrameReader::advance(std::size_t count) {
  SUANLI_CHECK(count <= wanted_ - filled_);
  filled_ += count;
  if (filled_ < wanted_) return {};
  switch (phase_) {
    case Phase::header:
      return end_of_header();
    case Phase::body:
      return end_of_body();
    case Phase::chunk_data:
      expect(Phase::chunk_trailer, kChunkTrailerBytes);
      return {};
    case Phase::chunk_trailer: {
      const char trailer = small_[0];
      if (trailer != 0 && trailer != 1) return broken("a chunk that does not end as chunks do");
      expect(Phase::header, kFrameHeaderBytes);
      return sink_.on_chunk_end(chunk_, trailer == 1, keeping_);
    }
  }
  return {};
}

Status FrameReader::end_of_header() {
  const auto bytes = std::as_bytes(std::span(small_)).first<kFrameHeaderBytes>();
  SUANLI_ASSIGN_OR_RETURN(header_, parse_header(bytes));
  const bool is_chunk = header_.type == FrameType::chunk;
  const bool greets = header_.type == FrameType::hello || header_.type == FrameType::relay;
  if (header_.type != FrameType::goodbye && greets == greeted_)
    return broken(greeted_ ? "a second greeting" : "something else before its greeting");
  if (greeted_ && header_.type != FrameType::goodbye && is_chunk != (kind_ == StreamKind::data))
    return broken(is_chunk ? "bulk on the control stream" : "a control frame on a data stream");
  // Of a chunk only the fields; its data goes elsewhere.
  expect(Phase::body, is_chunk ? kChunkFieldBytes : header_.body_bytes);
  return {};
}

Status FrameReader::begin_chunk() {
  SUANLI_ASSIGN_OR_RETURN(chunk_, parse_chunk(header_, std::as_bytes(std::span(small_)).first(kChunkFieldBytes)));
  SUANLI_ASSIGN_OR_RETURN(destination_, sink_.on_chunk(chunk_));
  const std::size_t bytes = chunk_.data_bytes();
  keeping_ = !destination_.empty() || bytes == 0;
  SUANLI_CHECK(!keeping_ || destination_.size() == bytes);
  if (bytes == 0) {
    expect(Phase::chunk_trailer, kChunkTrailerBytes);
  } else {
    expect(Phase::chunk_data, bytes);
  }
  return {};
}

Status FrameReader::end_of_body() {
  if (header_.type == FrameType::chunk) return begin_chunk();
  const auto body = std::as_bytes(std::span(small_)).first(wanted_);
  expect(Phase::header, kFrameHeaderBytes);
  switch (header_.type) {
    case FrameType::hello: {
      SUANLI_ASSIGN_OR_RETURN(const Hello hello, parse_hello(body));
      greeted_ = true;
      return sink_.on_hello(hello);
    }
    case FrameType::relay: {
      SUANLI_ASSIGN_OR_RETURN(const RelayCall call, parse_relay(body));
      greeted_ = true;
      return sink_.on_relay(call);
    }
    case FrameType::message:
      return sink_.on_message(parse_message_kind(body), body.subspan(4));
    case FrameType::grant: {
      SUANLI_ASSIGN_OR_RETURN(const Grant grant, parse_grant(body));
      return sink_.on_grant(grant);
    }
    case FrameType::ping:
      return sink_.on_ping(parse_ping(body));
    case FrameType::pong:
      return sink_.on_pong(parse_pong(body));
    case FrameType::goodbye:
      return sink_.on_goodbye(parse_goodbye(body));
    default:
      return sink_.on_about(header_.type, parse_about(body));
  }
}

void FrameReader::forget(std::uint64_t grant) {
  const bool reading = phase_ == Phase::chunk_data || phase_ == Phase::chunk_trailer;
  if (!reading || !keeping_ || chunk_.grant != grant) return;
  keeping_ = false;
  destination_ = {};
}

}  // namespace suanli::net
