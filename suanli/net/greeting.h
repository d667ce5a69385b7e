// The first frame on each stream. The dialler says to which link and as which stream of it, or, to a relay, which peer it
// wants; the listener repeats that, or says goodbye with the reason, such as another version of the protocol.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "suanli/net/byte_stream.h"
#include "suanli/net/frame_reader.h"
#include "suanli/net/reactor.h"

namespace suanli::net {

// Reactor's thread only.
class Greeting final : public FrameSink, public std::enable_shared_from_this<Greeting> {
 public:
  using Heard = std::variant<Hello, RelayCall>;
  using Finished = std::function<void(Result<Heard>)>;
  Greeting(Reactor& reactor, std::shared_ptr<ByteStream> stream);

  // `own`: what the dialler says; a listener says nothing before it has heard. Calls `done` once, unless closed before.
  void start(std::optional<Heard> own, Seconds deadline, Finished done);
  // Drops the call and closes the stream.
  void close();
  const ByteStream& stream() const { return *stream_; }

  // Writes a frame of a few bytes to a stream that nothing was written to yet: the socket takes it at once.
  static void write_short(ByteStream& stream, const std::string& frame);

 private:
  void read();
  void finish(Result<Heard> result);
  Status on_hello(const Hello& hello) override;
  Status on_relay(const RelayCall& call) override;
  Status on_goodbye(const Error& reason) override;
  // Nothing else gets past the reader before a greeting.
  Status on_message(std::uint32_t, std::span<const std::byte>) override { return unexpected(); }
  Status on_grant(const Grant&) override { return unexpected(); }
  Status on_about(FrameType, std::uint64_t) override { return unexpected(); }
  Status on_ping(const Ping&) override { return unexpected(); }
  Status on_pong(const Pong&) override { return unexpected(); }
  Result<std::span<std::byte>> on_chunk(const Chunk&) override { return tl::unexpected(unexpected().error()); }
  Status on_chunk_end(const Chunk&, bool, bool) override { return unexpected(); }
  static Status unexpected();

  Reactor& reactor_;
  std::shared_ptr<ByteStream> stream_;
  FrameReader reader_;
  Timer deadline_;
  Finished done_;
  std::optional<Heard> heard_;
};

}  // namespace suanli::net
