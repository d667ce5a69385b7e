#include "suanli/net/link.h"

#include <gmock/gmock.h>

#include <cstring>

#include "suanli/base/clock.h"
#include "suanli/base/philox.h"
#include "suanli/base/system.h"
#include "suanli/net/two_nodes_for_test.h"

namespace suanli::net {
namespace {

using testing::HasSubstr;

std::vector<std::byte> random_bytes(std::size_t size, std::uint64_t seed = 1) {
  std::vector<std::byte> bytes(size);
  const Philox random(seed, Stream::test);
  for (std::size_t i = 0; i < size; i += 8) {
    const std::uint64_t value = random.bits(i);
    std::memcpy(bytes.data() + i, &value, std::min<std::size_t>(8, size - i));
  }
  return bytes;
}

constexpr Tag kTag{1, 1};

TEST(Link, TensorsOfAllSizesArriveWhole) {
  TwoNodes nodes;
  const LinkPair links = nodes.connect();
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{16384}, kChunkBytes - 1, kChunkBytes,
                                 kChunkBytes + 1, 5 * kChunkBytes + 12345}) {
    const auto data = random_bytes(size, size);
    std::vector<std::byte> buffer(size + 10);
    const auto there = send_and_wait(*links.dialler, *links.listener, kTag, data, buffer);
    ASSERT_TRUE(there) << size << there.error().to_string();
    EXPECT_EQ(static_cast<std::size_t>(there->value()), size);
    EXPECT_TRUE(std::equal(data.begin(), data.end(), buffer.begin())) << size;
  }
}

TEST(Link, ManyTensorsBothWaysAtOnceOverFourStreams) {
  NodeOptions options;
  options.link.streams = 4;
  TwoNodes nodes(options, {});
  const LinkPair links = nodes.connect();
  constexpr std::size_t kCount = 24;
  std::vector<std::vector<std::byte>> data, buffers;
  std::vector<Awaited<Result<Bytes>>> sent(2 * kCount), received(2 * kCount);
  for (std::size_t i = 0; i < 2 * kCount; ++i) {
    data.push_back(random_bytes(40'000 * (i % 7) + i, i));
    buffers.emplace_back(data[i].size());
  }
  for (std::size_t i = 0; i < 2 * kCount; ++i) {
    Link& from = i % 2 == 0 ? *links.dialler : *links.listener;
    Link& to = i % 2 == 0 ? *links.listener : *links.dialler;
    // Half of the buffers wait before the tensor comes, half after.
    if (i % 4 < 2) to.receive({i, 0}, buffers[i], {}, received[i].callback());
    from.send({i, 0}, data[i], {}, sent[i].callback());
    if (i % 4 >= 2) to.receive({i, 0}, buffers[i], {}, received[i].callback());
  }
  for (std::size_t i = 0; i < 2 * kCount; ++i) {
    ASSERT_TRUE(sent[i].get());
    ASSERT_TRUE(received[i].get());
    EXPECT_EQ(data[i], buffers[i]) << i;
  }
}

TEST(Link, MessagesComeInOrderAndNotBehindBulk) {
  NodeOptions slow;
  slow.link.pace = BytesPerSecond(2e6);
  std::vector<std::string> heard;
  Awaited<bool> all;
  TwoNodes nodes(slow, {}, [&](Link& link, bool is_dialler) {
    if (!is_dialler)
      link.on_message([&, all_done = all.callback()](std::uint32_t kind, std::span<const std::byte> payload) {
        heard.push_back(std::to_string(kind) + std::string(reinterpret_cast<const char*>(payload.data()), payload.size()));
        if (heard.size() == 100) all_done(true);
      });
  });
  const LinkPair links = nodes.connect();
  const auto data = random_bytes(20'000'000);  // ten seconds at this pace
  std::vector<std::byte> buffer(data.size());
  Awaited<Result<Bytes>> sent, received;
  links.listener->receive(kTag, buffer, {}, received.callback());
  const TransferId id = links.dialler->send(kTag, data, {}, sent.callback());
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(links.dialler->send_message(static_cast<std::uint32_t>(i), as_bytes("x")));
  EXPECT_TRUE(all.get());
  EXPECT_FALSE(sent.is_there_after(0)) << "the bulk is still on its way";
  for (int i = 0; i < 100; ++i) EXPECT_EQ(heard[static_cast<std::size_t>(i)], std::to_string(i) + "x");
  links.dialler->cancel(id);
  EXPECT_FALSE(sent.get());
  EXPECT_FALSE(received.get());
}

TEST(Link, MessagesHaveALimit) {
  TwoNodes nodes;
  const LinkPair links = nodes.connect();
  const std::vector<std::byte> large(kMostMessageBytes + 1);
  EXPECT_EQ(links.dialler->send_message(1, large).error().code, ErrorCode::usage);
  EXPECT_TRUE(links.dialler->send_message(1, std::span(large).first(kMostMessageBytes)));
}

TEST(Link, CancelledOnEitherSideEndsOnBothAndTheLinkGoesOn) {
  NodeOptions slow;
  slow.link.pace = BytesPerSecond(1e6);
  TwoNodes nodes(slow, {});
  const LinkPair links = nodes.connect();
  for (const bool by_sender : {true, false}) {
    auto data = std::make_unique<std::vector<std::byte>>(random_bytes(10'000'000));
    auto buffer = std::make_unique<std::vector<std::byte>>(data->size());
    Awaited<Result<Bytes>> sent, received;
    const TransferId there = links.listener->receive(kTag, *buffer, {}, received.callback());
    const TransferId here = links.dialler->send(kTag, *data, {}, sent.callback());
    while (links.listener->measures().bytes_in < Bytes(100'000)) real_clock().sleep_for(Seconds(0.01));
    by_sender ? links.dialler->cancel(here) : links.listener->cancel(there);
    // Both are free at once: sanitizers would see a later touch.
    EXPECT_EQ(sent.get().error().code, ErrorCode::cancelled);
    data.reset();
    EXPECT_EQ(received.get().error().code, ErrorCode::cancelled);
    buffer.reset();
    const auto small = random_bytes(1000);
    std::vector<std::byte> place(1000);
    EXPECT_TRUE(send_and_wait(*links.dialler, *links.listener, {7, 7}, small, place));
    EXPECT_EQ(small, place);
  }
  links.dialler->cancel(12345);  // nothing of that number: nothing happens
  EXPECT_FALSE(links.dialler->is_closed());
}

TEST(Link, DeadlinesEndWhatDoesNotGetDone) {
  TwoNodes nodes;
  const LinkPair links = nodes.connect();
  const auto data = random_bytes(1000);
  std::vector<std::byte> buffer(1000);
  Awaited<Result<Bytes>> sent, received;
  links.dialler->send(kTag, data, {Seconds(0.05)}, sent.callback());  // nobody receives
  EXPECT_EQ(sent.get().error().code, ErrorCode::timed_out);
  links.listener->receive({2, 2}, buffer, {Seconds(0.05)}, received.callback());  // nobody sends
  EXPECT_EQ(received.get().error().code, ErrorCode::timed_out);
  EXPECT_TRUE(send_and_wait(*links.dialler, *links.listener, kTag, data, buffer, {Seconds(60)}));
}

TEST(Link, ATensorTooLargeForItsBufferFailsOnBothSides) {
  TwoNodes nodes;
  const LinkPair links = nodes.connect();
  const auto data = random_bytes(1000);
  std::vector<std::byte> buffer(999);
  Awaited<Result<Bytes>> sent, received;
  links.listener->receive(kTag, buffer, {}, received.callback());
  links.dialler->send(kTag, data, {}, sent.callback());
  EXPECT_EQ(sent.get().error().code, ErrorCode::mismatch);
  EXPECT_EQ(received.get().error().code, ErrorCode::cancelled);
}

TEST(Link, ClosingFailsAllTransfersAndTellsThePeerWhy) {
  Awaited<Error> why;
  NodeOptions quiet;  // what the closing side has not read could cost its last word
  quiet.link.ping_every = Seconds(5);
  TwoNodes nodes(quiet, quiet, [&](Link& link, bool is_dialler) {
    if (is_dialler) link.on_closed([call = why.callback()](const Error& error) { call(error); });
  });
  const LinkPair links = nodes.connect();
  std::vector<std::byte> buffer(1000);
  Awaited<Result<Bytes>> sent, received, late;
  links.dialler->send(kTag, buffer, {}, sent.callback());
  links.listener->receive({2, 2}, buffer, {}, received.callback());
  while (links.dialler->measures().pings < 3 || links.listener->measures().pings < 3) real_clock().sleep_for(Seconds(0.01));
  links.listener->close({ErrorCode::busy, "too much to do", "", ""});
  EXPECT_EQ(received.get().error().message, "too much to do");
  EXPECT_EQ(sent.get().error().code, ErrorCode::busy);
  EXPECT_THAT(why.get().message, HasSubstr("the peer closed the link: too much to do"));
  links.dialler->send(kTag, buffer, {}, late.callback());
  EXPECT_EQ(late.get().error().code, ErrorCode::busy);
  EXPECT_FALSE(links.dialler->send_message(1, {}));
}

TEST(Link, ANodeThatEndsTakesItsLinksWithIt) {
  auto nodes = std::make_unique<TwoNodes>();
  const LinkPair links = nodes->connect();
  std::vector<std::byte> buffer(1000);
  Awaited<Result<Bytes>> received;
  links.listener->receive(kTag, buffer, {}, received.callback());
  nodes.reset();
  EXPECT_FALSE(received.get());
  EXPECT_TRUE(links.listener->is_closed());
  EXPECT_FALSE(links.listener->send_message(1, {})) << "a link outlives its node, without use";
}

TEST(Link, RevokedPeersLoseTheirLinks) {
  TwoNodes nodes;
  const LinkPair links = nodes.connect();
  std::vector<std::byte> buffer(1000);
  Awaited<Result<Bytes>> received, other;
  links.listener->receive(kTag, buffer, {}, received.callback());
  Authority& authority = nodes.pool().authority();
  ASSERT_TRUE(authority.revoke(links.listener->peer().key()));
  const auto list = RevocationList::parse(authority.revocation_list(wall_time_now()).value(), authority.certificate());
  ASSERT_TRUE(nodes.listener().set_revocation_list(*list));
  EXPECT_EQ(received.get().error().code, ErrorCode::unauthorised);
  EXPECT_TRUE(links.listener->is_closed());
  Awaited<Result<std::shared_ptr<Link>>> again;
  nodes.dialler().connect(nodes.address(), {}, Seconds(30), again.callback());
  EXPECT_EQ(again.get().error().code, ErrorCode::unauthorised);
}

TEST(Link, DelayIsMeasuredSoon) {
  TwoNodes nodes;
  const LinkPair links = nodes.connect();
  while (links.dialler->measures().pings < 3) real_clock().sleep_for(Seconds(0.01));
  EXPECT_GT(links.dialler->measures().round_trip_least, Seconds(0));
  EXPECT_LE(links.dialler->measures().round_trip_least, links.dialler->measures().round_trip_last);
}

TEST(Link, AFlatReceiverHoldsTheSenderBackWithoutMemory) {
  TwoNodes nodes;
  const LinkPair links = nodes.connect();
  const Bytes before = peak_resident();
  const std::vector<std::byte> data(1'000'000);
  std::vector<Awaited<Result<Bytes>>> sent(1000);
  for (std::size_t i = 0; i < sent.size(); ++i) links.dialler->send({i, i}, data, {}, sent[i].callback());
  // One gigabyte has been asked for; nothing of it is copied while nobody receives.
  EXPECT_FALSE(sent[0].is_there_after(0.2));
  EXPECT_LT(peak_resident() - before, Bytes(100'000'000));
  std::vector<std::byte> buffer(data.size());
  Awaited<Result<Bytes>> received;
  links.listener->receive({500, 500}, buffer, {}, received.callback());
  EXPECT_TRUE(received.get());
  EXPECT_TRUE(sent[500].get());
}

}  // namespace
}  // namespace suanli::net
