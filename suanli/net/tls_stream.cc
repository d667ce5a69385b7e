#include "suanli/net/tls_stream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <asio/ip/tcp.hpp>
#include <cerrno>
#include <climits>
#include <cstring>

#include "suanli/net/openssl.h"
#include "suanli/net/socket_bio.h"

namespace suanli::net {
namespace {

// Alerts by which a peer says that it does not accept us (RFC 8446, section 6.2).
std::string refusal_by_peer(int reason) {
  switch (reason) {
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
      return "the peer says that our certificate was revoked";
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
      return "the peer says that our certificate has expired";
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
      return "the peer belongs to another pool: it does not know our authority";
    case SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL:
      return "the machine at this address takes no joining machines";
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
      return "the peer asks for a certificate";
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
      return "the peer refuses our certificate; the clocks may differ";
    default:
      return {};
  }
}

void set_options(int socket, const SocketOptions& options) {
  const int on = 1;
  // Each of these makes things better where it is allowed, and nothing worse where it is not.
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (options.bbr) setsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, "bbr", 3);
  if (options.unsent_limit > 0)
    setsockopt(socket, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &options.unsent_limit, sizeof options.unsent_limit);
}

// OpenSSL's view of an inner stream. What it returned as an error is kept aside: OpenSSL has no words for it.
struct InnerStream {
  std::shared_ptr<ByteStream> stream;
  std::optional<Error> failure;
};

int answer_of(BIO* bio, const Result<std::size_t>& count, bool writing) {
  auto& inner = *static_cast<InnerStream*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  if (count && *count > 0) return static_cast<int>(*count);
  if (!count) {
    inner.failure = count.error();
  } else {
    writing ? BIO_set_retry_write(bio) : BIO_set_retry_read(bio);
  }
  return -1;
}

int read_inner(BIO* bio, char* into, int size) {
  const auto& inner = *static_cast<InnerStream*>(BIO_get_data(bio));
  if (size <= 0) return 0;
  return answer_of(bio, inner.stream->read_some(std::as_writable_bytes(std::span(into, static_cast<std::size_t>(size)))), false);
}

int write_inner(BIO* bio, const char* from, int size) {
  const auto& inner = *static_cast<InnerStream*>(BIO_get_data(bio));
  if (size <= 0) return 0;
  return answer_of(bio, inner.stream->write_some(std::as_bytes(std::span(from, static_cast<std::size_t>(size)))), true);
}

long control_inner(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

const BIO_METHOD* inner_method() {
  static const std::unique_ptr<BIO_METHOD, openssl::Deleter<BIO_meth_free>> method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "suanli stream");
    SUANLI_CHECK(made && BIO_meth_set_read(made, read_inner) == 1 && BIO_meth_set_write(made, write_inner) == 1 &&
                 BIO_meth_set_ctrl(made, control_inner) == 1);
    return std::unique_ptr<BIO_METHOD, openssl::Deleter<BIO_meth_free>>(made);
  }();
  return method.get();
}

}  // namespace

// A socket or another stream. Members end in reverse order: OpenSSL's connection before what carries it.
struct TlsStream::Transport {
  explicit Transport(Reactor& reactor) : socket(reactor.context()) {}
  asio::ip::tcp::socket socket;
  std::optional<SocketBio> wire;  // over a socket
  InnerStream inner;
  openssl::Connection tls;
};

TlsStream::TlsStream(Reactor& reactor, std::shared_ptr<const TlsSetup> setup, const TlsSide& side, std::string place)
    : reactor_(reactor),
      place_(std::move(place)),
      setup_(std::move(setup)),
      transport_(std::make_unique<Transport>(reactor)),
      deadline_(reactor) {
  verification_.side = side;
  transport_->tls.reset(setup_->connect(verification_));
}

TlsStream::~TlsStream() = default;

std::shared_ptr<TlsStream> TlsStream::create(Reactor& reactor, std::shared_ptr<const TlsSetup> setup, int socket,
                                             const TlsSide& side, std::string place, const SocketOptions& options) {
  std::shared_ptr<TlsStream> stream(new TlsStream(reactor, std::move(setup), side, std::move(place)));
  set_options(socket, options);
  asio::error_code error;
  // The family only matters for asking addresses, which nobody does here.
  stream->transport_->socket.assign(asio::ip::tcp::v4(), socket, error);
  if (error) {
    ::close(socket);
    stream->closed_ = true;
    return stream;
  }
  stream->transport_->socket.native_non_blocking(true, error);
  BIO* const bio = stream->transport_->wire.emplace(socket).make();
  stream->use(bio);
  return stream;
}

std::shared_ptr<TlsStream> TlsStream::create_over(Reactor& reactor, std::shared_ptr<const TlsSetup> setup,
                                                  std::shared_ptr<ByteStream> inner, const TlsSide& side, std::string place) {
  std::shared_ptr<TlsStream> stream(new TlsStream(reactor, std::move(setup), side, std::move(place)));
  stream->transport_->inner.stream = std::move(inner);
  BIO* const bio = BIO_new(inner_method());
  if (bio) {
    BIO_set_data(bio, &stream->transport_->inner);
    BIO_set_init(bio, 1);
  }
  stream->use(bio);
  return stream;
}

void TlsStream::use(BIO* bio) {
  if (bio && transport_->tls) return SSL_set_bio(transport_->tls.get(), bio, bio);
  BIO_free(bio);
  close();
}

const Certificate& TlsStream::peer() const {
  SUANLI_CHECK(verification_.peer.has_value());
  return *verification_.peer;
}

void TlsStream::close() {
  if (closed_) return;
  closed_ = true;
  deadline_.stop();
  handshake_done_ = nullptr;
  if (transport_->wire) transport_->wire->gather(false);
  if (transport_->tls) SSL_shutdown(transport_->tls.get());  // tells the peer, if it can at once
  ERR_clear_error();
  // Both drop their waiters.
  if (transport_->inner.stream) transport_->inner.stream->close();
  asio::error_code ignored;
  transport_->socket.close(ignored);
}

Status TlsStream::failure_of(int result, bool& wants_write) {
  const int system_error_number = errno;
  const int kind = SSL_get_error(transport_->tls.get(), result);
  wants_write = kind == SSL_ERROR_WANT_WRITE;
  if (wants_write || kind == SSL_ERROR_WANT_READ) return {};
  if (transport_->inner.failure && kind == SSL_ERROR_SYSCALL) {
    ERR_clear_error();
    return tl::unexpected(Error(*transport_->inner.failure).within(place_));
  }
  if (verification_.refusal) {
    ERR_clear_error();
    return tl::unexpected(Error(*verification_.refusal).within(place_));
  }
  const std::string reconnect = "check that the peer runs, and connect again";
  if (kind == SSL_ERROR_ZERO_RETURN) return fail(ErrorCode::unreachable, "the peer closed the connection", place_, reconnect);
  const unsigned long code = ERR_peek_error();
  if (kind == SSL_ERROR_SYSCALL || code == 0 || ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
    ERR_clear_error();
    const bool told = kind == SSL_ERROR_SYSCALL && system_error_number != 0;
    return fail(ErrorCode::unreachable,
                std::string("the connection was lost") + (told ? std::string(": ") + std::strerror(system_error_number) : ""),
                place_, reconnect);
  }
  if (const std::string refusal = refusal_by_peer(ERR_GET_REASON(code)); !refusal.empty()) {
    ERR_clear_error();
    return fail(ErrorCode::unauthorised, refusal, place_, "join the pool again, or ask its operator");
  }
  return fail(ErrorCode::protocol, "the peer does not speak our TLS: " + openssl::take_error(), place_,
              "check that a suanli node listens at this address");
}

Result<std::size_t> TlsStream::read_some(std::span<std::byte> into) {
  if (closed_) return fail(ErrorCode::unreachable, "the connection is closed", place_, "connect again");
  errno = 0;
  const int most = static_cast<int>(std::min<std::size_t>(into.size(), INT_MAX));
  const int count = SSL_read(transport_->tls.get(), into.data(), most);
  if (count > 0) return static_cast<std::size_t>(count);
  SUANLI_RETURN_IF_ERROR(failure_of(count, read_wants_write_));
  return std::size_t{0};
}

Result<std::size_t> TlsStream::write_some(std::span<const std::byte> from) {
  if (closed_) return fail(ErrorCode::unreachable, "the connection is closed", place_, "connect again");
  errno = 0;
  const int most = static_cast<int>(std::min<std::size_t>(from.size(), INT_MAX));
  const int count = SSL_write(transport_->tls.get(), from.data(), most);
  if (count > 0) return static_cast<std::size_t>(count);
  bool wants_write = false;
  SUANLI_RETURN_IF_ERROR(failure_of(count, wants_write));
  write_wants_read_ = !wants_write;
  return std::size_t{0};
}

void TlsStream::cork() {
  if (transport_->inner.stream) return transport_->inner.stream->cork();
  if (transport_->wire) transport_->wire->gather(true);
}

void TlsStream::uncork() {
  if (closed_) return;
  if (transport_->inner.stream) return transport_->inner.stream->uncork();
  SocketBio& wire = *transport_->wire;
  wire.gather(false);
  if (!wire.is_full()) wire.flush();
  if (wire.holds()) flush_when_writable();
}

// Who wrote the bytes may have no more to write, and so wait for nothing.
void TlsStream::flush_when_writable() {
  if (std::exchange(waiting_to_flush_, true)) return;
  wait(true, [this] {
    waiting_to_flush_ = false;
    transport_->wire->flush();
    if (transport_->wire->holds()) flush_when_writable();
  });
}

void TlsStream::wait(bool for_write, std::function<void()> call) {
  if (ByteStream* const inner = transport_->inner.stream.get()) {
    auto go_on = [self = shared_from_this(), call = std::move(call)] {
      if (!self->closed_) call();
    };
    return for_write ? inner->when_writable(std::move(go_on)) : inner->when_readable(std::move(go_on));
  }
  const auto kind = for_write ? asio::ip::tcp::socket::wait_write : asio::ip::tcp::socket::wait_read;
  transport_->socket.async_wait(kind, [self = shared_from_this(), call = std::move(call)](const asio::error_code&) {
    if (!self->closed_) call();  // a broken socket is ready too: the next try tells why
  });
}

void TlsStream::when_readable(std::function<void()> call) {
  if (closed_) return;
  const bool has_some = SSL_has_pending(transport_->tls.get()) == 1 || (transport_->wire && transport_->wire->has_read_ahead());
  if (has_some && !read_wants_write_) {
    reactor_.post([self = shared_from_this(), call = std::move(call)] {
      if (!self->closed_) call();
    });
    return;
  }
  wait(read_wants_write_, std::move(call));
}

void TlsStream::when_writable(std::function<void()> call) {
  if (!closed_) wait(!write_wants_read_, std::move(call));
}

void TlsStream::handshake(Seconds deadline, std::function<void(Status)> done) {
  handshake_done_ = std::move(done);
  if (closed_) {
    reactor_.post([self = shared_from_this()] {
      self->finish_handshake(fail(ErrorCode::unsupported, "TLS could not be set up", self->place_, "check that memory is free"));
    });
    return;
  }
  deadline_.start(deadline, [self = shared_from_this(), deadline] {
    self->finish_handshake(fail(ErrorCode::timed_out,
                                "the peer did not finish the TLS handshake in " + std::to_string(deadline.value()) + " s",
                                self->place_, "check that a suanli node listens at this address"));
  });
  go_on_with_handshake();
}

void TlsStream::go_on_with_handshake() {
  errno = 0;
  const int result = SSL_do_handshake(transport_->tls.get());
  if (result == 1) return finish_handshake({});
  bool wants_write = false;
  if (Status failed = failure_of(result, wants_write); !failed) {
    reactor_.post([self = shared_from_this(), failed] { self->finish_handshake(failed); });
    return;
  }
  wait(wants_write, [this] { go_on_with_handshake(); });
}

void TlsStream::finish_handshake(Status status) {
  deadline_.stop();
  const std::function<void(Status)> done = std::exchange(handshake_done_, nullptr);
  if (!status) close();
  if (done) done(std::move(status));
}

}  // namespace suanli::net
