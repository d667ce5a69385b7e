// A stream whose writes go through an emulated line, which all streams to one peer share. Bytes are held back on this side until
// they would have arrived; then they go to the real stream, with its TLS. So the emulation works between processes, and each
// direction is emulated by who sends.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "suanli/net/byte_stream.h"
#include "suanli/net/emulated_line.h"
#include "suanli/net/reactor.h"

namespace suanli::net {

class EmulatedStream final : public ByteStream, public std::enable_shared_from_this<EmulatedStream> {
 public:
  // `first`: a control stream, which is let in before the others when there is room in the queue again.
  static std::shared_ptr<EmulatedStream> create(Reactor& reactor, std::shared_ptr<ByteStream> inner,
                                                std::shared_ptr<EmulatedLine> line, bool first);

  Result<std::size_t> read_some(std::span<std::byte> into) override;
  Result<std::size_t> write_some(std::span<const std::byte> from) override;
  void when_readable(std::function<void()> call) override;
  void when_writable(std::function<void()> call) override;
  void close() override;
  const Certificate& peer() const override { return inner_->peer(); }

 private:
  EmulatedStream(Reactor& reactor, std::shared_ptr<ByteStream> inner, std::shared_ptr<EmulatedLine> line, bool first);
  struct Segment {
    Seconds arrives;
    std::vector<std::byte> bytes;
    std::size_t written = 0;
  };
  // Bytes on the way are what the line holds; more wait only if the peer does not read, and then nothing is let in.
  std::size_t most_held() const;
  void deliver();
  void deliver_later();
  void wait_for_room();
  void lose_connection(const std::string& why);

  Reactor& reactor_;
  std::shared_ptr<ByteStream> inner_;
  std::shared_ptr<EmulatedLine> line_;
  const bool first_;
  std::deque<Segment> segments_;
  std::size_t held_ = 0;
  bool waiting_for_inner_ = false, closed_ = false;
  std::optional<Error> failed_;
  std::function<void()> reader_, writer_;
  Timer delivery_, room_, cut_;
};

}  // namespace suanli::net
