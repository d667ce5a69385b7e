#include "suanli/net/endpoint.h"

#include <asio/connect.hpp>
#include <asio/ip/tcp.hpp>
#include <utility>

namespace suanli::net {
namespace {

using asio::ip::tcp;

constexpr Seconds kPauseAfterFailure{0.1};  // such as no descriptor left

std::string place_of(const tcp::endpoint& endpoint) {
  return Address{endpoint.address().to_string(), endpoint.port()}.to_string();
}

tl::unexpected<Error> listening_failed(const asio::error_code& error, const Address& address) {
  if (error == asio::error::address_in_use)
    return fail(ErrorCode::busy, "another program listens there", address.to_string(),
                "choose another port, or end that program");
  return fail(ErrorCode::unreachable, "listening failed: " + error.message(), address.to_string(),
              "name an address of this machine, or 0.0.0.0");
}

}  // namespace

struct Endpoint::Listener {
  explicit Listener(asio::io_context& context) : acceptor(context) {}
  tcp::acceptor acceptor;
};

// One dial under way: resolve, connect, handshake. Whichever comes first, an end or the deadline, calls `done`.
struct Endpoint::Dialling : std::enable_shared_from_this<Dialling> {
  Dialling(std::shared_ptr<Endpoint> endpoint, Address to)
      : owner(std::move(endpoint)),
        address(std::move(to)),
        resolver(owner->reactor_.context()),
        socket(owner->reactor_.context()),
        deadline(owner->reactor_) {}

  void finish(Result<std::shared_ptr<TlsStream>> result) {
    const Dialled call = std::exchange(done, nullptr);
    deadline.stop();
    resolver.cancel();
    asio::error_code ignored;
    socket.close(ignored);
    if ((!result || owner->closed_) && stream) stream->close();
    stream.reset();
    if (call && !owner->closed_) call(std::move(result));
  }

  std::shared_ptr<Endpoint> owner;
  Address address;
  tcp::resolver resolver;
  tcp::socket socket;
  std::shared_ptr<TlsStream> stream;
  Timer deadline;
  Dialled done;
};

Endpoint::Endpoint(Reactor& reactor, std::shared_ptr<const TlsSetup> setup, EndpointOptions options)
    : reactor_(reactor), setup_(std::move(setup)), options_(options), pause_(reactor) {}

std::shared_ptr<Endpoint> Endpoint::create(Reactor& reactor, std::shared_ptr<const TlsSetup> setup, EndpointOptions options) {
  return std::shared_ptr<Endpoint>(new Endpoint(reactor, std::move(setup), options));
}

Endpoint::~Endpoint() = default;

void Endpoint::close() {
  closed_ = true;
  pause_.stop();
  asio::error_code ignored;
  if (listener_) listener_->acceptor.close(ignored);
  for (const auto& stream : std::exchange(handshakes_, {})) stream->close();
  accepted_ = nullptr;
  refused_ = nullptr;
  door_ = nullptr;
}

Result<Address> Endpoint::listen(const Address& address, Accepted accepted, Refused refused) {
  SUANLI_CHECK(!listener_ && !closed_);
  asio::error_code error;
  const auto ip = asio::ip::make_address(address.host, error);
  if (error) {
    return fail(ErrorCode::unreachable, "'" + address.host + "' is no IP address", address.to_string(),
                "name an address of this machine, or 0.0.0.0");
  }
  auto listener = std::make_unique<Listener>(reactor_.context());
  const tcp::endpoint endpoint(ip, address.port);
  tcp::acceptor& acceptor = listener->acceptor;
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) return listening_failed(error, address);
  const Address taken{address.host, acceptor.local_endpoint(error).port()};
  listener_ = std::move(listener);
  accepted_ = std::move(accepted);
  refused_ = std::move(refused);
  accept_next();
  return taken;
}

void Endpoint::accept_next() {
  listener_->acceptor.async_accept([self = shared_from_this()](const asio::error_code& error, tcp::socket socket) {
    if (self->closed_) return;
    if (error) {
      self->pause_.start(kPauseAfterFailure, [self] { self->accept_next(); });
      return;
    }
    asio::error_code ignored;
    const std::string place = place_of(socket.remote_endpoint(ignored));
    self->begin_handshake(socket.release(ignored), place);
    self->accept_next();
  });
}

void Endpoint::begin_handshake(int socket, const std::string& place) {
  if (handshakes_.size() >= static_cast<std::size_t>(options_.most_handshakes)) {
    handshakes_.front()->close();
    handshakes_.pop_front();
  }
  handshakes_.push_back(TlsStream::create(
      reactor_, setup_, socket, {.is_server = true, .may_join = static_cast<bool>(door_)}, place, options_.socket));
  const std::weak_ptr<TlsStream> kept = handshakes_.back();
  handshakes_.back()->handshake(options_.handshake_deadline, [weak = weak_from_this(), kept](Status status) {
    const std::shared_ptr<Endpoint> self = weak.lock();
    const std::shared_ptr<TlsStream> stream = kept.lock();
    if (!self || !stream) return;
    self->handshakes_.remove(stream);
    if (status && stream->is_authenticated()) {
      if (self->accepted_) self->accepted_(stream);
    } else if (status) {
      // Whoever it is has shown nothing: to the door, or away.
      self->door_ && stream->is_joining() ? self->door_(stream) : stream->close();
    } else if (self->refused_) {
      self->refused_(status.error());
    }
  });
}

void Endpoint::dial(const Address& address, const ExpectedPeer& expected, Seconds deadline, Dialled done) {
  const auto dialling = std::make_shared<Dialling>(shared_from_this(), address);
  dialling->done = std::move(done);
  dialling->deadline.start(deadline, [dialling, deadline] {
    dialling->finish(fail(ErrorCode::timed_out, "nobody answered in " + std::to_string(deadline.value()) + " s",
                          dialling->address.to_string(), "check the address, and that no firewall lies between"));
  });
  const auto unreachable = [dialling](const std::string& doing, const asio::error_code& error) {
    dialling->finish(fail(ErrorCode::unreachable, doing + " failed: " + error.message(), dialling->address.to_string(),
                          "check the address, and that the peer runs"));
  };
  dialling->resolver.async_resolve(
      address.host, std::to_string(address.port), tcp::resolver::numeric_service,
      [self = shared_from_this(), dialling, expected, deadline, unreachable](const asio::error_code& error,
                                                                             const tcp::resolver::results_type& found) {
        if (!dialling->done || self->closed_) return;
        if (error) return unreachable("looking up the host", error);
        asio::async_connect(
            dialling->socket, found,
            [self, dialling, expected, deadline, unreachable](const asio::error_code& failed, const tcp::endpoint&) {
              if (!dialling->done || self->closed_) return;
              if (failed) return unreachable("connecting", failed);
              asio::error_code ignored;
              dialling->stream = TlsStream::create(self->reactor_, self->setup_, dialling->socket.release(ignored),
                                                   {.expected = expected}, dialling->address.to_string(), self->options_.socket);
              dialling->stream->handshake(deadline, [dialling](Status status) {
                if (!status) return dialling->finish(tl::unexpected(status.error()));
                dialling->finish(std::shared_ptr<TlsStream>(dialling->stream));
              });
            });
      });
}

}  // namespace suanli::net
