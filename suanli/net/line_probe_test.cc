#include "suanli/net/line_probe.h"

#include <gmock/gmock.h>

#include "suanli/base/clock.h"
#include "suanli/net/two_nodes_for_test.h"

namespace suanli::net {
namespace {

// A line that sends slowly one way and fast the other; told apart, they cannot be taken for one another.
NodeOptions through(LineOptions line) {
  NodeOptions options;
  options.line = [line](const PeerId&) { return line; };
  options.link.silence = Seconds(60);
  return options;
}

Result<LineProbe> probe(const std::shared_ptr<Link>& link, ProbeOptions options = {}) {
  Awaited<Result<LineProbe>> probed;
  probe_line(link, options, probed.callback());
  return probed.get();
}

TEST(LineProbe, RatesAndDelayOfEachDirection) {
  // The dialler sends at 8 MB/s, the listener at 1 MB/s.
  TwoNodes nodes(through({.delay = Seconds(0.01), .rate = BytesPerSecond(8e6)}),
                 through({.delay = Seconds(0.02), .rate = BytesPerSecond(1e6)}));
  const LinkPair links = nodes.connect();
  const auto found = probe(links.dialler, {.deadline = Seconds(100)});
  ASSERT_TRUE(found) << found.error().to_string();
  // A line cannot carry more than it does; how much less on a busy machine, no test asks, but eight to one stays two to one.
  EXPECT_LT(found->rate_out.value(), 9e6);
  EXPECT_LT(found->rate_in.value(), 1.2e6);
  EXPECT_GT(found->rate_out.value(), 2 * found->rate_in.value());
  EXPECT_GT(found->rate_in.value(), 0);
  EXPECT_GE(found->round_trip, Seconds(0.03));
  while (links.dialler->measures().probed_out == BytesPerSecond(0)) real_clock().sleep_for(Seconds(0.005));
  EXPECT_EQ(links.dialler->measures().probed_out, found->rate_out);
  EXPECT_EQ(links.dialler->measures().probed_in, found->rate_in);
  // The other end sees the same line from its side.
  const auto other = probe(links.listener, {.deadline = Seconds(100)});
  ASSERT_TRUE(other);
  EXPECT_LT(other->rate_out.value(), 1.2e6);
  EXPECT_GT(other->rate_in.value(), 2 * other->rate_out.value());
  // Real traffic says the same, per direction: what one sends is what the other sees come in.
  while (links.dialler->measures().rate_out == BytesPerSecond(0) || links.listener->measures().rate_out == BytesPerSecond(0))
    real_clock().sleep_for(Seconds(0.01));
  EXPECT_GT(links.dialler->measures().rate_out.value(), 2 * links.dialler->measures().rate_in.value());
  EXPECT_GT(links.listener->measures().rate_in.value(), 2 * links.listener->measures().rate_out.value());
}

TEST(LineProbe, OnLoopbackItEndsByItsMostBytes) {
  TwoNodes nodes;
  const LinkPair links = nodes.connect();
  const auto found = probe(links.dialler, {.enough = Seconds(1000), .most = Bytes(4'000'000), .deadline = Seconds(100)});
  ASSERT_TRUE(found) << found.error().to_string();
  EXPECT_GT(found->rate_out.value(), 0);
  EXPECT_GT(found->rate_in.value(), 0);
  EXPECT_LE(found->moved, Bytes(2 * 8'000'000)) << "rounds that double, both ways";
}

TEST(LineProbe, BothEndsAtOnce) {
  TwoNodes nodes;
  const LinkPair links = nodes.connect();
  Awaited<Result<LineProbe>> one, other;
  const ProbeOptions small{.most = Bytes(2'000'000), .deadline = Seconds(100)};
  probe_line(links.dialler, small, one.callback());
  probe_line(links.listener, small, other.callback());
  EXPECT_TRUE(one.get());
  EXPECT_TRUE(other.get());
}

TEST(LineProbe, ItEndsWithTheLinkAndAtItsDeadline) {
  TwoNodes nodes(through({.delay = Seconds(0.2)}), {});
  const LinkPair links = nodes.connect();
  const auto late = probe(links.dialler, {.deadline = Seconds(0.05)});
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, ErrorCode::timed_out);
  Awaited<Result<LineProbe>> probed;
  probe_line(links.dialler, {}, probed.callback());
  links.dialler->close();
  EXPECT_FALSE(probed.get());
  EXPECT_FALSE(probe(links.dialler)) << "of a link that has ended";
}

TEST(LineProbe, WhatCannotBeIsRefusedAndReservesNothing) {
  TwoNodes nodes;
  const LinkPair links = nodes.connect();
  ProbeRound huge{false, 1, 2, ProbeRound::kMostPieceBytes + 1};
  for (const std::string& text : {encode(huge), std::string("nonsense"), encode(ProbeRound{true, ProbeRound::kNumbers, 2, 2}),
                                  encode(ProbeRound{false, 1, 1, 1})}) {
    Awaited<Result<std::string>> answer;
    links.dialler->ask(Subject::probe, text, Seconds(60), answer.callback());
    EXPECT_EQ(answer.get().error().code, ErrorCode::protocol);
  }
  // A round that nobody sends keeps the line's one place for probes, and nothing else.
  Awaited<Result<std::string>> never, second;
  links.dialler->ask(Subject::probe, encode(ProbeRound{false, 7, 4, 1000}), Seconds(0.5), never.callback());
  links.dialler->ask(Subject::probe, encode(ProbeRound{false, 8, 4, 1000}), Seconds(60), second.callback());
  EXPECT_EQ(second.get().error().code, ErrorCode::busy);
  EXPECT_EQ(never.get().error().code, ErrorCode::timed_out);
  EXPECT_FALSE(links.listener->is_closed());
}

TEST(LinkService, KindsOfTheLinkItselfAreNotForMessages) {
  TwoNodes nodes;
  const LinkPair links = nodes.connect();
  EXPECT_EQ(links.dialler->send_message(kQuestionKind, {}).error().code, ErrorCode::usage);
  Awaited<Result<std::string>> answer;
  links.dialler->ask(static_cast<Subject>(77), "?", Seconds(60), answer.callback());
  EXPECT_EQ(answer.get().error().code, ErrorCode::unsupported);
}

}  // namespace
}  // namespace suanli::net
