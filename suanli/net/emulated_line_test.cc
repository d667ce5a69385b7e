#include "suanli/net/emulated_line.h"

#include <gmock/gmock.h>

#include "suanli/base/clock.h"
#include "suanli/net/two_nodes_for_test.h"

namespace suanli::net {
namespace {

constexpr double kOnWire = EmulatedLine::kWireBytes / EmulatedLine::kPayloadBytes * (1 + 22.0 / 16384);

TEST(EmulatedLine, BytesQueueTravelAndArriveInOrder) {
  EmulatedLine line({.delay = Seconds(0.1), .rate = BytesPerSecond(1e6)}, Seconds(0));
  EXPECT_NEAR(line.send(1000, Seconds(5)).value(), 5.1 + 0.001 * kOnWire, 1e-9);
  EXPECT_NEAR(line.send(1000, Seconds(5)).value(), 5.1 + 0.002 * kOnWire, 1e-9) << "behind the first";
  EXPECT_NEAR(line.send(1000, Seconds(6)).value(), 6.1 + 0.001 * kOnWire, 1e-9) << "the wire was free again";
}

TEST(EmulatedLine, NobodyIsLetInBeyondTheQueue) {
  EmulatedLine line({.rate = BytesPerSecond(1e6), .queue = Seconds(0.01)}, Seconds(0));
  const std::int64_t room = line.room(1'000'000, Seconds(0));
  EXPECT_NEAR(static_cast<double>(room), 10'000 / (EmulatedLine::kWireBytes / EmulatedLine::kPayloadBytes), 2);
  line.send(room, Seconds(0));
  EXPECT_EQ(line.room(1, Seconds(0)), 0);
  const Seconds again = line.room_at(Seconds(0));
  EXPECT_GT(again, Seconds(0));
  EXPECT_LT(again, Seconds(0.01));
  EXPECT_GT(line.room(1'000'000, again), 1000);
}

TEST(EmulatedLine, JitterDelaysWithinItsBoundAndKeepsTheOrder) {
  const LineOptions options{.delay = Seconds(0.05), .rate = BytesPerSecond(1e9), .jitter = Seconds(0.02), .seed = 3};
  EmulatedLine line(options, Seconds(0)), same(options, Seconds(0));
  Seconds last(0);
  double most = 0;
  for (int i = 0; i < 1000; ++i) {
    const Seconds now(0.1 * i), arrived = line.send(100, now);
    EXPECT_EQ(arrived, same.send(100, now)) << "a function of the seed";
    EXPECT_GE(arrived, last);
    EXPECT_GE(arrived, now + Seconds(0.05));
    EXPECT_LE(arrived, now + Seconds(0.0701));
    most = std::max(most, (arrived - now).value());
    last = arrived;
  }
  EXPECT_GT(most, 0.065);
}

TEST(EmulatedLine, OutagesHoldBytesBackOnceOrAgain) {
  EmulatedLine line(
      {.rate = BytesPerSecond(1e9), .outages = {{Seconds(10), Seconds(2)}, {Seconds(100), Seconds(1), Seconds(20)}}},
      Seconds(1000));
  EXPECT_NEAR(line.send(1, Seconds(1009)).value(), 1009, 1e-6);
  EXPECT_EQ(line.room(100, Seconds(1011)), 0);
  EXPECT_NEAR(line.room_at(Seconds(1011)).value(), 1012, 1e-6);
  EXPECT_NEAR(line.send(1, Seconds(1011)).value(), 1012, 1e-6);
  EXPECT_NEAR(line.send(1, Seconds(1030)).value(), 1030, 1e-6);
  EXPECT_NEAR(line.send(1, Seconds(1100.5)).value(), 1101, 1e-6);
  EXPECT_NEAR(line.send(1, Seconds(1120.5)).value(), 1121, 1e-6);
  EXPECT_LT(line.next_cut(Seconds(1000)), Seconds(0)) << "none of them cuts";
}

TEST(EmulatedLine, CutsAreForeseen) {
  const EmulatedLine line({.outages = {{Seconds(10), Seconds(1), Seconds(5), true}}}, Seconds(100));
  EXPECT_EQ(line.next_cut(Seconds(100)), Seconds(110));
  EXPECT_EQ(line.next_cut(Seconds(110)), Seconds(110));
  EXPECT_EQ(line.next_cut(Seconds(111)), Seconds(115));
  const EmulatedLine once({.outages = {{Seconds(10), Seconds(1), Seconds(0), true}}}, Seconds(100));
  EXPECT_LT(once.next_cut(Seconds(111)), Seconds(0));
}

NodeOptions through(const LineOptions& line) {
  NodeOptions options;
  options.line = [line](const PeerId&) { return line; };
  return options;
}

// The same link, over an emulated line: what holds over loopback holds here.
TEST(EmulatedLink, TensorsArriveWholeAndDelayAndRateAreMeasured) {
  const LineOptions line{.delay = Seconds(0.03), .rate = BytesPerSecond(12.5e6), .jitter = Seconds(0.002)};
  TwoNodes nodes(through(line), through(line));
  const LinkPair links = nodes.connect();
  std::vector<std::byte> data(4'000'000), buffer(data.size());
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = std::byte(i * 31 % 251);
  const Seconds begin = Reactor::now();
  ASSERT_TRUE(send_and_wait(*links.dialler, *links.listener, {1, 1}, data, buffer));
  const Seconds took = Reactor::now() - begin;
  EXPECT_EQ(data, buffer);
  // A line cannot be faster than it is; how much slower a busy machine makes it, no test asks.
  EXPECT_GT(took.value(), 4e6 / 12.5e6 * kOnWire + 0.03);
  // Measures are told once a second.
  while (links.listener->measures().pings < 3 || links.listener->measures().rate_in == BytesPerSecond(0))
    real_clock().sleep_for(Seconds(0.01));
  EXPECT_GE(links.listener->measures().round_trip_least, Seconds(0.06));
}

TEST(EmulatedLink, MessagesAreNotHeldUpByASaturatedLine) {
  const LineOptions line{.rate = BytesPerSecond(1e6)};
  Awaited<bool> heard;
  TwoNodes nodes(through(line), {}, [&](Link& link, bool is_dialler) {
    if (!is_dialler) link.on_message([call = heard.callback()](std::uint32_t, std::span<const std::byte>) { call(true); });
  });
  const LinkPair links = nodes.connect();
  std::vector<std::byte> data(30'000'000), buffer(data.size());
  Awaited<Result<Bytes>> sent, received;
  links.listener->receive({1, 1}, buffer, {}, received.callback());
  const TransferId id = links.dialler->send({1, 1}, data, {}, sent.callback());
  while (links.listener->measures().bytes_in < Bytes(300'000)) real_clock().sleep_for(Seconds(0.01));
  ASSERT_TRUE(links.dialler->send_message(1, {}));
  EXPECT_TRUE(heard.get());
  EXPECT_FALSE(sent.is_there_after(0)) << "half a minute of bulk is still to come";
  links.dialler->cancel(id);
  EXPECT_EQ(sent.get().error().code, ErrorCode::cancelled);
  EXPECT_EQ(received.get().error().code, ErrorCode::cancelled);
}

TEST(EmulatedLink, AnOutageIsSatOutAndACutIsNot) {
  TwoNodes out(through({.rate = BytesPerSecond(1e8), .outages = {{Seconds(0), Seconds(0.4)}}}));
  const LinkPair waits = out.connect();
  std::vector<std::byte> data(100'000), buffer(data.size());
  EXPECT_TRUE(send_and_wait(*waits.dialler, *waits.listener, {1, 1}, data, buffer));

  TwoNodes cut(through({.rate = BytesPerSecond(1e5), .outages = {{Seconds(0.3), Seconds(0.1), Seconds(0), true}}}));
  const LinkPair lost = cut.connect();
  const auto there = send_and_wait(*lost.dialler, *lost.listener, {1, 1}, data, buffer);
  ASSERT_FALSE(there);
  EXPECT_EQ(there.error().code, ErrorCode::unreachable);
  EXPECT_THAT(there.error().message, testing::HasSubstr("cut"));
}

TEST(EmulatedLink, ADeadlineEndsWhatAnOutageHoldsBack) {
  TwoNodes nodes(through({.rate = BytesPerSecond(1e8), .outages = {{Seconds(0), Seconds(1000)}}}));
  const LinkPair links = nodes.connect();
  std::vector<std::byte> data(100'000), buffer(data.size());
  Awaited<Result<Bytes>> sent, received;
  const TransferId place = links.listener->receive({1, 1}, buffer, {}, received.callback());
  links.dialler->send({1, 1}, data, {Seconds(0.2)}, sent.callback());
  EXPECT_EQ(sent.get().error().code, ErrorCode::timed_out);
  EXPECT_FALSE(received.is_there_after(0)) << "word of it is held back, too";
  links.listener->cancel(place);
  EXPECT_EQ(received.get().error().code, ErrorCode::cancelled);
}

}  // namespace
}  // namespace suanli::net
