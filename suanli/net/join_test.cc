// Joining over the network: what a machine with a token gets, and what everybody else gets, from inside and from outside.
#include "suanli/net/join.h"

#include <gmock/gmock.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "suanli/base/clock.h"
#include "suanli/net/join_tls.h"
#include "suanli/net/openssl.h"
#include "suanli/net/two_nodes_for_test.h"

namespace suanli::net {
namespace {

using testing::HasSubstr;
using testing::Not;

Result<Certificate> admit_by(Authority& authority, const JoinAttempt& attempt) {
  return authority.admit(attempt.request.token_id, attempt.request.secret, attempt.request.request, wall_time_now());
}

// A coordinator with an open door on loopback.
class Joining : public testing::Test {
 protected:
  explicit Joining(JoinDoorOptions options = {}) : coordinator_(std::make_unique<Node>(context_, NodeOptions())) {
    address_ = coordinator_
                   ->listen({"127.0.0.1", 0}, [this](std::shared_ptr<Link>) { ++links_; }, [this](const Error&) { ++refused_; })
                   .value();
    open(std::move(options));
  }
  void open(JoinDoorOptions options) {
    coordinator_->open_door(
        [this](const JoinAttempt& attempt) {
          ++asked_;
          return admit_by(pool_.authority(), attempt);
        },
        std::move(options));
  }
  JoinToken token(std::int64_t uses = 100, WallTime now = wall_time_now()) {
    return pool_.authority().make_token({.address = address_, .uses = uses}, now).value();
  }
  Error refusal(const JoinToken& token, JoinFacts facts = {}) {
    const auto joined = join_pool(token, key_, std::move(facts), Seconds(30));
    SUANLI_CHECK(!joined);
    EXPECT_FALSE(joined.error().next_step.empty());
    EXPECT_THAT(joined.error().to_string(), Not(HasSubstr(token.secret)));
    EXPECT_THAT(joined.error().to_string(), HasSubstr(token.address.to_string()));
    return joined.error();
  }

  PoolForTest pool_;
  std::shared_ptr<TlsContext> context_ = pool_.context(Role::coordinator);
  PrivateKey key_ = PrivateKey::generate().value();
  std::atomic<int> links_ = 0, refused_ = 0, asked_ = 0;
  Address address_;
  std::unique_ptr<Node> coordinator_;
};

TEST_F(Joining, AMachineWithATokenJoinsAndConnects) {
  const auto joined = join_pool(token(), key_, {}, Seconds(30));
  ASSERT_TRUE(joined) << joined.error().to_string();
  EXPECT_EQ(joined->own.key(), key_.id());
  EXPECT_EQ(joined->own.role(), Role::worker);
  EXPECT_EQ(joined->authority.fingerprint(), pool_.authority().certificate().fingerprint());
  EXPECT_EQ(links_, 0) << "joining is no link";

  Node worker(TlsContext::create({joined->authority, joined->own, key_}).value(), {});
  Awaited<Result<std::shared_ptr<Link>>> connected;
  worker.connect(address_, {std::nullopt, Role::coordinator}, Seconds(30), connected.callback());
  EXPECT_TRUE(connected.get());
}

TEST_F(Joining, ManyAtOnceFromOneAddress) {
  const JoinToken each = token(40);
  std::atomic<int> joined = 0;
  std::vector<std::thread> machines;
  for (int i = 0; i < 24; ++i)
    machines.emplace_back(
        [&] { joined += join_pool(each, PrivateKey::generate().value(), {}, Seconds(60)).has_value() ? 1 : 0; });
  for (std::thread& machine : machines) machine.join();
  EXPECT_EQ(joined, 24);
}

TEST_F(Joining, TokensThatDoNotHoldAreNamed) {
  JoinToken wrong = token();
  wrong.secret[0] = wrong.secret[0] == '0' ? '1' : '0';
  EXPECT_EQ(refusal(wrong).code, ErrorCode::unauthorised);
  EXPECT_THAT(refusal(wrong).message, HasSubstr("not known to this pool"));
  JoinToken unknown = token();
  unknown.id = std::string(16, '0');
  EXPECT_THAT(refusal(unknown).message, HasSubstr("not known to this pool"));
  EXPECT_THAT(refusal(token(100, wall_time_now() - WallTime(2 * kDay))).message, HasSubstr("expired at"));
  const JoinToken once = token(1);
  ASSERT_TRUE(join_pool(once, PrivateKey::generate().value(), {}, Seconds(30)));
  EXPECT_THAT(refusal(once).message, HasSubstr("as many machines as it was made for"));
  const JoinToken revoked = token();
  ASSERT_TRUE(pool_.authority().revoke_token(revoked.id));
  EXPECT_THAT(refusal(revoked).message, HasSubstr("was revoked"));
}

TEST_F(Joining, AnotherPoolIsToldNothing) {
  PoolForTest other;
  JoinToken foreign = other.authority().make_token({.address = address_}, wall_time_now()).value();
  const Error error = refusal(foreign);
  EXPECT_EQ(error.code, ErrorCode::unauthorised);
  EXPECT_THAT(error.message, HasSubstr("but the token was made by " + foreign.authority.hex().substr(0, 16)));
  EXPECT_EQ(asked_, 0);
}

TEST_F(Joining, AWorkerOfThePoolIsNotItsDoor) {
  Node worker(pool_.context(Role::worker), {});
  JoinToken token_for_worker = token();
  token_for_worker.address = worker.listen({"127.0.0.1", 0}, [](std::shared_ptr<Link>) {}).value();
  const Error closed = refusal(token_for_worker);
  EXPECT_THAT(closed.message, HasSubstr("takes no joining machines"));
  // Even a worker that opens a door hears no secret.
  std::atomic<int> heard = 0;
  worker.open_door([&](const JoinAttempt&) -> Result<Certificate> {
    ++heard;
    return fail(ErrorCode::unauthorised, "caught");
  });
  EXPECT_THAT(refusal(token_for_worker).message, HasSubstr("is not the pool's coordinator"));
  EXPECT_EQ(heard, 0);
}

TEST_F(Joining, AClockThatIsOffIsToldByHowMuch) {
  const JoinToken each = token();
  JoinFacts fast;
  fast.clock = [] { return wall_time_now() + WallTime(2 * kHour); };
  const Error ahead = refusal(each, fast);
  EXPECT_EQ(ahead.code, ErrorCode::unauthorised);
  EXPECT_THAT(ahead.message, HasSubstr("2 h"));
  EXPECT_THAT(ahead.message, HasSubstr("ahead of the pool's"));
  JoinFacts slow;
  slow.clock = [] { return wall_time_now() - WallTime(10 * kMinute); };
  EXPECT_THAT(refusal(each, slow).message, HasSubstr("behind the pool's"));
  EXPECT_EQ(asked_, 0) << "nothing was used up";
  slow.clock = [] { return wall_time_now() - WallTime(4 * kMinute); };
  EXPECT_TRUE(join_pool(each, key_, slow, Seconds(30)));
}

TEST_F(Joining, WrongAddressesAreNamed) {
  JoinToken nowhere = token();
  nowhere.address = {"127.0.0.1", 1};
  EXPECT_EQ(refusal(nowhere).code, ErrorCode::unreachable);
  // Something that listens and says nothing.
  const int silent = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in place{};
  place.sin_family = AF_INET;
  place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof place;
  ASSERT_EQ(bind(silent, reinterpret_cast<sockaddr*>(&place), sizeof place), 0);
  ASSERT_EQ(listen(silent, 4), 0);
  ASSERT_EQ(getsockname(silent, reinterpret_cast<sockaddr*>(&place), &size), 0);
  nowhere.address.port = ntohs(place.sin_port);
  const auto waited = join_pool(nowhere, key_, {}, Seconds(0.3));
  ASSERT_FALSE(waited);
  EXPECT_EQ(waited.error().code, ErrorCode::timed_out);
  close(silent);
}

TEST_F(Joining, ARevokedMachineStaysOut) {
  const JoinToken each = token();
  ASSERT_TRUE(join_pool(each, key_, {}, Seconds(30)));
  ASSERT_TRUE(pool_.authority().revoke(key_.id()));
  EXPECT_THAT(refusal(each).message, HasSubstr("was revoked"));
}

TEST_F(Joining, AClosedDoorStaysClosed) {
  coordinator_->close_door();
  EXPECT_THAT(refusal(token()).message, HasSubstr("takes no joining machines"));
  EXPECT_EQ(asked_, 0);
}

TEST_F(Joining, TheAuthorityMayHaveItsOwnThread) {
  std::vector<std::thread> threads;
  JoinDoorOptions options;
  options.executor = [&](std::function<void()> work) { threads.emplace_back(std::move(work)); };
  open(options);
  EXPECT_TRUE(join_pool(token(), key_, {}, Seconds(30)));
  EXPECT_EQ(threads.size(), 1U);
  for (std::thread& thread : threads) thread.join();
}

TEST_F(Joining, AnAnswerThatComesAfterTheNodeHasEndedHarmsNobody) {
  std::function<void()> late;
  JoinDoorOptions options;
  std::atomic<bool> there = false;
  options.executor = [&](std::function<void()> work) {
    late = std::move(work);
    there = true;
  };
  open(options);
  std::thread machine([&] { EXPECT_FALSE(join_pool(token(), key_, {}, Seconds(30))); });
  while (!there) real_clock().sleep_for(Seconds(0.005));
  coordinator_.reset();
  machine.join();
  late();
}

TEST_F(Joining, GuessesHaveALimitPerAddressAndInAll) {
  JoinDoorOptions options;
  options.limits = {.burst_per_address = 3, .burst_in_all = 100, .each_per_address = Seconds(1e6), .each_in_all = Seconds(1e6)};
  open(options);
  JoinToken guess = token();
  guess.secret = std::string(32, '0');
  for (int i = 0; i < 3; ++i) EXPECT_EQ(refusal(guess).code, ErrorCode::unauthorised);
  const Error limited = refusal(guess);
  EXPECT_EQ(limited.code, ErrorCode::busy);
  EXPECT_THAT(limited.next_step, HasSubstr("try again in"));
  EXPECT_EQ(asked_, 3);
  EXPECT_EQ(refusal(token()).code, ErrorCode::busy) << "a good token waits too: a right guess must not show";
}

// OpenSSL's client, driven by hand: what a machine without a certificate can do to the door and through it.
class Outsider {
 public:
  explicit Outsider(const Address& address, bool asks_to_join = true) {
    fd_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in place{};
    place.sin_family = AF_INET;
    place.sin_port = htons(address.port);
    place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    SUANLI_CHECK(connect(fd_, reinterpret_cast<sockaddr*>(&place), sizeof place) == 0);
    context_.reset(SSL_CTX_new(TLS_client_method()));
    tls_.reset(SSL_new(context_.get()));
    std::string protocol = kJoinProtocol;
    protocol.insert(protocol.begin(), static_cast<char>(protocol.size()));
    if (asks_to_join)
      SUANLI_CHECK(SSL_set_alpn_protos(tls_.get(), reinterpret_cast<const unsigned char*>(protocol.data()),
                                       static_cast<unsigned>(protocol.size())) == 0);
    SUANLI_CHECK(SSL_set_fd(tls_.get(), fd_) == 1);
    connected_ = SSL_connect(tls_.get()) == 1;
  }
  ~Outsider() { close(fd_); }
  bool connected() const { return connected_; }
  void say(const std::string& bytes) { (void)SSL_write(tls_.get(), bytes.data(), static_cast<int>(bytes.size())); }
  // All until the other side closes.
  std::string hear() {
    std::string heard;
    char buffer[4096];
    for (int count = 0; (count = SSL_read(tls_.get(), buffer, sizeof buffer)) > 0;)
      heard.append(buffer, static_cast<std::size_t>(count));
    return heard;
  }
  void hear_opening() {
    char byte = 0;
    SUANLI_CHECK(SSL_read(tls_.get(), &byte, 1) == 1);
  }
  // The answer behind the opening.
  JoinAnswer answer() {
    const std::string heard = hear();
    const auto bytes = std::as_bytes(std::span(heard));
    SUANLI_CHECK(heard.size() > 2 * kJoinHeaderBytes);
    const std::size_t opening = parse_join_header(bytes.first<kJoinHeaderBytes>(), kMostOpeningBytes).value() + kJoinHeaderBytes;
    return parse_answer(bytes.subspan(opening + kJoinHeaderBytes)).value();
  }

 private:
  openssl::Context context_;
  openssl::Connection tls_;
  int fd_ = -1;
  bool connected_ = false;
};

// A door whose deadline comes soon, for those who wait for it.
class HostileJoiner : public Joining {
 protected:
  HostileJoiner() : Joining({.deadline = Seconds(1)}) {}
  void expect_that_others_join() { EXPECT_TRUE(join_pool(token(), PrivateKey::generate().value(), {}, Seconds(60))); }
};

TEST_F(HostileJoiner, WithoutACertificateAndWithoutAskingNobodyGetsPastTls) {
  Outsider outsider(address_, false);
  outsider.say("hello");
  EXPECT_EQ(outsider.hear(), "");
  EXPECT_EQ(links_, 0);
  EXPECT_EQ(asked_, 0);
  while (refused_ == 0) real_clock().sleep_for(Seconds(0.005));
}

TEST_F(HostileJoiner, TheDoorLeadsNowhereElse) {
  // A greeting, as a peer with a certificate would say it, on a connection that asked to join.
  Outsider outsider(address_);
  ASSERT_TRUE(outsider.connected());
  outsider.say(encode(Hello{.streams = 1}));
  const JoinAnswer answer = outsider.answer();
  ASSERT_TRUE(answer.refusal);
  EXPECT_EQ(answer.refusal->code, ErrorCode::protocol);
  EXPECT_EQ(links_, 0);
  EXPECT_EQ(asked_, 0);
  expect_that_others_join();
}

TEST_F(HostileJoiner, OneThingIsSaidAndNoMore) {
  JoinRequest request{wall_time_now(), kProtocolVersion, std::string(16, '0'), std::string(32, '0'), "no request", "outsider"};
  Outsider outsider(address_);
  std::string many;
  for (int i = 0; i < 50; ++i) many += encode(request);
  outsider.say(many);
  outsider.hear();
  expect_that_others_join();
  EXPECT_EQ(asked_, 2) << "one of fifty, and the honest one";
}

TEST_F(HostileJoiner, LengthsAreCheckedBeforeAnythingIsReserved) {
  std::string huge = encode(JoinRequest{wall_time_now(), 1, std::string(16, '0'), std::string(32, '0'), {}, {}});
  huge.replace(8, 4, "\xFF\xFF\xFF\x7F");
  Outsider outsider(address_);
  outsider.say(huge);
  EXPECT_THAT(outsider.answer().refusal->message, HasSubstr("allowed are 8192"));
  std::string other = huge;
  other[4] = 9;
  Outsider newer(address_);
  newer.say(other);
  EXPECT_EQ(newer.answer().refusal->code, ErrorCode::version);
  EXPECT_EQ(asked_, 0);
}

TEST_F(HostileJoiner, ADoorThatIsLookedAtAndLeftCostsNobodyAnything) {
  std::vector<std::unique_ptr<Outsider>> silent;
  for (int i = 0; i < 60; ++i) silent.push_back(std::make_unique<Outsider>(address_));  // more than may be open from here
  for (const auto& each : silent) each->hear();                                        // until the deadline
  expect_that_others_join();
  EXPECT_EQ(asked_, 1);
}

TEST_F(HostileJoiner, OneAddressKeepsOnlySoManyOpen) {
  open({.deadline = Seconds(200), .most_open_per_address = 3});
  std::vector<std::unique_ptr<Outsider>> silent;
  for (int i = 0; i < 3; ++i) silent.push_back(std::make_unique<Outsider>(address_));
  for (auto& each : silent) each->hear_opening();
  Outsider more(address_);
  EXPECT_EQ(more.answer().refusal->code, ErrorCode::busy);
  silent.clear();
  while (!join_pool(token(), PrivateKey::generate().value(), {}, Seconds(60))) real_clock().sleep_for(Seconds(0.05));
}

TEST_F(HostileJoiner, AnotherVersionOfTheProtocolIsToldBoth) {
  Outsider outsider(address_);
  outsider.say(encode(JoinRequest{wall_time_now(), 7, std::string(16, '0'), std::string(32, '0'), "x", "old"}));
  const JoinAnswer answer = outsider.answer();
  ASSERT_TRUE(answer.refusal);
  EXPECT_EQ(answer.refusal->code, ErrorCode::version);
  EXPECT_THAT(answer.refusal->message, HasSubstr("version 7 of the protocol, the pool version 1"));
}

TEST_F(HostileJoiner, ADoorByTheClockOfALiarSpendsNoToken) {
  Outsider outsider(address_);
  const JoinToken each = token();
  outsider.say(encode(JoinRequest{WallTime(0), kProtocolVersion, each.id, each.secret, make_request(key_).value(), {}}));
  EXPECT_THAT(outsider.answer().refusal->message, HasSubstr("behind the pool's"));
  EXPECT_EQ(asked_, 0);
}

// The plain command, which names the protocol and has no certificate.
TEST_F(HostileJoiner, TheOpensslCommandHearsTheOpeningAndNothingElse) {
  const std::string command = "sleep 0.3 | timeout 20 openssl s_client -alpn " + std::string(kJoinProtocol) + " -connect " +
                              address_.to_string() + " 2>&1";
  FILE* pipe = popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::string said;
  char buffer[4096];
  for (std::size_t count = 0; (count = fread(buffer, 1, sizeof buffer, pipe)) > 0;) said.append(buffer, count);
  pclose(pipe);
  EXPECT_THAT(said, HasSubstr("ALPN protocol: suanli-join/1"));
  EXPECT_THAT(said, HasSubstr("No client certificate CA names sent"));
  EXPECT_EQ(links_, 0);
  EXPECT_EQ(asked_, 0);
}

TEST(JoinLimit, AttemptsAreSpentRefilledAndGivenBack) {
  JoinLimit limit({.burst_per_address = 2, .burst_in_all = 3, .each_per_address = Seconds(10), .each_in_all = Seconds(1)});
  EXPECT_TRUE(limit.spend("a", Seconds(0)));
  EXPECT_TRUE(limit.spend("a", Seconds(0)));
  EXPECT_EQ(limit.spend("a", Seconds(0)).error().code, ErrorCode::busy);
  EXPECT_TRUE(limit.spend("b", Seconds(0)));
  EXPECT_EQ(limit.spend("c", Seconds(0)).error().code, ErrorCode::busy) << "in all";
  EXPECT_TRUE(limit.spend("c", Seconds(1)));
  EXPECT_FALSE(limit.spend("a", Seconds(9)));
  EXPECT_TRUE(limit.spend("a", Seconds(10.5)));
  limit.give_back("a");
  EXPECT_TRUE(limit.spend("a", Seconds(10.5)));
}

TEST(JoinLimit, AddressesAreForgottenBeforeTheyAreTooMany) {
  JoinLimit limit({.burst_per_address = 2, .burst_in_all = 1e9, .each_per_address = Seconds(1e9), .each_in_all = Seconds(1e9)});
  for (std::size_t i = 0; i < JoinLimit::kMostAddresses + 100; ++i) ASSERT_TRUE(limit.spend(std::to_string(i), Seconds(0)));
  EXPECT_LE(limit.addresses(), JoinLimit::kMostAddresses);
}

TEST(JoinLimit, WhoHoldsANetworkIsOneAddress) {
  EXPECT_EQ(join_limit_key("10.1.2.3"), "10.1.2.3");
  EXPECT_EQ(join_limit_key("::ffff:10.1.2.3"), "10.1.2.3");
  EXPECT_EQ(join_limit_key("2001:db8:1:2:3:4:5:6"), join_limit_key("2001:db8:1:2::9"));
  EXPECT_NE(join_limit_key("2001:db8:1:3::1"), join_limit_key("2001:db8:1:2::1"));
}

}  // namespace
}  // namespace suanli::net
