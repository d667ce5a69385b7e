// Two streams joined by a relay: what comes in on one goes out on the other, both ways, until either ends. The relay sees what
// the streams carry, which is ciphertext of the two peers. Memory is one buffer for each way: who sends faster than the other
// reads waits.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/net/byte_stream.h"
#include "suanli/net/reactor.h"

namespace suanli::net {

// Reactor's thread only.
class Splice : public std::enable_shared_from_this<Splice> {
 public:
  static constexpr std::size_t kBufferBytes = 64 * 1024;

  // `idle`: nothing has come either way for so long, and the splice ends.
  Splice(Reactor& reactor, std::shared_ptr<ByteStream> first, std::shared_ptr<ByteStream> second, Seconds idle);

  // `ended` comes once, when either stream has ended and what it had said was passed on; not after close().
  void start(std::function<void(const Error&)> ended);
  void close();
  const ByteStream& stream(int side) const { return *ways_[static_cast<std::size_t>(side)].from; }
  Bytes carried() const { return Bytes(carried_); }

 private:
  struct Way {
    std::shared_ptr<ByteStream> from, to;
    std::vector<std::byte> buffer;
    std::size_t begin = 0, end = 0;  // of what was read and not written
  };
  void pump(Way& way);
  void watch();
  void finish(const Error& why);

  Reactor& reactor_;
  Seconds idle_;
  std::array<Way, 2> ways_;
  std::int64_t carried_ = 0, carried_before_ = 0;
  bool closed_ = false;
  Timer watch_;
  std::function<void(const Error&)> ended_;
};

}  // namespace suanli::net
