#include "suanli/net/link_stream.h"

#include <algorithm>
#include <cstring>

namespace suanli::net {
namespace {

// Between two looks at the other streams.
constexpr std::size_t kBudgetBytes = 512 * 1024;
constexpr std::array<std::byte, 16384> kZeros{};

}  // namespace

LinkStream::LinkStream(Reactor& reactor, std::shared_ptr<ByteStream> stream, StreamKind kind, StreamOwner& owner)
    : reactor_(reactor), stream_(std::move(stream)), kind_(kind), owner_(owner), reader_(kind, owner, true) {}

void LinkStream::close() {
  if (closed_) return;
  closed_ = true;
  stream_->close();
}

void LinkStream::fail_with(const Error& why) {
  const auto self = shared_from_this();  // the owner may drop it
  if (!closed_) owner_.on_stream_failed(*this, why);
}

void LinkStream::read() {
  std::size_t taken = 0;
  while (!closed_ && taken < kBudgetBytes) {
    const auto count = stream_->read_some(reader_.space());
    if (!count) return fail_with(count.error());
    if (*count == 0) {
      owner_.on_traffic(taken, 0);
      stream_->when_readable([self = shared_from_this()] {
        if (!self->closed_) self->read();
      });
      return;
    }
    taken += *count;
    if (const Status status = reader_.advance(*count); !status) return fail_with(status.error());
  }
  if (closed_) return;
  owner_.on_traffic(taken, 0);
  reactor_.post([self = shared_from_this()] {
    if (!self->closed_) self->read();
  });
}

void LinkStream::pump() {
  if (closed_ || waiting_to_write_) return;
  std::size_t given = 0;
  const auto go_on_later = [self = shared_from_this()] {
    self->waiting_to_write_ = false;
    self->pump();
  };
  const Corked together(stream_);
  while (!pending_.empty() || next_record()) {
    if (given >= kBudgetBytes) {
      waiting_to_write_ = true;
      reactor_.post(go_on_later);
      break;
    }
    const auto count = stream_->write_some(pending_);
    if (!count) return fail_with(count.error());
    if (*count == 0) {
      waiting_to_write_ = true;
      stream_->when_writable(go_on_later);
      break;
    }
    pending_ = pending_.subspan(*count);
    given += *count;
  }
  owner_.on_traffic(0, given);
}

bool LinkStream::next_record() {
  if (kind_ == StreamKind::control) {
    const std::string bytes = owner_.take_control(scratch_.size());
    std::memcpy(scratch_.data(), bytes.data(), bytes.size());
    pending_ = std::span(scratch_).first(bytes.size());
    return !bytes.empty();
  }
  if (!piece_) {
    piece_ = owner_.next_piece();
    sent_ = 0;
    void_ = false;
  }
  if (!piece_) return false;
  next_record_of_chunk();
  return true;
}

// The frame is prefix, data, trailer. Records in the middle are the tensor's own memory; the first and the last are put together
// in scratch_, where prefix and trailer need no record of their own.
void LinkStream::next_record_of_chunk() {
  const std::size_t data_bytes = piece_->data.size();
  const std::size_t frame_bytes = kChunkPrefixBytes + data_bytes + kChunkTrailerBytes;
  const std::size_t begin = sent_, end = std::min(begin + kRecordBytes, frame_bytes);
  const auto data_at = [&](std::size_t from, std::size_t count) {
    return void_ ? std::span(kZeros).first(count) : piece_->data.subspan(from - kChunkPrefixBytes, count);
  };
  sent_ = end;
  const std::size_t data_end = kChunkPrefixBytes + data_bytes;
  if (begin >= kChunkPrefixBytes && end <= data_end) {
    pending_ = data_at(begin, end - begin);
    return;
  }
  std::size_t filled = 0;
  if (begin == 0) {
    const auto prefix = encode_prefix(piece_->chunk);
    std::memcpy(scratch_.data(), prefix.data(), prefix.size());
    filled = prefix.size();
  }
  const std::size_t from = begin + filled, to = std::min(end, data_end);
  if (from < to) {
    const auto data = data_at(from, to - from);
    std::memcpy(scratch_.data() + filled, data.data(), data.size());
    filled += data.size();
  }
  if (end == frame_bytes) {
    scratch_[filled++] = std::byte(void_ ? 0 : 1);
    piece_.reset();
  }
  pending_ = std::span(scratch_).first(filled);
}

void LinkStream::make_void(std::uint64_t grant) {
  // Once the trailer is in scratch_, all of the data is too: the frame goes out whole, and harms nobody.
  if (!piece_ || piece_->chunk.grant != grant) return;
  void_ = true;
  const auto* begin = piece_->data.data();
  const bool inside = !pending_.empty() && pending_.data() >= begin && pending_.data() < begin + piece_->data.size();
  // TLS may hold a record that it has made of these bytes and ask for the rest of it: as many bytes, of any content.
  if (inside) pending_ = std::span(kZeros).first(pending_.size());
}

}  // namespace suanli::net
