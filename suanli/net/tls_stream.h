// A ByteStream of TLS over a TCP socket: OpenSSL works on the socket's descriptor, with several records for one system call
// (socket_bio.h); Asio only tells when it is ready. Or over another ByteStream, such as one that a relay carries: then OpenSSL
// reads and writes that stream, and who carries it sees ciphertext.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "suanli/net/byte_stream.h"
#include "suanli/net/reactor.h"
#include "suanli/net/tls_setup.h"
#include "suanli/net/via.h"

struct bio_st;

namespace suanli::net {

struct SocketOptions {
  // Bytes that wait unsent in the kernel at most (TCP_NOTSENT_LOWAT); 0: as many as it likes. A limit of half a megabyte, even of
  // four, cost 10 to 20 % of the rate and as much CPU on loopback, for more and smaller wake-ups; messages have a stream of
  // their own.
  int unsent_limit = 0;
  // BBR where the kernel has it: under slight loss on long lines it carries several times what CUBIC does.
  bool bbr = true;
};

class TlsStream final : public ByteStream, public std::enable_shared_from_this<TlsStream> {
 public:
  // Takes over a connected TCP socket (closed on error too). `place` is the other end in errors.
  static std::shared_ptr<TlsStream> create(Reactor& reactor, std::shared_ptr<const TlsSetup> setup, int socket,
                                           const TlsSide& side, std::string place, const SocketOptions& options);
  // Takes over an open stream, of which nothing that belongs to this connection has been read or written.
  static std::shared_ptr<TlsStream> create_over(Reactor& reactor, std::shared_ptr<const TlsSetup> setup,
                                                std::shared_ptr<ByteStream> inner, const TlsSide& side, std::string place);
  ~TlsStream() override;

  // Calls `done` once, unless closed before: errors unauthorised, unreachable, protocol, timed_out.
  void handshake(Seconds deadline, std::function<void(Status)> done);

  Result<std::size_t> read_some(std::span<std::byte> into) override;
  Result<std::size_t> write_some(std::span<const std::byte> from) override;
  void cork() override;
  void uncork() override;
  void when_readable(std::function<void()> call) override;
  void when_writable(std::function<void()> call) override;
  void close() override;
  const Certificate& peer() const override;  // after the handshake; of one that is authenticated
  // The peer has shown a certificate that holds. Otherwise it is nobody, and may be given to the joining door alone.
  bool is_authenticated() const { return verification_.peer.has_value() && !verification_.joining; }
  bool is_joining() const { return verification_.joining; }
  const TlsVerification& verification() const { return verification_; }
  const std::string& place() const { return place_; }
  // Set by who opened the stream through a relay.
  void set_via(Via via) { via_ = std::move(via); }
  const std::optional<Via>& via() const { return via_; }

 private:
  struct Transport;
  TlsStream(Reactor& reactor, std::shared_ptr<const TlsSetup> setup, const TlsSide& side, std::string place);
  // OpenSSL's way to what carries the connection, or null.
  void use(bio_st* bio);
  void go_on_with_handshake();
  void finish_handshake(Status status);
  // What a call of OpenSSL that returned `result` <= 0 means; no error if it only has to wait.
  Status failure_of(int result, bool& wants_write);
  void wait(bool for_write, std::function<void()> call);
  void flush_when_writable();

  Reactor& reactor_;
  std::string place_;
  std::optional<Via> via_;
  std::shared_ptr<const TlsSetup> setup_;
  TlsVerification verification_;
  std::unique_ptr<Transport> transport_;
  bool closed_ = false;
  bool waiting_to_flush_ = false;
  bool read_wants_write_ = false, write_wants_read_ = false;  // in the middle of a change of keys
  Timer deadline_;
  std::function<void(Status)> handshake_done_;
};

}  // namespace suanli::net
