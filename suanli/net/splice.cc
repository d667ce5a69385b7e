#include "suanli/net/splice.h"

#include <utility>

namespace suanli::net {
namespace {

// Between two looks at the other streams of the reactor.
constexpr std::size_t kBudgetBytes = 512 * 1024;

}  // namespace

Splice::Splice(Reactor& reactor, std::shared_ptr<ByteStream> first, std::shared_ptr<ByteStream> second, Seconds idle)
    : reactor_(reactor), idle_(idle), watch_(reactor) {
  ways_[0] = {first, second, std::vector<std::byte>(kBufferBytes)};
  ways_[1] = {std::move(second), std::move(first), std::vector<std::byte>(kBufferBytes)};
}

void Splice::start(std::function<void(const Error&)> ended) {
  ended_ = std::move(ended);
  watch();
  for (Way& way : ways_)
    reactor_.post([self = shared_from_this(), &way] { self->pump(way); });
}

void Splice::close() {
  if (std::exchange(closed_, true)) return;
  watch_.stop();
  ended_ = nullptr;
  for (Way& way : ways_) way.from->close();
}

void Splice::finish(const Error& why) {
  const auto ended = std::exchange(ended_, nullptr);
  close();
  if (ended) ended(why);
}

void Splice::watch() {
  watch_.start(idle_, [this] {
    if (std::exchange(carried_before_, carried_) != carried_) return watch();
    finish({ErrorCode::timed_out, "nothing was said for long through the relay", "relay", "connect again"});
  });
}

void Splice::pump(Way& way) {
  std::size_t given = 0;
  const auto go_on = [self = shared_from_this(), &way] { self->pump(way); };
  const Corked together(way.to);
  while (!closed_) {
    if (way.begin == way.end) {
      if (given >= kBudgetBytes) return reactor_.post(go_on);
      const auto count = way.from->read_some(way.buffer);
      if (!count) return finish(count.error());
      if (*count == 0) return way.from->when_readable(go_on);
      way.begin = 0;
      way.end = *count;
    }
    const auto count = way.to->write_some(std::span(way.buffer).subspan(way.begin, way.end - way.begin));
    if (!count) return finish(count.error());
    if (*count == 0) return way.to->when_writable(go_on);
    way.begin += *count;
    given += *count;
    carried_ += static_cast<std::int64_t>(*count);
  }
}

}  // namespace suanli::net
