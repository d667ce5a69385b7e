// Links through a relay, over real sockets: what the two ends get, what the relay gets, and what it refuses.
#include "suanli/net/relay.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "suanli/base/clock.h"
#include "suanli/base/philox.h"
#include "suanli/net/two_nodes_for_test.h"

namespace suanli::net {
namespace {

using testing::HasSubstr;

// A relay that listens, and two workers that only dial.
class Relayed : public testing::Test {
 protected:
  Relayed() {
    address_ = relay_->listen({"127.0.0.1", 0}, [](std::shared_ptr<Link>) {}, [this](const Error&) { ++refused_; }).value();
    one_ = std::make_unique<Node>(TlsContext::create(first_).value(), NodeOptions());
    other_ = std::make_unique<Node>(other_context_, NodeOptions());
    other_->accept_relayed([this](std::shared_ptr<Link> link) {
      if (const auto call = std::exchange(on_arrival_, nullptr)) call(std::move(link));
    });
  }
  // The other worker's own link to the relay, over which it is called.
  std::shared_ptr<Link> connect_other() {
    Awaited<Result<std::shared_ptr<Link>>> connected;
    other_->connect(address_, {}, Seconds(60), connected.callback());
    auto link = connected.get().value();
    while (relay_->links() == 0) real_clock().sleep_for(Seconds(0.005));
    return link;
  }
  Result<std::shared_ptr<Link>> through(const PeerId& peer, Seconds deadline = Seconds(60)) {
    Awaited<Result<std::shared_ptr<Link>>> connected;
    one_->connect_through(address_, {}, peer, "it is behind a router", deadline, connected.callback());
    return connected.get();
  }
  LinkPair pair() {
    Awaited<std::shared_ptr<Link>> arrived;
    other_->reactor().run_and_wait([&] { on_arrival_ = arrived.callback(); });
    auto link = through(second_.key.id());
    SUANLI_CHECK(link.has_value());
    return {*link, arrived.get()};
  }

  PoolForTest pool_;
  TlsIdentity first_ = pool_.peer(), second_ = pool_.peer(), middle_ = pool_.peer(Role::coordinator);
  std::shared_ptr<TlsContext> relay_context_ = TlsContext::create(middle_).value();
  std::shared_ptr<TlsContext> other_context_ = TlsContext::create(second_).value();
  std::atomic<int> refused_ = 0;
  std::function<void(std::shared_ptr<Link>)> on_arrival_;
  Address address_;
  std::unique_ptr<Node> relay_ = std::make_unique<Node>(relay_context_, NodeOptions());
  std::unique_ptr<Node> one_, other_;
};

TEST_F(Relayed, ALinkThroughARelayIsALinkLikeAnyOther) {
  relay_->allow_relay({});
  const auto own = connect_other();
  const LinkPair links = pair();
  EXPECT_EQ(links.dialler->peer().key(), second_.key.id());
  EXPECT_EQ(links.listener->peer().key(), first_.key.id());
  for (const auto& link : {links.dialler, links.listener}) {
    ASSERT_TRUE(link->via());
    EXPECT_EQ(link->via()->relay, middle_.key.id());
    EXPECT_EQ(link->via()->reason, "it is behind a router");
  }
  EXPECT_FALSE(own->via());
  const Philox random(3, Stream::test);
  std::vector<std::byte> data(5'000'000), buffer(data.size());
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = std::byte(random.bits(i));
  ASSERT_TRUE(send_and_wait(*links.dialler, *links.listener, {1, 1}, data, buffer));
  EXPECT_EQ(data, buffer);
  std::ranges::fill(buffer, std::byte{0});
  ASSERT_TRUE(send_and_wait(*links.listener, *links.dialler, {1, 2}, data, buffer));
  EXPECT_EQ(data, buffer);
  const RelayMeasures measures = relay_->relay_measures();
  EXPECT_EQ(measures.spliced, 3U) << "control and two for data";
  EXPECT_GT(measures.carried, Bytes(10'000'000));

  links.dialler->close();
  while (!links.listener->is_closed()) real_clock().sleep_for(Seconds(0.005));
  while (relay_->relay_measures().spliced > 0) real_clock().sleep_for(Seconds(0.005));
  EXPECT_EQ(relay_->relay_measures().ever, 3);
  EXPECT_FALSE(own->is_closed());
}

TEST_F(Relayed, MuchAtOnceBothWaysThroughSmallBuffers) {
  relay_->allow_relay({});
  const auto own = connect_other();
  const LinkPair links = pair();
  constexpr int kTensors = 12;
  std::vector<std::vector<std::byte>> sent, received;
  std::vector<Awaited<Result<Bytes>>> ended(2 * kTensors);
  for (int i = 0; i < 2 * kTensors; ++i) {
    sent.emplace_back(700'000 + i, std::byte(i));
    received.emplace_back(sent.back().size());
  }
  for (int i = 0; i < 2 * kTensors; ++i) {
    Link& from = i % 2 == 0 ? *links.dialler : *links.listener;
    Link& to = i % 2 == 0 ? *links.listener : *links.dialler;
    const auto at = static_cast<std::size_t>(i);
    to.receive({7, at}, received[at], {}, ended[at].callback());
    from.send({7, at}, sent[at], {}, [](const Result<Bytes>&) {});
  }
  for (auto& each : ended) EXPECT_TRUE(each.get());
  EXPECT_EQ(sent, received);
}

TEST_F(Relayed, WhoIsNoRelaySaysSo) {
  const auto own = connect_other();
  const auto refused = through(second_.key.id());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::unsupported);
  EXPECT_THAT(refused.error().message, HasSubstr("no relay"));
}

TEST_F(Relayed, APeerThatIsNotThereIsNamed) {
  relay_->allow_relay({});
  const auto refused = through(second_.key.id());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::unreachable);
  EXPECT_THAT(refused.error().message, HasSubstr("no link to peer " + second_.key.id().short_text()));
  EXPECT_EQ(relay_->relay_measures().waiting, 0U);
}

TEST_F(Relayed, WhoMayNotIsRefused) {
  RelayOptions options;
  options.allow = [](const PeerId&, const PeerId&) { return false; };
  relay_->allow_relay(options);
  const auto own = connect_other();
  EXPECT_EQ(through(second_.key.id()).error().code, ErrorCode::unauthorised);
}

TEST_F(Relayed, APeerThatTakesNoneSaysSo) {
  relay_->allow_relay({});
  const TlsIdentity shy = pool_.peer();
  Node node(TlsContext::create(shy).value(), {});
  Awaited<Result<std::shared_ptr<Link>>> connected;
  node.connect(address_, {}, Seconds(60), connected.callback());
  ASSERT_TRUE(connected.get());
  while (relay_->links() == 0) real_clock().sleep_for(Seconds(0.005));
  const auto refused = through(shy.key.id());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::unsupported);
  EXPECT_THAT(refused.error().message, HasSubstr("takes no links through relays"));
}

TEST_F(Relayed, TheLimitPerPeerHolds) {
  RelayOptions options;
  options.most_streams_per_peer = 4;
  relay_->allow_relay(options);
  const auto own = connect_other();
  const LinkPair first = pair();  // three streams
  const auto second = through(second_.key.id());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::busy);
  EXPECT_FALSE(first.dialler->is_closed());
}

TEST_F(Relayed, RevokedPeersLoseWhatTheRelayLeads) {
  relay_->allow_relay({});
  const auto own = connect_other();
  const LinkPair links = pair();
  ASSERT_TRUE(pool_.authority().revoke(first_.key.id()));
  const std::string pem = pool_.authority().revocation_list(wall_time_now()).value();
  ASSERT_TRUE(relay_->set_revocation_list(RevocationList::parse(pem, pool_.authority().certificate()).value()));
  EXPECT_EQ(relay_->relay_measures().spliced, 0U);
  while (!links.listener->is_closed()) real_clock().sleep_for(Seconds(0.005));
  EXPECT_FALSE(own->is_closed());
}

TEST_F(Relayed, ARelayThatEndsTakesItsLinksWithIt) {
  relay_->allow_relay({});
  const auto own = connect_other();
  const LinkPair links = pair();
  relay_.reset();
  while (!links.listener->is_closed() || !links.dialler->is_closed()) real_clock().sleep_for(Seconds(0.005));
}

// A stream to the relay that says a call by hand.
std::string said_to(const Address& address, std::shared_ptr<TlsContext> context, const std::string& frame) {
  Reactor reactor;
  std::shared_ptr<Endpoint> endpoint;
  std::shared_ptr<TlsStream> stream;
  std::string heard;
  Awaited<bool> ended;
  std::function<void()> read;
  reactor.run_and_wait([&] {
    endpoint = Endpoint::create(reactor, std::move(context), {});
    read = [&, done = ended.callback()] {
      std::byte buffer[4096];
      while (true) {
        const auto count = stream->read_some(buffer);
        if (!count) return done(true);
        if (*count == 0) return stream->when_readable(read);
        heard.append(reinterpret_cast<const char*>(buffer), *count);
      }
    };
    endpoint->dial(address, {}, Seconds(60), [&](Result<std::shared_ptr<TlsStream>> dialled) {
      stream = dialled.value();
      (void)stream->write_some(std::as_bytes(std::span(frame)));
      read();
    });
  });
  ended.get();
  reactor.run_and_wait([&] {
    read = nullptr;
    stream->close();
    endpoint->close();
    stream.reset();
    endpoint.reset();
  });
  return heard;
}

TEST_F(Relayed, ATicketIsGoodForThePeerThatWasCalledAlone) {
  // The peer that is called never calls back: its ticket is there to be stolen.
  RelayOptions options;
  options.deadline = Seconds(3);
  relay_->allow_relay(options);
  const auto own = connect_other();
  other_->reactor().run_and_wait([&] { own->serve(Subject::relay, [](const std::string&, LinkService::Reply) {}); });
  RelayCall call{.peer = second_.key.id()};
  call.ticket[0] = std::byte{5};
  std::thread caller([&] {
    EXPECT_THAT(said_to(address_, TlsContext::create(first_).value(), encode(call)), HasSubstr("did not call the relay back"));
  });
  while (relay_->relay_measures().waiting == 0) real_clock().sleep_for(Seconds(0.005));
  RelayCall stolen = call;
  stolen.is_answer = true;
  stolen.peer = first_.key.id();
  EXPECT_THAT(said_to(address_, pool_.context(), encode(stolen)), HasSubstr("nobody waits"));
  caller.join();
  EXPECT_EQ(relay_->relay_measures().ever, 0);
}

TEST_F(Relayed, APeerCannotCallItself) {
  relay_->allow_relay({});
  const auto own = connect_other();
  EXPECT_THAT(said_to(address_, other_context_, encode(RelayCall{.peer = second_.key.id()})), HasSubstr("no link to peer"));
}

TEST_F(Relayed, ARelayCannotPretendToBeThePeer) {
  // A peer of the pool that says yes to every call and answers the TLS behind it itself.
  Reactor reactor;
  std::shared_ptr<Endpoint> endpoint;
  std::vector<std::shared_ptr<TlsStream>> streams;
  std::vector<std::shared_ptr<Greeting>> greetings;
  Address address;
  const auto context = pool_.context();
  reactor.run_and_wait([&] {
    endpoint = Endpoint::create(reactor, context, {});
    address = endpoint
                  ->listen(
                      {"127.0.0.1", 0},
                      [&](std::shared_ptr<TlsStream> stream) {
                        greetings.push_back(std::make_shared<Greeting>(reactor, stream));
                        greetings.back()->start(std::nullopt, Seconds(60), [&, stream](Result<Greeting::Heard> heard) {
                          Greeting::write_short(*stream, encode(std::get<RelayCall>(heard.value())));
                          streams.push_back(TlsStream::create_over(reactor, context, stream, {.is_server = true}, "victim"));
                          streams.back()->handshake(Seconds(60), [](const Status&) {});
                        });
                      },
                      nullptr)
                  .value();
  });
  Awaited<Result<std::shared_ptr<Link>>> connected;
  one_->connect_through(address, {}, second_.key.id(), "why", Seconds(60), connected.callback());
  const auto refused = connected.get();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::unauthorised);
  EXPECT_THAT(refused.error().message, HasSubstr("was expected"));
  reactor.run_and_wait([&] {
    endpoint->close();
    for (const auto& greeting : greetings) greeting->close();
    for (const auto& stream : streams) stream->close();
    greetings.clear();
    streams.clear();
    endpoint.reset();
  });
}

}  // namespace
}  // namespace suanli::net
