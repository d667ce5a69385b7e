#include "suanli/net/emulated_stream.h"

#include <algorithm>
#include <utility>

namespace suanli::net {
namespace {

constexpr std::int64_t kLargestSegment = 16384, kSmallestSegment = 1448;
constexpr double kSegmentSeconds = 0.002;  // a segment takes no longer on the wire, unless it is the smallest
constexpr std::size_t kSlackBytes = 256 * 1024;

}  // namespace

EmulatedStream::EmulatedStream(Reactor& reactor, std::shared_ptr<ByteStream> inner, std::shared_ptr<EmulatedLine> line,
                               bool first)
    : reactor_(reactor),
      inner_(std::move(inner)),
      line_(std::move(line)),
      first_(first),
      delivery_(reactor),
      room_(reactor),
      cut_(reactor) {}

std::shared_ptr<EmulatedStream> EmulatedStream::create(Reactor& reactor, std::shared_ptr<ByteStream> inner,
                                                       std::shared_ptr<EmulatedLine> line, bool first) {
  const std::shared_ptr<EmulatedStream> stream(new EmulatedStream(reactor, std::move(inner), std::move(line), first));
  const Seconds now = Reactor::now();
  if (const Seconds cut = stream->line_->next_cut(now); cut >= Seconds(0))
    stream->cut_.start(cut - now, [weak = std::weak_ptr(stream)] {
      if (const auto self = weak.lock()) self->lose_connection("the emulated line was cut");
    });
  return stream;
}

std::size_t EmulatedStream::most_held() const {
  const LineOptions& options = line_->options();
  const double seconds = (options.delay + options.jitter + options.queue).value();
  const double bytes = options.rate.value() > 0 ? 2 * seconds * options.rate.value() : seconds > 0 ? 64e6 : 0;
  return static_cast<std::size_t>(std::min(bytes, 1e9)) + kSlackBytes;
}

Result<std::size_t> EmulatedStream::read_some(std::span<std::byte> into) {
  if (failed_) return tl::unexpected(*failed_);
  return inner_->read_some(into);
}

Result<std::size_t> EmulatedStream::write_some(std::span<const std::byte> from) {
  if (failed_) return tl::unexpected(*failed_);
  const Seconds now = Reactor::now();
  if (held_ >= most_held()) return std::size_t{0};
  std::int64_t most = kLargestSegment;
  if (const double rate = line_->options().rate.value(); rate > 0)
    most = std::clamp(static_cast<std::int64_t>(rate * kSegmentSeconds), kSmallestSegment, kLargestSegment);
  const std::int64_t room = line_->room(std::min(most, static_cast<std::int64_t>(from.size())), now);
  if (room <= 0) return std::size_t{0};
  const auto bytes = from.first(static_cast<std::size_t>(room));
  segments_.push_back({line_->send(room, now), {bytes.begin(), bytes.end()}});
  held_ += bytes.size();
  if (segments_.size() == 1) deliver_later();
  return bytes.size();
}

void EmulatedStream::when_readable(std::function<void()> call) {
  reader_ = std::move(call);
  const auto go_on = [self = shared_from_this()] {
    if (const auto ready = std::exchange(self->reader_, nullptr); ready && !self->closed_) ready();
  };
  if (failed_) return reactor_.post(go_on);
  inner_->when_readable(go_on);
}

void EmulatedStream::when_writable(std::function<void()> call) {
  writer_ = std::move(call);
  wait_for_room();
}

void EmulatedStream::wait_for_room() {
  if (closed_ || !writer_) return;
  const Seconds now = Reactor::now();
  const auto go_on = [self = shared_from_this()] {
    if (const auto call = std::exchange(self->writer_, nullptr); call && !self->closed_) call();
  };
  if (failed_) return reactor_.post(go_on);
  if (held_ >= most_held()) return;  // deliver() comes back here
  // Who waits to send a few bytes is let in before those who fill the line.
  const Seconds wait = line_->room_at(now) - now;
  room_.start(std::max(first_ ? wait * 0.5 : wait, Seconds(20e-6)), go_on);
}

void EmulatedStream::deliver_later() {
  if (closed_ || failed_ || waiting_for_inner_ || segments_.empty()) return;
  delivery_.start(std::max(segments_.front().arrives - Reactor::now(), Seconds(0)),
                  [self = shared_from_this()] { self->deliver(); });
}

void EmulatedStream::deliver() {
  if (closed_ || failed_) return;
  const Seconds now = Reactor::now();
  while (!segments_.empty() && segments_.front().arrives <= now) {
    Segment& segment = segments_.front();
    const auto count = inner_->write_some(std::span(segment.bytes).subspan(segment.written));
    if (!count) return lose_connection(count.error().message);
    if (*count == 0) {
      waiting_for_inner_ = true;
      inner_->when_writable([self = shared_from_this()] {
        self->waiting_for_inner_ = false;
        self->deliver();
      });
      break;
    }
    segment.written += *count;
    held_ -= *count;
    if (segment.written == segment.bytes.size()) segments_.pop_front();
  }
  deliver_later();
  wait_for_room();
}

void EmulatedStream::lose_connection(const std::string& why) {
  if (closed_ || failed_) return;
  failed_ = Error{ErrorCode::unreachable, why, "link", "connect again"};
  segments_.clear();
  inner_->close();  // drops its waiters: ours are told here
  wait_for_room();
  if (reader_) when_readable(std::exchange(reader_, nullptr));
}

void EmulatedStream::close() {
  if (std::exchange(closed_, true)) return;
  delivery_.stop();
  room_.stop();
  cut_.stop();
  reader_ = writer_ = nullptr;
  segments_.clear();
  inner_->close();
}

}  // namespace suanli::net
