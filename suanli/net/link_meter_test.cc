#include "suanli/net/link_meter.h"

#include <gtest/gtest.h>

namespace suanli::net {
namespace {

TEST(LinkMeter, DelayEachWayFromClocksThatNobodySetAlike) {
  LinkMeter meter, peer;
  const Seconds clock_of_peer(1e6);  // ahead of ours
  double now = 10;
  const auto ping = [&](double out, double in) {
    const Ping asked = meter.next_ping(Seconds(now));
    const Pong answer = peer.answer(asked, Seconds(now + out) + clock_of_peer);
    now += out + in;
    meter.on_pong(answer, Seconds(now));
  };
  ping(0.020, 0.020);
  EXPECT_NEAR(meter.measures().round_trip_least.value(), 0.040, 1e-6);
  ping(0.120, 0.020);  // a queue on the way out
  EXPECT_NEAR(meter.measures().queue_out.value(), 0.100, 1e-6);
  EXPECT_NEAR(meter.measures().queue_in.value(), 0, 1e-6);
  EXPECT_NEAR(meter.measures().delay_out().value(), 0.120, 1e-6);
  EXPECT_NEAR(meter.measures().round_trip_last.value(), 0.140, 1e-6);
  ping(0.020, 0.050);
  EXPECT_NEAR(meter.measures().queue_out.value(), 0, 1e-6);
  EXPECT_NEAR(meter.measures().queue_in.value(), 0.030, 1e-6);
  EXPECT_EQ(meter.measures().pings, 3);
}

TEST(LinkMeter, AnswersToNothingChangeNothing) {
  LinkMeter meter;
  const Ping asked = meter.next_ping(Seconds(1));
  meter.on_pong({asked.number + 1, asked.sent_ns, 5, 5}, Seconds(2));
  meter.on_pong({asked.number, asked.sent_ns + 1, 5, 5}, Seconds(2));
  EXPECT_EQ(meter.measures().pings, 0);
  meter.on_pong({asked.number, asked.sent_ns, ~std::uint64_t{0}, ~std::uint64_t{0}}, Seconds(2));
  EXPECT_EQ(meter.measures().pings, 1);
  EXPECT_LE(meter.measures().queue_out, Seconds(1));
  EXPECT_EQ(meter.measures().rate_out, BytesPerSecond(0));
  meter.on_pong({asked.number, asked.sent_ns, 5, 5}, Seconds(3));
  EXPECT_EQ(meter.measures().pings, 1) << "a second answer";
}

TEST(LinkMeter, RateCountsOnlyTheTimeInWhichMoreWasToCome) {
  LinkMeter meter;
  double now = 0;
  for (int burst = 0; burst < 5; ++burst) {
    for (int i = 0; i < 10; ++i) meter.on_chunk(Bytes(100'000), i < 9, Seconds(now += 0.02));
    now += 100;  // silence says nothing of the line
  }
  EXPECT_NEAR(meter.measures().rate_in.value(), 5e6, 1e5);
  const Ping ping{1, 2};
  EXPECT_NEAR(static_cast<double>(meter.answer(ping, Seconds(now)).arrival_rate), 5e6, 1e5);
}

}  // namespace
}  // namespace suanli::net
