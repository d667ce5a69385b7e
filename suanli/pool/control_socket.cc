#include "suanli/pool/control_socket.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <utility>

#include "suanli/base/clock.h"
#include "suanli/base/text.h"
#include "suanli/pool/control_requests.h"

namespace suanli::pool {
namespace {

constexpr std::size_t kMostPath = sizeof(sockaddr_un::sun_path) - 1, kMostConnections = 64, kPiece = std::size_t{64} << 10;
constexpr Seconds kIdle{60}, kAnswerWithin{10};

}  // namespace

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(number_, other.number_);
  return *this;
}

Descriptor::~Descriptor() {
  if (number_ >= 0) close(number_);
}

// ---- lines

Status LineStream::wait(short events, Seconds until) {
  while (true) {
    const double left = until.value() - real_clock().now().value();
    if (left <= 0)
      return fail(ErrorCode::timed_out, "the other end of the pool's socket does not answer in time", place_, "try again");
    pollfd polled[2] = {{socket_.number(), events, 0}, {stop_, POLLIN, 0}};
    const int ready = poll(polled, stop_ >= 0 ? 2 : 1, static_cast<int>(std::min(left * 1000 + 1, 1e6)));
    if (ready < 0 && errno != EINTR) return tl::unexpected(system_error(errno, "waiting for the pool's socket", place_));
    if (ready <= 0) continue;
    if (stop_ >= 0 && polled[1].revents != 0) return fail(ErrorCode::interrupted, "the coordinator ends", place_);
    return {};
  }
}

Result<std::string> LineStream::read(Seconds deadline) {
  const Seconds until = real_clock().now() + deadline;
  std::size_t searched = 0;
  while (true) {
    if (const std::size_t end = held_.find('\n', searched); end != std::string::npos) {
      std::string line = held_.substr(0, end);
      held_.erase(0, end + 1);
      return line;
    }
    searched = held_.size();
    if (held_.size() > kMostControlLine)
      return fail(ErrorCode::protocol,
                  "a line is longer than " + format_bytes(Bytes(static_cast<std::int64_t>(kMostControlLine))), place_);
    SUANLI_RETURN_IF_ERROR(wait(POLLIN, until));
    held_.resize(searched + kPiece);
    const ssize_t got = recv(socket_.number(), held_.data() + searched, kPiece, 0);
    held_.resize(searched + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    if (got == 0)
      return fail(ErrorCode::unreachable, "the other end closed the pool's socket", place_,
                  "look whether the coordinator still runs");
    if (got < 0 && errno != EINTR && errno != EAGAIN)
      return tl::unexpected(system_error(errno, "reading the pool's socket", place_));
  }
}

Status LineStream::write(std::string_view line, Seconds deadline) {
  const Seconds until = real_clock().now() + deadline;
  std::string text(line);
  text += '\n';
  for (std::string_view left = text; !left.empty();) {
    SUANLI_RETURN_IF_ERROR(wait(POLLOUT, until));
    const ssize_t sent = send(socket_.number(), left.data(), left.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (sent < 0) return tl::unexpected(system_error(errno, "writing to the pool's socket", place_));
    left.remove_prefix(static_cast<std::size_t>(sent));
  }
  return {};
}

// ---- the listener

Status check_socket_path(const std::string& path) {
  if (path.size() <= kMostPath) return {};
  return fail(ErrorCode::config,
              "the path of the pool's socket has " + std::to_string(path.size()) + " bytes; the system takes " +
                  std::to_string(kMostPath),
              path, "give the pool a folder with a shorter path: --dir DIR");
}

ControlSocket::ControlSocket(std::string path, Descriptor listener, Descriptor stop, Answer answer)
    : path_(std::move(path)), listener_(std::move(listener)), stop_(std::move(stop)), answer_(std::move(answer)) {
  thread_ = std::thread([this] { accept(); });
}

Result<std::unique_ptr<ControlSocket>> ControlSocket::open(const std::string& path, Answer answer) {
  SUANLI_RETURN_IF_ERROR(check_socket_path(path));
  const std::string folder = path.substr(0, path.rfind('/'));
  if (chmod(folder.c_str(), 0700) != 0)
    return tl::unexpected(system_error(errno, "making the pool's folder its owner's alone", folder));
  Descriptor listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)), stop(eventfd(0, EFD_CLOEXEC));
  if (listener.number() < 0 || stop.number() < 0) return tl::unexpected(system_error(errno, "making the pool's socket", path));
  unlink(path.c_str());
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  if (bind(listener.number(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return tl::unexpected(system_error(errno, "making the pool's socket", path));
  // Nobody can have connected before listen().
  if (chmod(path.c_str(), 0600) != 0 || listen(listener.number(), 64) != 0)
    return tl::unexpected(system_error(errno, "making the pool's socket", path));
  return std::unique_ptr<ControlSocket>(new ControlSocket(path, std::move(listener), std::move(stop), std::move(answer)));
}

ControlSocket::~ControlSocket() {
  const std::uint64_t one = 1;
  SUANLI_CHECK(write(stop_.number(), &one, sizeof one) == sizeof one);
  thread_.join();
  unlink(path_.c_str());
}

void ControlSocket::accept() {
  while (true) {
    pollfd polled[2] = {{listener_.number(), POLLIN, 0}, {stop_.number(), POLLIN, 0}};
    if (poll(polled, 2, -1) < 0 && errno != EINTR) break;
    if (polled[1].revents != 0) break;
    if (polled[0].revents == 0) continue;
    Descriptor connected(accept4(listener_.number(), nullptr, nullptr, SOCK_CLOEXEC));
    for (auto each = connections_.begin(); each != connections_.end();) {
      if (!each->has_ended) {
        ++each;
        continue;
      }
      each->thread.join();
      each = connections_.erase(each);
    }
    if (connected.number() < 0) {
      // Without descriptors or memory, others go on and this one is tried again.
      real_clock().sleep_for(Seconds(0.05));
      continue;
    }
    if (connections_.size() >= kMostConnections) continue;
    Connection& connection = connections_.emplace_back();
    connection.thread = std::thread([this, &connection, socket = std::make_shared<Descriptor>(std::move(connected))] {
      serve(std::move(*socket));
      connection.has_ended = true;
    });
  }
  for (Connection& connection : connections_) connection.thread.join();
}

void ControlSocket::serve(Descriptor socket) {
  LineStream stream(std::move(socket), stop_.number(), path_);
  while (true) {
    const auto line = stream.read(kIdle);
    if (!line && line.error().code == ErrorCode::protocol)
      (void)stream.write(print_answer(tl::unexpected(line.error())), kAnswerWithin);
    if (!line || !stream.write(answer_(*line), kAnswerWithin)) return;
  }
}

}  // namespace suanli::pool
