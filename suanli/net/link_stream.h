// One stream of a link: reads frames into the link and writes what the link has for it. Reading and writing yield to the other
// streams of the reactor after a while, so that no peer has the thread to itself.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "suanli/net/byte_stream.h"
#include "suanli/net/frame_reader.h"
#include "suanli/net/reactor.h"
#include "suanli/net/send_queue.h"

namespace suanli::net {

// What a link is to its streams. Called on the reactor's thread.
class LinkStream;
class StreamOwner : public FrameSink {
 public:
  // A data stream asks for the next chunk; nothing: it will be pumped when there is one.
  virtual std::optional<SendQueue::Piece> next_piece() = 0;
  // The control stream takes up to `most` bytes of what is to be written.
  virtual std::string take_control(std::size_t most) = 0;
  virtual void on_traffic(std::size_t in, std::size_t out) = 0;
  // The stream is finished. The owner ends the whole link.
  virtual void on_stream_failed(LinkStream& stream, const Error& why) = 0;
};

// Reactor's thread only. The owner closes it before it goes.
class LinkStream : public std::enable_shared_from_this<LinkStream> {
 public:
  // Greetings have been exchanged.
  LinkStream(Reactor& reactor, std::shared_ptr<ByteStream> stream, StreamKind kind, StreamOwner& owner);

  void start() { read(); }
  // There may be something to write.
  void pump();
  // Stop writing to the buffer of this grant (ours), now.
  void forget(std::uint64_t grant) { reader_.forget(grant); }
  // Stop reading from the tensor that goes to this grant (the peer's), now: the rest of its chunk is sent as zeros, marked void.
  void make_void(std::uint64_t grant);
  void close();

 private:
  static constexpr std::size_t kRecordBytes = 16384;  // of TLS
  void read();
  void read_again_later();
  // Fills pending_ with the next record; false if there is nothing to write.
  bool next_record();
  void next_record_of_chunk();
  void fail_with(const Error& why);

  Reactor& reactor_;
  std::shared_ptr<ByteStream> stream_;
  StreamKind kind_;
  StreamOwner& owner_;
  FrameReader reader_;
  bool closed_ = false;
  bool waiting_to_write_ = false;

  // Written next. Its bytes stay where they are until all are written: TLS may have taken them half.
  std::span<const std::byte> pending_;
  std::array<std::byte, kRecordBytes> scratch_;
  std::optional<SendQueue::Piece> piece_;  // of which records are being made
  std::size_t sent_ = 0;                   // bytes of its frame that are in pending_ or written
  bool void_ = false;
};

}  // namespace suanli::net
