// Mutual TLS from inside (our own dialler) and from outside (the plain openssl command).
#include "suanli/net/endpoint.h"

#include <gmock/gmock.h>
#include <sys/wait.h>

#include <atomic>
#include <cstdio>
#include <future>

#include "suanli/base/clock.h"
#include "suanli/net/pool_for_test.h"
#include "suanli/net/revocation.h"

namespace suanli::net {
namespace {

using testing::HasSubstr;

// An endpoint that listens on loopback and counts whom it lets in.
class Server {
 public:
  explicit Server(std::shared_ptr<TlsContext> context, EndpointOptions options = {}) : context_(std::move(context)) {
    reactor_.run_and_wait([&] {
      endpoint_ = Endpoint::create(reactor_, context_, options);
      address_ = endpoint_
                     ->listen(
                         {"127.0.0.1", 0},
                         [this](std::shared_ptr<TlsStream> stream) {
                           streams_.push_back(std::move(stream));
                           ++accepted_;
                         },
                         [this](const Error& error) {
                           last_refusal_ = error;
                           ++refused_;
                         })
                     .value();
    });
  }
  ~Server() {
    reactor_.run_and_wait([&] {
      endpoint_->close();
      for (auto& stream : streams_) stream->close();
      // What belongs to the reactor ends before it, on its thread.
      streams_.clear();
      greeter_.reset();
      endpoint_.reset();
    });
  }

  // The outcome as the dialler sees it once it has tried to read: a server's refusal of the client comes after the client's
  // own handshake. Success: nothing came in `patience`.
  Status dial(std::shared_ptr<TlsContext> client, ExpectedPeer expected = {}) {
    std::promise<Status> promise;
    std::shared_ptr<TlsStream> kept;
    std::shared_ptr<Endpoint> dialler;
    reactor_.run_and_wait([&] {
      dialler = Endpoint::create(reactor_, std::move(client), {});
      dialler->dial(address_, expected, Seconds(10), [&](Result<std::shared_ptr<TlsStream>> stream) {
        if (!stream) return promise.set_value(tl::unexpected(stream.error()));
        kept = *stream;
        wait_for_answer(kept, promise);
      });
    });
    const Status status = promise.get_future().get();
    reactor_.run_and_wait([&] {
      dialler->close();
      if (kept) kept->close();
      kept.reset();
      dialler.reset();
    });
    return status;
  }
  // Lets a client in that is accepted: writes it a byte.
  void greet() {
    for (auto& stream : streams_) (void)stream->write_some(std::as_bytes(std::span("x", 1)));
  }

  const Address& address() const { return address_; }
  int accepted() const { return accepted_; }
  int refused() const { return refused_; }
  Error last_refusal() {
    Error error{};
    reactor_.run_and_wait([&] { error = last_refusal_; });
    return error;
  }

 private:
  void wait_for_answer(const std::shared_ptr<TlsStream>& stream, std::promise<Status>& promise) {
    std::byte byte;
    const auto count = stream->read_some({&byte, 1});
    if (!count) return promise.set_value(tl::unexpected(count.error()));
    if (*count > 0) return promise.set_value({});
    greet();
    stream->when_readable([this, stream, &promise] { wait_for_answer(stream, promise); });
    if (!greeter_) greeter_ = std::make_unique<Timer>(reactor_);
    greeter_->start(Seconds(0.02), [this] { greet_again(); });
  }
  void greet_again() {
    greet();
    greeter_->start(Seconds(0.02), [this] { greet_again(); });
  }

  std::shared_ptr<TlsContext> context_;
  std::unique_ptr<Timer> greeter_;
  std::shared_ptr<Endpoint> endpoint_;
  std::vector<std::shared_ptr<TlsStream>> streams_;
  Error last_refusal_{};
  std::atomic<int> accepted_ = 0, refused_ = 0;
  Address address_;
  Reactor reactor_;  // ends first
};

TEST(Endpoint, PeersOfOnePoolFindOneAnother) {
  PoolForTest pool;
  const TlsIdentity coordinator = pool.peer(Role::coordinator);
  Server server(TlsContext::create(coordinator).value());
  EXPECT_TRUE(server.dial(pool.context()));
  EXPECT_TRUE(server.dial(pool.context(), {coordinator.key.id(), Role::coordinator}));
  EXPECT_EQ(server.accepted(), 2);
}

TEST(Endpoint, TheDiallerTakesNobodyElse) {
  PoolForTest pool;
  Server server(pool.context());
  const auto role = server.dial(pool.context(), {std::nullopt, Role::coordinator});
  ASSERT_FALSE(role);
  EXPECT_EQ(role.error().code, ErrorCode::unauthorised);
  EXPECT_THAT(role.error().message, HasSubstr("is a worker, not a coordinator"));
  const auto id = server.dial(pool.context(), {PrivateKey::generate().value().id(), std::nullopt});
  ASSERT_FALSE(id);
  EXPECT_THAT(id.error().message, HasSubstr("was expected"));
}

TEST(Endpoint, AnotherPoolIsAnotherWorld) {
  PoolForTest pool, other;
  Server server(pool.context());
  const auto refused = server.dial(other.context());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::unauthorised);
  EXPECT_EQ(server.accepted(), 0);
}

TEST(Endpoint, RevokedPeersAreToldSoAndKeptOut) {
  PoolForTest pool;
  const auto context = pool.context();
  Server server(context);
  const TlsIdentity worker = pool.peer();
  EXPECT_TRUE(server.dial(TlsContext::create(worker).value()));
  ASSERT_TRUE(pool.authority().revoke(worker.key.id()));
  const std::string pem = pool.authority().revocation_list(wall_time_now()).value();
  ASSERT_TRUE(context->set_revocation_list(RevocationList::parse(pem, pool.authority().certificate()).value()));
  const auto refused = server.dial(TlsContext::create(worker).value());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::unauthorised);
  EXPECT_THAT(refused.error().message, HasSubstr("our certificate was revoked"));
  EXPECT_THAT(server.last_refusal().message, HasSubstr("was revoked"));
  EXPECT_EQ(server.accepted(), 1);
  EXPECT_EQ(context->set_revocation_list({}).error().code, ErrorCode::mismatch) << "an older list";
}

TEST(Endpoint, AClockThatIsWrongIsNamed) {
  PoolForTest pool;
  Server server(pool.context());
  const TlsIdentity worker = pool.peer();
  const auto slow = TlsContext::create(worker, [] { return wall_time_now() - WallTime(2 * kHour); });
  ASSERT_FALSE(slow) << "its own certificate has not begun by its own clock";
  EXPECT_THAT(slow.error().message, HasSubstr("the clocks differ by 2 h"));
  const auto fast = TlsContext::create(worker, [] { return wall_time_now() + WallTime(60 * kDay); }).value();
  EXPECT_TRUE(server.dial(fast)) << "inside all certificates' time";
}

TEST(Endpoint, PartsThatDoNotBelongTogether) {
  PoolForTest pool, other;
  TlsIdentity mixed = pool.peer();
  mixed.authority = other.authority().certificate();
  EXPECT_EQ(TlsContext::create(mixed).error().code, ErrorCode::mismatch);
  TlsIdentity wrong_key = pool.peer();
  wrong_key.key = PrivateKey::generate().value();
  EXPECT_EQ(TlsContext::create(wrong_key).error().code, ErrorCode::mismatch);
}

TEST(Endpoint, NobodyThereAndPortsInUse) {
  PoolForTest pool;
  Server server(pool.context());
  Reactor reactor;
  std::promise<Error> promise;
  std::shared_ptr<Endpoint> endpoint;
  reactor.run_and_wait([&] {
    endpoint = Endpoint::create(reactor, pool.context(), {});
    EXPECT_EQ(endpoint->listen(server.address(), nullptr, nullptr).error().code, ErrorCode::busy);
    EXPECT_EQ(endpoint->listen({"203.0.113.7", 0}, nullptr, nullptr).error().code, ErrorCode::unreachable);
    EXPECT_EQ(endpoint->listen({"not-an-ip", 0}, nullptr, nullptr).error().code, ErrorCode::unreachable);
    endpoint->dial({"127.0.0.1", 1}, {}, Seconds(10), [&](auto stream) { promise.set_value(stream.error()); });
  });
  EXPECT_EQ(promise.get_future().get().code, ErrorCode::unreachable);
  reactor.run_and_wait([&] {
    endpoint->close();
    endpoint.reset();
  });
}

// What the openssl command says when it connects; it ends by itself, since its input is empty and it is refused.
std::string s_client(const Address& address, const std::string& arguments) {
  const std::string command =
      "sleep 0.5 | timeout 20 openssl s_client -connect " + address.to_string() + " " + arguments + " 2>&1";
  FILE* pipe = popen(command.c_str(), "r");
  SUANLI_CHECK(pipe != nullptr);
  std::string text;
  char buffer[4096];
  for (std::size_t count = 0; (count = fread(buffer, 1, sizeof buffer, pipe)) > 0;) text.append(buffer, count);
  pclose(pipe);
  return text;
}

class FromOutside : public testing::Test {
 protected:
  std::string with_identity(const TlsIdentity& identity) {
    const std::string key = pool_.folder() / "outside.key", certificate = pool_.folder() / "outside.pem";
    SUANLI_CHECK(identity.key.save(key).has_value());
    SUANLI_CHECK(write_file_atomic(certificate, as_bytes(identity.certificate.pem())).has_value());
    return "-key " + key + " -cert " + certificate;
  }
  PoolForTest pool_;
  std::shared_ptr<TlsContext> context_ = pool_.context();
  Server server_{context_};
};

TEST_F(FromOutside, WithoutACertificateNobodyGetsIn) {
  EXPECT_THAT(s_client(server_.address(), ""), HasSubstr("alert certificate required"));
  EXPECT_EQ(server_.accepted(), 0);
  EXPECT_EQ(server_.refused(), 1);
}

TEST_F(FromOutside, ASelfSignedCertificateIsUnknown) {
  const std::string key = pool_.folder() / "self.key", certificate = pool_.folder() / "self.pem";
  const std::string make = "openssl req -x509 -newkey ed25519 -nodes -days 30 -subj /O=mypool/CN=me -keyout " + key + " -out " +
                           certificate + " 2>/dev/null";
  ASSERT_EQ(std::system(make.c_str()), 0);
  EXPECT_THAT(s_client(server_.address(), "-key " + key + " -cert " + certificate), testing::ContainsRegex("alert"));
  EXPECT_EQ(server_.accepted(), 0);
  EXPECT_EQ(server_.refused(), 1);
}

TEST_F(FromOutside, AnotherPoolsCertificateIsUnknown) {
  PoolForTest other;
  EXPECT_THAT(s_client(server_.address(), with_identity(other.peer())), HasSubstr("alert"));
  EXPECT_EQ(server_.accepted(), 0);
}

TEST_F(FromOutside, AnExpiredCertificateIsRefused) {
  const TlsIdentity old = pool_.peer(Role::worker, (Authority::kCertificateDays + 1) * kDay);
  EXPECT_THAT(s_client(server_.address(), with_identity(old)), HasSubstr("alert certificate expired"));
  EXPECT_THAT(server_.last_refusal().message, HasSubstr("expired at"));
  EXPECT_EQ(server_.accepted(), 0);
}

TEST_F(FromOutside, ARevokedCertificateIsRefused) {
  const TlsIdentity worker = pool_.peer();
  ASSERT_TRUE(pool_.authority().revoke(worker.key.id()));
  const std::string pem = pool_.authority().revocation_list(wall_time_now()).value();
  ASSERT_TRUE(context_->set_revocation_list(RevocationList::parse(pem, pool_.authority().certificate()).value()));
  EXPECT_THAT(s_client(server_.address(), with_identity(worker)), HasSubstr("alert certificate revoked"));
  EXPECT_EQ(server_.accepted(), 0);
}

TEST_F(FromOutside, OlderProtocolsAreRefused) {
  EXPECT_THAT(s_client(server_.address(), "-tls1_2 " + with_identity(pool_.peer())), HasSubstr("alert protocol version"));
  EXPECT_EQ(server_.accepted(), 0);
}

TEST_F(FromOutside, TheSameCommandWithAGoodCertificateGetsIn) {
  const std::string ca = pool_.folder() / "ca/authority.pem";
  const std::string said = s_client(server_.address(), "-verify_return_error -CAfile " + ca + " " + with_identity(pool_.peer()));
  EXPECT_THAT(said, HasSubstr("Verification: OK"));
  EXPECT_THAT(said, HasSubstr("TLSv1.3"));
  EXPECT_EQ(server_.accepted(), 1) << said;
}

TEST_F(FromOutside, PlainTextAndSilenceCostNobodyElseAnything) {
  EndpointOptions options;
  options.most_handshakes = 8;
  options.handshake_deadline = Seconds(60);
  Server server(pool_.context(), options);
  const std::string port = std::to_string(server.address().port);
  // Twenty that connect and say nothing, while one sends what is no TLS.
  const std::string silent = "for i in {1..20}; do (exec 3<>/dev/tcp/127.0.0.1/" + port +
                             "; sleep 3) & done; (echo 'GET / HTTP/1.0' >/dev/tcp/127.0.0.1/" + port + "); sleep 0.5";
  const std::string command = "bash -c \"" + silent + "\"";
  ASSERT_EQ(std::system(command.c_str()), 0);
  EXPECT_TRUE(server.dial(pool_.context()));
  EXPECT_EQ(server.accepted(), 1);
}

TEST_F(FromOutside, ASilentPeerIsDroppedAtTheDeadline) {
  EndpointOptions options;
  options.handshake_deadline = Seconds(0.05);
  Server server(pool_.context(), options);
  const std::string command =
      "bash -c \"exec 3<>/dev/tcp/127.0.0.1/" + std::to_string(server.address().port) + "; timeout 20 cat <&3 >/dev/null\"";
  EXPECT_EQ(std::system(command.c_str()), 0) << "the server closes, cat ends by itself";
  EXPECT_EQ(server.last_refusal().code, ErrorCode::timed_out);
}

}  // namespace
}  // namespace suanli::net
