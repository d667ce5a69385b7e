// Any bytes, in pieces of any size: read as frames within their limits, or refused as `protocol` or `version`. The input's first
// byte chooses the kind of stream and how it is cut.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "suanli/net/frame_reader.h"

namespace suanli::net {
namespace {

// Takes chunks into a buffer of just their size, so that sanitizers see a byte too many.
class Taker final : public FrameSink {
 public:
  Status on_hello(const Hello& hello) override {
    SUANLI_CHECK(hello.streams >= 1 && hello.streams <= 16 && hello.stream <= hello.streams);
    return {};
  }
  Status on_relay(const RelayCall& call) override {
    SUANLI_CHECK(call.reason.size() <= RelayCall::kMostReasonBytes);
    return {};
  }
  Status on_message(std::uint32_t, std::span<const std::byte> payload) override {
    SUANLI_CHECK(payload.size() <= kMostMessageBytes);
    return {};
  }
  Status on_grant(const Grant& grant) override {
    SUANLI_CHECK(grant.id != 0);
    return {};
  }
  Status on_about(FrameType, std::uint64_t) override { return {}; }
  Status on_ping(const Ping&) override { return {}; }
  Status on_pong(const Pong&) override { return {}; }
  Status on_goodbye(const Error& reason) override {
    SUANLI_CHECK(reason.message.size() < 4 * kMostGoodbyeBytes);
    return {};
  }
  Result<std::span<std::byte>> on_chunk(const Chunk& chunk) override {
    const std::size_t bytes = chunk.data_bytes();
    SUANLI_CHECK(bytes <= kChunkBytes && chunk.offset + bytes <= chunk.total && chunk.total <= kMostTransferBytes);
    if (chunk.grant % 2 == 0) return std::span<std::byte>();
    data_ = std::make_unique<std::byte[]>(bytes);
    return std::span(data_.get(), bytes);
  }
  Status on_chunk_end(const Chunk&, bool, bool) override { return {}; }

 private:
  std::unique_ptr<std::byte[]> data_;
};

void read_all(std::span<const std::byte> input, std::size_t piece, StreamKind kind) {
  Taker taker;
  FrameReader reader(kind, taker);
  for (std::size_t round = 0; !input.empty(); ++round) {
    const std::span<std::byte> space = reader.space();
    SUANLI_CHECK(!space.empty() && space.size() <= kChunkFrameBytes);
    const std::size_t count = std::min({space.size(), input.size(), piece});
    std::memcpy(space.data(), input.data(), count);
    input = input.subspan(count);
    if (round % 7 == 3) reader.forget(1);
    if (const Status status = reader.advance(count); !status) {
      const ErrorCode code = status.error().code;
      SUANLI_CHECK(code == ErrorCode::protocol || code == ErrorCode::version);
      return;
    }
  }
}

std::string chunk_frame(std::uint64_t grant, std::uint64_t offset, std::uint64_t total) {
  const Chunk chunk{grant, offset, total, true};
  const auto prefix = encode_prefix(chunk);
  return std::string(reinterpret_cast<const char*>(prefix.data()), prefix.size()) + std::string(chunk.data_bytes(), 'd') + '\1';
}

}  // namespace
}  // namespace suanli::net

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace suanli::net;
  if (size == 0) return 0;
  const auto input = std::as_bytes(std::span(data, size)).subspan(1);
  read_all(input, data[0] < 128 ? std::size_t{1} << 20 : data[0] - 127u,
           data[0] % 2 == 0 ? StreamKind::control : StreamKind::data);
  return 0;
}

std::vector<std::string> suanli_fuzz_seeds() {
  using namespace suanli::net;
  const std::string hello = encode(Hello{.stream = 1, .streams = 4});
  const std::string control = hello + encode(Grant{7, {1, 2}, 1 << 20}) + encode(Ping{1, 2}) + encode(Pong{1, 2, 3, 4}) +
                              encode_about(FrameType::revoke, 7) + encode_about(FrameType::done, 7) +
                              encode_message(9, std::as_bytes(std::span("payload"))) +
                              encode_goodbye(suanli::ErrorCode::version, "too old");
  const std::string data = hello + chunk_frame(1, 0, 40) + chunk_frame(2, 0, 5) + chunk_frame(1, 0, 0);
  const std::string relay = encode(RelayCall{{}, {}, true, "behind a router"}) + encode(Ping{1, 2});
  return {std::string("\x02") + relay, std::string("\x02") + control,
          std::string("\x90") + control, std::string("\x03") + data, std::string("\x81") + data};
}
