#include "suanli/net/socket_bio.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include "suanli/base/error.h"
#include "suanli/net/openssl.h"

namespace suanli::net {
namespace {

// Read ahead until a read has filled it: what a stream of short messages needs.
constexpr std::size_t kFirstAheadBytes = 4096;

}  // namespace

int SocketBio::read(char* into, std::size_t size) {
  if (taken_ == arrived_) {
    if (in_.empty()) in_.resize(kFirstAheadBytes);
    std::array<iovec, 2> places{iovec{into, size}, iovec{in_.data(), in_.size()}};
    ssize_t count;
    do count = readv(socket_, places.data(), static_cast<int>(places.size()));
    while (count < 0 && errno == EINTR);
    at_end_ = count == 0;
    if (count <= static_cast<ssize_t>(size)) return static_cast<int>(count);
    taken_ = 0;
    arrived_ = static_cast<std::size_t>(count) - size;
    if (arrived_ == in_.size()) in_.resize(kMostHeldBytes);
    return static_cast<int>(size);
  }
  const std::size_t count = std::min(size, arrived_ - taken_);
  std::memcpy(into, in_.data() + taken_, count);
  taken_ += count;
  return static_cast<int>(count);
}

std::ptrdiff_t SocketBio::send(const void* from, std::size_t size) {
  ssize_t count;
  do count = ::send(socket_, from, size, MSG_NOSIGNAL);
  while (count < 0 && errno == EINTR);
  if (count < 0 && errno != EAGAIN && errno != EWOULDBLOCK) return -1;
  full_ = count < static_cast<ssize_t>(size);
  return std::max<ssize_t>(count, 0);
}

void SocketBio::flush() {
  if (holds()) {
    const std::ptrdiff_t count = send(out_.data() + sent_, out_.size() - sent_);
    sent_ = count < 0 ? out_.size() : sent_ + static_cast<std::size_t>(count);
  }
  if (holds()) return;
  out_.clear();
  sent_ = 0;
}

int SocketBio::write(const char* from, std::size_t size) {
  // What is held goes first.
  if (holds() && (!gathers_ || out_.size() - sent_ + size > kMostHeldBytes)) flush();
  if (!gathers_ || size > kMostHeldBytes) {
    if (holds()) return 0;
    return static_cast<int>(send(from, size));
  }
  if (out_.size() - sent_ + size > kMostHeldBytes) return 0;
  if (out_.size() + size > kMostHeldBytes) {
    out_.erase(out_.begin(), out_.begin() + static_cast<std::ptrdiff_t>(sent_));
    sent_ = 0;
  }
  out_.insert(out_.end(), from, from + size);
  return static_cast<int>(size);
}

int SocketBio::on_read(BIO* bio, char* into, int size) {
  BIO_clear_retry_flags(bio);
  if (size <= 0) return 0;
  const int count = static_cast<SocketBio*>(BIO_get_data(bio))->read(into, static_cast<std::size_t>(size));
  if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) BIO_set_retry_read(bio);
  return count;
}

int SocketBio::on_write(BIO* bio, const char* from, int size) {
  BIO_clear_retry_flags(bio);
  if (size <= 0) return 0;
  const int count = static_cast<SocketBio*>(BIO_get_data(bio))->write(from, static_cast<std::size_t>(size));
  if (count != 0) return count;
  BIO_set_retry_write(bio);
  return -1;
}

long SocketBio::on_control(BIO* bio, int command, long, void*) {
  auto& self = *static_cast<SocketBio*>(BIO_get_data(bio));
  switch (command) {
    case BIO_CTRL_FLUSH:
      // Of handshakes and alerts, which are not gathered, nothing is held back.
      return 1;
    case BIO_CTRL_EOF:
      return self.at_end_ ? 1 : 0;
    default:
      return 0;
  }
}

const BIO_METHOD* SocketBio::method() {
  using Method = std::unique_ptr<BIO_METHOD, openssl::Deleter<BIO_meth_free>>;
  static const Method made = [] {
    Method one(BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "suanli socket"));
    SUANLI_CHECK(one && BIO_meth_set_read(one.get(), on_read) == 1 && BIO_meth_set_write(one.get(), on_write) == 1 &&
                 BIO_meth_set_ctrl(one.get(), on_control) == 1);
    return one;
  }();
  return made.get();
}

BIO* SocketBio::make() {
  BIO* const bio = BIO_new(method());
  if (!bio) return nullptr;
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  return bio;
}

}  // namespace suanli::net
