// Turns a stream's bytes into frames, in pieces of any size. The data of a chunk is read straight into the buffer that waits
// for it; of everything else at most one frame is held.
//
//   while ((count = stream.read_some(reader.space())) > 0) reader.advance(count);
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "suanli/base/error.h"
#include "suanli/net/frame.h"

namespace suanli::net {

// Who takes the frames. An error from any of them ends the stream.
class FrameSink {
 public:
  virtual ~FrameSink() = default;
  virtual Status on_hello(const Hello& hello) = 0;
  // Only instead of a hello.
  virtual Status on_relay(const RelayCall& call) = 0;
  virtual Status on_message(std::uint32_t kind, std::span<const std::byte> payload) = 0;
  virtual Status on_grant(const Grant& grant) = 0;
  virtual Status on_about(FrameType type, std::uint64_t grant) = 0;
  virtual Status on_ping(const Ping& ping) = 0;
  virtual Status on_pong(const Pong& pong) = 0;
  virtual Status on_goodbye(const Error& reason) = 0;
  // Where the chunk's data_bytes() go, or an empty span: nobody wants them.
  virtual Result<std::span<std::byte>> on_chunk(const Chunk& chunk) = 0;
  // All data has been put there; not whole: it is worthless. `wanted` is false if the data was thrown away.
  virtual Status on_chunk_end(const Chunk& chunk, bool whole, bool wanted) = 0;
};

enum class StreamKind { control, data };

class FrameReader {
 public:
  // The first frame must be a hello, a call to a relay, or a goodbye; after it a control stream carries anything but chunks, a
  // data stream chunks alone. `greeted`: somebody else has read the hello.
  FrameReader(StreamKind kind, FrameSink& sink, bool greeted = false) : kind_(kind), sink_(sink), greeted_(greeted) {}

  // Where the next bytes go; never empty.
  std::span<std::byte> space();
  // `count` bytes of space() were filled. After an error the reader is finished.
  [[nodiscard]] Status advance(std::size_t count);
  // The buffer of this grant is no longer to be written to; what is left of its chunk is thrown away.
  void forget(std::uint64_t grant);

 private:
  enum class Phase { header, body, chunk_data, chunk_trailer };
  Status end_of_header();
  Status end_of_body();
  Status begin_chunk();
  void expect(Phase phase, std::size_t bytes);

  StreamKind kind_;
  FrameSink& sink_;
  bool greeted_;
  Phase phase_ = Phase::header;
  FrameHeader header_;
  std::string small_;  // header, body or trailer
  std::size_t filled_ = 0, wanted_ = kFrameHeaderBytes;
  Chunk chunk_;
  std::span<std::byte> destination_;  // of the chunk's data; empty: thrown away
  bool keeping_ = false;
  std::unique_ptr<std::array<std::byte, 16384>> waste_;
};

}  // namespace suanli::net
