// An ordered stream of bytes to one authenticated peer, never blocking: TLS over TCP (tls_stream.h), or the same through an
// emulated line (emulated_line.h). Reactor's thread only.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <utility>

#include "suanli/base/error.h"
#include "suanli/net/certificate.h"

namespace suanli::net {

class ByteStream {
 public:
  virtual ~ByteStream() = default;
  // Bytes read or written, at least one; 0: not now, wait. An error is final: unreachable (closed or lost), unauthorised (the
  // peer refused us), protocol (what came is no TLS). A write that gave 0 must be tried again with as many bytes or more.
  virtual Result<std::size_t> read_some(std::span<std::byte> into) = 0;
  virtual Result<std::size_t> write_some(std::span<const std::byte> from) = 0;
  // Between the two calls bytes that were written may be held back, to go out with those that follow; uncork() sends them, now or
  // as soon as the connection takes them. Not nested.
  virtual void cork() {}
  virtual void uncork() {}
  // Calls once, when a try may succeed (or fail for good). One waiter per direction; never called from inside the call.
  virtual void when_readable(std::function<void()> call) = 0;
  virtual void when_writable(std::function<void()> call) = 0;
  // Ends the connection at once; waiters are dropped.
  virtual void close() = 0;
  virtual const Certificate& peer() const = 0;
};

// Corks a stream for as long as it lives.
class Corked {
 public:
  explicit Corked(std::shared_ptr<ByteStream> stream) : stream_(std::move(stream)) { stream_->cork(); }
  ~Corked() { stream_->uncork(); }
  Corked(const Corked&) = delete;
  Corked& operator=(const Corked&) = delete;

 private:
  const std::shared_ptr<ByteStream> stream_;
};

}  // namespace suanli::net
