// A peer with a good certificate and bad manners: garbage, silence, enormous announcements, too many connections. Each costs it
// its own link, and nobody else anything: an honest link to the same node works on, and memory does not grow.
#include <gmock/gmock.h>

#include <atomic>

#include "suanli/base/clock.h"
#include "suanli/base/philox.h"
#include "suanli/base/system.h"
#include "suanli/net/two_nodes_for_test.h"

namespace suanli::net {
namespace {

using testing::HasSubstr;

// A stream that says what the test wants.
class RawStream {
 public:
  RawStream(std::shared_ptr<TlsContext> context, const Address& address) {
    Awaited<Result<std::shared_ptr<TlsStream>>> dialled;
    reactor_.run_and_wait([&] {
      endpoint_ = Endpoint::create(reactor_, std::move(context), {});
      endpoint_->dial(address, {}, Seconds(30), dialled.callback());
    });
    // The only reference from here on: the promise's goes with `dialled`.
    stream_ = dialled.get().value();
  }
  ~RawStream() {
    reactor_.run_and_wait([&] {
      stream_->close();
      endpoint_->close();
      // What belongs to the reactor ends before it, on its thread.
      stream_.reset();
      endpoint_.reset();
    });
  }

  // Writes all, or until the peer closes.
  void say(std::string bytes) {
    Awaited<bool> written;
    auto rest = std::make_shared<std::string>(std::move(bytes));
    reactor_.run_and_wait([&] { write(rest, written.callback()); });
    written.get();
  }
  // Waits for the end that the other side makes; what it said as frames' bytes.
  std::string hear_the_end() {
    Awaited<bool> ended;
    reactor_.run_and_wait([&] { read(ended.callback()); });
    ended.get();
    return heard_;
  }
  void hear(std::size_t bytes) {
    while (true) {
      std::size_t size = 0;
      reactor_.run_and_wait([&] {
        std::byte buffer[4096];
        while (true) {
          const auto count = stream_->read_some(buffer);
          if (!count || *count == 0) break;
          heard_.append(reinterpret_cast<const char*>(buffer), *count);
        }
        size = heard_.size();
      });
      if (size >= bytes) return;
      real_clock().sleep_for(Seconds(0.005));
    }
  }

 private:
  void write(const std::shared_ptr<std::string>& rest, const std::function<void(bool)>& done) {
    while (!rest->empty()) {
      const auto count = stream_->write_some(std::as_bytes(std::span(*rest)));
      if (!count) break;
      if (*count == 0) return stream_->when_writable([this, rest, done] { write(rest, done); });
      rest->erase(0, *count);
    }
    done(true);
  }
  void read(const std::function<void(bool)>& done) {
    std::byte buffer[4096];
    while (true) {
      const auto count = stream_->read_some(buffer);
      if (!count) return done(true);
      if (*count == 0) return stream_->when_readable([this, done] { read(done); });
      heard_.append(reinterpret_cast<const char*>(buffer), *count);
    }
  }

  std::string heard_;
  std::shared_ptr<Endpoint> endpoint_;
  std::shared_ptr<TlsStream> stream_;
  Reactor reactor_;  // ends first
};

// Deadlines that no busy machine can miss, for tests that are not about them.
NodeOptions patient() {
  NodeOptions options;
  options.greeting_deadline = options.link.silence = Seconds(100);
  options.link.ping_every = Seconds(0.1);
  return options;
}

NodeOptions quick_to_give_up() {
  NodeOptions options = patient();
  options.greeting_deadline = Seconds(3);
  options.link.silence = Seconds(4);
  return options;
}

class HostilePeer : public testing::Test {
 protected:
  explicit HostilePeer(const NodeOptions& options = patient())
      : nodes_(patient(), options, [this](Link&, bool is_dialler) {
          if (!is_dialler) ++arrived_;
        }) {
    honest_ = nodes_.connect();
  }

  std::unique_ptr<RawStream> raw() { return std::make_unique<RawStream>(hostile_, nodes_.address()); }

  // The control stream and one data stream of a link, greeted.
  std::pair<std::unique_ptr<RawStream>, std::unique_ptr<RawStream>> hostile_link() {
    const int before = arrived_;
    auto control = raw(), data = raw();
    Hello hello;
    hello.link[0] = std::byte(++links_);
    hello.streams = 1;
    control->say(encode(hello));
    hello.stream = 1;
    data->say(encode(hello));
    while (arrived_ == before) real_clock().sleep_for(Seconds(0.005));
    return {std::move(control), std::move(data)};
  }

  void expect_that_the_honest_link_works() {
    std::vector<std::byte> data(3'000'000, std::byte{7}), buffer(data.size());
    const auto there = send_and_wait(*honest_.dialler, *honest_.listener, {5, 5}, data, buffer, {Seconds(60)});
    ASSERT_TRUE(there) << there.error().to_string();
    EXPECT_EQ(data, buffer);
  }
  // The hostile links are gone, the honest one is there.
  void expect_one_link() {
    while (nodes_.listener().links() > 1) real_clock().sleep_for(Seconds(0.01));
    EXPECT_EQ(nodes_.listener().links(), 1U);
    EXPECT_FALSE(honest_.listener->is_closed());
  }

  std::atomic<int> arrived_ = 0;
  int links_ = 0;
  TwoNodes nodes_;
  LinkPair honest_;
  std::shared_ptr<TlsContext> hostile_ = nodes_.pool().context();
};

class HostilePeerAtADeadline : public HostilePeer {
 protected:
  HostilePeerAtADeadline() : HostilePeer(quick_to_give_up()) {}
};

std::string garbage(std::size_t size) {
  const Philox random(9, Stream::test);
  std::string bytes;
  for (std::size_t i = 0; i < size; ++i) bytes.push_back(static_cast<char>(random.bits(i)));
  return bytes;
}

TEST_F(HostilePeer, GarbageInsteadOfAGreeting) {
  const auto stream = raw();
  stream->say(garbage(100'000));
  stream->hear_the_end();
  expect_that_the_honest_link_works();
  expect_one_link();
}

TEST_F(HostilePeerAtADeadline, NoGreetingAtAll) {
  const auto stream = raw();
  stream->hear_the_end();
  expect_one_link();
}

TEST_F(HostilePeer, AnotherVersionIsToldBothVersions) {
  const auto stream = raw();
  Hello hello;
  hello.version = 9;
  hello.streams = 1;
  stream->say(encode(hello));
  EXPECT_THAT(stream->hear_the_end(), HasSubstr("version 9 of the protocol, this machine version 1"));
}

TEST_F(HostilePeer, GarbageOnEitherStreamOfALink) {
  for (const bool on_control : {true, false}) {
    auto [control, data] = hostile_link();
    (on_control ? control : data)->say(garbage(100'000));
    control->hear_the_end();
    data->hear_the_end();
    expect_that_the_honest_link_works();
    expect_one_link();
  }
}

TEST_F(HostilePeer, EnormousAnnouncementsReserveNothing) {
  const Bytes before = peak_resident();
  constexpr std::uint64_t kHuge = std::uint64_t{1} << 40;
  auto [control, data] = hostile_link();
  std::string grants;
  for (std::uint64_t i = 1; i <= kMostGrants; ++i) grants += encode(Grant{i, {i, i}, kHuge});
  control->say(grants);
  expect_that_the_honest_link_works();
  // One more than is allowed.
  control->say(encode(Grant{kMostGrants + 1, {}, kHuge}));
  EXPECT_THAT(control->hear_the_end(), HasSubstr("more buffers"));

  auto [second, chunks] = hostile_link();
  const auto prefix = encode_prefix({1, 0, kHuge, true});
  chunks->say(std::string(reinterpret_cast<const char*>(prefix.data()), prefix.size()));
  EXPECT_THAT(second->hear_the_end(), HasSubstr("never offered"));

  auto [third, header] = hostile_link();
  header->say(std::string("\x06\0\0\0\xFF\xFF\xFF\x7F", 8));
  EXPECT_THAT(third->hear_the_end(), HasSubstr("allowed are"));
  EXPECT_LT(peak_resident() - before, Bytes(64'000'000));
  expect_that_the_honest_link_works();
  expect_one_link();
}

TEST_F(HostilePeerAtADeadline, SilenceAfterTheGreetingLosesTheLink) {
  auto [control, data] = hostile_link();
  expect_that_the_honest_link_works();
  control->hear_the_end();
  expect_one_link();
}

TEST_F(HostilePeer, StallingInTheMiddleOfAChunkHoldsUpOnlyItself) {
  std::shared_ptr<Link> victim;
  Awaited<std::shared_ptr<Link>> arrived;
  Node listener(nodes_.pool().context(), patient());
  const Address address = listener.listen({"127.0.0.1", 0}, arrived.callback()).value();
  RawStream control(hostile_, address), data(hostile_, address);
  control.say(encode(Hello{.streams = 1}));
  data.say(encode(Hello{.stream = 1, .streams = 1}));
  victim = arrived.get();
  std::vector<std::byte> buffer(100'000);
  Awaited<Result<Bytes>> received;
  victim->receive({1, 1}, buffer, {Seconds(0.3)}, received.callback());
  listener.reactor().run_and_wait([] {});  // the buffer waits
  const auto prefix = encode_prefix({1, 0, buffer.size(), false});
  data.say(std::string(reinterpret_cast<const char*>(prefix.data()), prefix.size()) + std::string(500, 'x'));
  EXPECT_EQ(received.get().error().code, ErrorCode::timed_out);
  EXPECT_FALSE(victim->is_closed());
  expect_that_the_honest_link_works();
}

TEST_F(HostilePeer, APeerThatNeverReadsIsGivenUp) {
  auto [control, data] = hostile_link();
  // Each ping wants an answer, and none is ever read.
  std::string pings;
  for (std::uint64_t i = 0; i < 20'000; ++i) pings += encode(Ping{i, i});
  const Bytes before = peak_resident();
  for (int i = 0; i < 40; ++i) control->say(pings);
#if defined(__SANITIZE_ADDRESS__)
  constexpr Bytes kMost(100'000'000 + (256 << 20));  // it keeps so much of what was freed
#else
  constexpr Bytes kMost(100'000'000);
#endif
  EXPECT_LT(peak_resident() - before, kMost);
  expect_that_the_honest_link_works();
  control->hear_the_end();
  expect_one_link();
}

TEST_F(HostilePeerAtADeadline, TooManyConnectionsAreRefused) {
  std::vector<std::unique_ptr<RawStream>> streams;
  // Some are turned away at once, the others at the deadline for greetings.
  for (int i = 0; i < 60; ++i) streams.push_back(raw());
  expect_that_the_honest_link_works();
  for (const auto& stream : streams) stream->hear_the_end();
  EXPECT_TRUE(nodes_.connect().dialler);
}

TEST_F(HostilePeer, TooManyLinksAreRefused) {
  std::vector<std::pair<std::unique_ptr<RawStream>, std::unique_ptr<RawStream>>> links;
  while (links.size() < NodeOptions().most_links_per_peer) links.push_back(hostile_link());
  const auto more = raw();
  Hello hello;
  hello.link[0] = std::byte{200};
  hello.streams = 1;
  more->say(encode(hello));
  EXPECT_THAT(more->hear_the_end(), HasSubstr("too many links"));
  expect_that_the_honest_link_works();
}

TEST_F(HostilePeer, TheSameStreamTwiceDropsThatLinkAlone) {
  const auto first = raw(), second = raw();
  const std::string hello = encode(Hello{.streams = 2});
  first->say(hello);
  first->hear(40);
  second->say(hello);
  EXPECT_THAT(second->hear_the_end(), HasSubstr("does not fit"));
  first->hear_the_end();
  expect_one_link();
}

}  // namespace
}  // namespace suanli::net
