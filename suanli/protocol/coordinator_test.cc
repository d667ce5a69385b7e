// The coordinator alone: who is let in, queue, cancelling, views.
#include "suanli/protocol/coordinator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "suanli/protocol/samples_for_test.h"
#include "suanli/protocol/world_for_test.h"

namespace suanli::protocol {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr double kWall = 1.79e9;

class CoordinatorTest : public testing::Test {
 protected:
  Moment at(double now) { return {Seconds(now), Seconds(kWall + now)}; }
  Hello hello(const std::string& name) {
    Hello hello{.version = "0.1.0", .name = name, .cores = 2, .memory = Bytes(1'000'000'000)};
    hello.wall = Seconds(kWall);
    return hello;
  }
  Actions join(const std::string& peer, double now = 1) {
    coordinator.on_connected(peer, at(now));
    return coordinator.on_message(peer, hello(peer), at(now));
  }
  template <typename T>
  static std::vector<T> all(const Actions& actions) {
    std::vector<T> found;
    for (const Action& each : actions)
      if (const T* action = std::get_if<T>(&each)) found.push_back(*action);
    return found;
  }
  // The first message of this type to this peer.
  template <typename T>
  static std::optional<T> told(const Actions& actions, const std::string& peer) {
    for (const Send& each : all<Send>(actions))
      if (const T* message = std::get_if<T>(&each.message); message && each.peer == peer) return *message;
    return std::nullopt;
  }
  JobRequest request(const JobId& id) {
    return {.id = id, .name = id, .last_step = 3};
  }

  PlacingForTest placing;
  Coordinator coordinator{{.pool = "mypool", .version = "0.1.0", .own_id = "me"}, placing};
};

TEST_F(CoordinatorTest, WelcomesAndNumbersWorkers) {
  const Actions first = join("a"), second = join("b");
  EXPECT_EQ(told<Welcome>(first, "a")->member, 1);
  EXPECT_EQ(told<Welcome>(second, "b")->member, 2);
  EXPECT_EQ(told<Welcome>(second, "b")->pool, "mypool");
  EXPECT_EQ(coordinator.status().workers, 2);
  EXPECT_EQ(coordinator.status().cores, 4);
}

TEST_F(CoordinatorTest, RefusesAnotherVersionNamingBoth) {
  Hello other = hello("old");
  other.version = "0.0.9";
  coordinator.on_connected("old", at(1));
  const Actions actions = coordinator.on_message("old", other, at(1));
  const Error error = told<Refused>(actions, "old")->error;
  EXPECT_EQ(error.code, ErrorCode::version);
  EXPECT_THAT(error.message, HasSubstr("0.0.9"));
  EXPECT_THAT(error.message, HasSubstr("0.1.0"));
  EXPECT_EQ(error.next_step, "install suanli 0.1.0 on the worker's machine");
  EXPECT_EQ(all<Close>(actions).size(), 1U);
  EXPECT_EQ(coordinator.status().workers, 0);
  // The same version of suanli, but another protocol.
  coordinator.on_connected("new", at(1));
  const Hello unread{.version = "0.1.0", .protocol = 98};
  EXPECT_THAT(told<Refused>(coordinator.on_message("new", unread, at(1)), "new")->error.message, HasSubstr("protocol 98"));
}

TEST_F(CoordinatorTest, RefusesAClockThatIsOff) {
  for (const auto& [skew, refused] : std::map<double, bool>{{-301, true}, {-299, false}, {299, false}, {3600, true}}) {
    Hello other = hello("x");
    other.wall = Seconds(kWall + 1 + skew);
    coordinator.on_connected("x", at(1));
    const auto answer = told<Refused>(coordinator.on_message("x", other, at(1)), "x");
    ASSERT_EQ(answer.has_value(), refused) << skew;
    if (answer) {
      EXPECT_THAT(answer->error.message, HasSubstr(skew > 0 ? "1 h 00 min ahead of" : "5 min 01 s behind"));
    }
    coordinator.on_lost("x", {ErrorCode::unreachable, "gone", {}, {}}, at(1));
  }
}

TEST_F(CoordinatorTest, WhoSaysNothingIsClosed) {
  coordinator.on_connected("quiet", at(1));
  EXPECT_THAT(all<Close>(coordinator.on_tick(at(10.9))), IsEmpty());
  EXPECT_EQ(all<Close>(coordinator.on_tick(at(11))).size(), 1U);
  EXPECT_THAT(coordinator.on_message("quiet", hello("quiet"), at(12)), IsEmpty());
  EXPECT_EQ(coordinator.status().dropped_messages, 1);
}

TEST_F(CoordinatorTest, WhoBreaksTheProtocolIsClosed) {
  coordinator.on_connected("a", at(1));
  EXPECT_EQ(all<Close>(coordinator.on_message("a", Heartbeat{1}, at(1))).size(), 1U);
  join("b");
  EXPECT_EQ(all<Close>(coordinator.on_message("b", hello("b"), at(1))).size(), 1U);
  join("c");
  EXPECT_THAT(all<Close>(coordinator.on_message("c", Heartbeat{1}, at(2))), IsEmpty());
  EXPECT_EQ(all<Close>(coordinator.on_message("c", Heartbeat{1}, at(3))).size(), 1U);
  join("d");
  EXPECT_EQ(all<Close>(coordinator.on_garbage("d", {ErrorCode::protocol, "sent no JSON", {}, {}}, at(3))).size(), 1U);
  EXPECT_EQ(coordinator.status().workers, 0);
  for (const PoolEvent& each : coordinator.events())
    EXPECT_TRUE(each.reason == Reason::worker_joined || each.reason == Reason::worker_broke_protocol) << each.sentence;
}

TEST_F(CoordinatorTest, MessagesOfAnotherJobOrEpochAreDroppedAndCounted) {
  join("a");
  coordinator.on_submit(request("job"), at(2)).value();
  const Epoch epoch = coordinator.job("job")->epoch;
  for (const JobEpoch& id : {JobEpoch{"job", epoch + 1}, JobEpoch{"other", epoch}}) {
    Prepared prepared;
    static_cast<JobEpoch&>(prepared) = id;
    EXPECT_THAT(coordinator.on_message("a", prepared, at(3)), IsEmpty());
    EXPECT_THAT(coordinator.on_message("a", Ready{id}, at(3)), IsEmpty());
  }
  EXPECT_EQ(coordinator.status().dropped_messages, 4);
  const JobEpoch own{"job", epoch};
  EXPECT_TRUE(told<Begin>(coordinator.on_message("a", Ready{own}, at(3)), "a").has_value());
}

// Ready, Prepared and Committed that nobody asked for; each on a pool of its own.
TEST_F(CoordinatorTest, WhatWasNotAskedForEndsTheJob) {
  const auto outcome = [&](const std::vector<ToCoordinator>& messages) {
    Coordinator pool({.pool = "p", .version = "0.1.0", .own_id = "me"}, placing);
    for (const char* peer : {"a", "b"}) {
      pool.on_connected(peer, at(1));
      pool.on_message(peer, hello(peer), at(1));
    }
    JobRequest job = request("job");
    job.least_workers = 2;
    pool.on_submit(job, at(2)).value();
    int commits = 0;
    for (const ToCoordinator& each : messages)
      for (const Send& send : all<Send>(pool.on_message("a", each, at(3))))
        commits += std::holds_alternative<Commit>(send.message);
    EXPECT_EQ(commits, 0) << "worker b has prepared nothing";
    const JobView view = *pool.job("job");
    if (view.error) {
      EXPECT_EQ(view.error->code, ErrorCode::protocol);
    }
    return view.state;
  };
  const JobEpoch id{"job", 1};
  const auto prepared = [&](std::int64_t step, std::int64_t attempt) {
    Prepared message;
    static_cast<JobEpoch&>(message) = id;
    message.step = step;
    message.attempt = attempt;
    return message;
  };
  Committed committed;
  static_cast<JobEpoch&>(committed) = id;
  committed.step = 1;
  StatePart part;
  static_cast<JobEpoch&>(part) = id;
  part.step = 1;
  EXPECT_EQ(outcome({Ready{id}}), JobState::preparing);
  EXPECT_EQ(outcome({Ready{id}, Ready{id}}), JobState::failed);
  EXPECT_EQ(outcome({prepared(1, 1)}), JobState::failed);
  EXPECT_EQ(outcome({Ready{id}, prepared(1, 1)}), JobState::failed);
  EXPECT_EQ(outcome({Ready{id}, committed}), JobState::failed);
  EXPECT_EQ(outcome({Ready{id}, part}), JobState::failed);
}

TEST_F(CoordinatorTest, PeersKnowHowToReachEachOther) {
  const auto comes = [&](const std::string& peer, bool listens) {
    Hello facts = hello(peer);
    if (listens) facts.listen = peer + ":7000";
    coordinator.on_connected(peer, at(1));
    return coordinator.on_message(peer, facts, at(1));
  };
  // "id>address", "id~relay", "id" if that one dials; "-id" who is gone.
  const auto news = [](const Actions& actions, const std::string& peer) {
    std::string text;
    const Peers peers = told<Peers>(actions, peer).value_or(Peers{});
    for (const PeerRoute& each : peers.peers)
      text += each.id + (each.address ? ">" + *each.address : each.relay ? "~" + *each.relay : "") + " ";
    for (const std::string& each : peers.gone) text += "-" + each + " ";
    return text;
  };
  EXPECT_EQ(news(comes("a", false), "a"), "");
  Actions actions = comes("b", false);
  EXPECT_EQ(news(actions, "a"), "b~me ") << "no worker listens: the coordinator relays";
  EXPECT_EQ(news(actions, "b"), "a~me ");
  actions = comes("x", true);
  EXPECT_EQ(news(actions, "a"), "b~x x>x:7000 ");
  EXPECT_EQ(news(actions, "x"), "a b ");
  actions = comes("c", false);
  EXPECT_EQ(news(actions, "a"), "c~x ") << "only what is new";
  EXPECT_EQ(news(actions, "c"), "a~x b~x x>x:7000 ");
  actions = comes("y", true);
  EXPECT_EQ(news(actions, "b"), "y>y:7000 ");
  EXPECT_EQ(news(actions, "x"), "y>y:7000 ");
  EXPECT_EQ(news(actions, "y"), "a b c x>x:7000 ");
  actions = coordinator.on_lost("c", {ErrorCode::unreachable, "gone", {}, {}}, at(2));
  EXPECT_EQ(news(actions, "a"), "-c ");
  actions = coordinator.on_lost("x", {ErrorCode::unreachable, "gone", {}, {}}, at(2));
  EXPECT_EQ(news(actions, "a"), "b~y -x ");
  EXPECT_EQ(news(actions, "y"), "-x ");
}

TEST_F(CoordinatorTest, WhoConnectsAgainReplacesItsOlderConnection) {
  join("a");
  coordinator.on_submit(request("job"), at(2)).value();
  const Actions actions = coordinator.on_connected("a", at(3));
  EXPECT_EQ(all<JobChanged>(actions).back().state, JobState::failed);
  EXPECT_THAT(all<Close>(actions), IsEmpty()) << "it would close the new connection";
  EXPECT_EQ(told<Welcome>(coordinator.on_message("a", hello("a"), at(3)), "a")->member, 2);
}

TEST_F(CoordinatorTest, WhoStandsByMayComeAndGo) {
  join("a");
  coordinator.on_submit(request("job"), at(2)).value();
  join("late", 3);
  const Actions actions = coordinator.on_lost("late", {ErrorCode::unreachable, "gone", {}, {}}, at(4));
  EXPECT_THAT(all<JobChanged>(actions), IsEmpty());
  EXPECT_EQ(coordinator.job("job")->state, JobState::preparing);
}

TEST_F(CoordinatorTest, WithoutARelayAJobSaysWhoCannotMeet) {
  Coordinator pool({.pool = "p", .version = "0.1.0", .relays = false}, placing);
  for (const char* peer : {"a", "b"}) {
    pool.on_connected(peer, at(1));
    pool.on_message(peer, hello(peer), at(1));
  }
  pool.on_submit(request("job"), at(2)).value();
  EXPECT_EQ(pool.job("job")->error->code, ErrorCode::unreachable);
  EXPECT_THAT(pool.job("job")->error->message, HasSubstr("neither worker 'a' nor worker 'b'"));
}

TEST_F(CoordinatorTest, LinesAreKeptPerDirectionAndGivenToThePlacer) {
  join("a");
  join("b");
  coordinator.on_message("a", LineMeasures{"b", Seconds(0.1), BytesPerSecond(5), BytesPerSecond(7)}, at(2));
  coordinator.on_message("a", LineMeasures{"me", Seconds(0.2), BytesPerSecond(8), BytesPerSecond(9)}, at(2));
  coordinator.on_message("a", LineMeasures{"nobody", Seconds(0.1), BytesPerSecond(5), BytesPerSecond(7)}, at(2));
  const auto lines = coordinator.lines();
  ASSERT_EQ(lines.size(), 4U);
  EXPECT_EQ(lines[0].from + lines[0].to, "ab");
  EXPECT_EQ(lines[0].rate, BytesPerSecond(5));
  EXPECT_EQ(lines[2].from + lines[2].to, "ba");
  EXPECT_EQ(lines[2].rate, BytesPerSecond(7));
  coordinator.on_submit(request("job"), at(3)).value();
  EXPECT_EQ(placing.last_lines.size(), 4U);
  coordinator.on_lost("b", {ErrorCode::unreachable, "gone", {}, {}}, at(4));
  EXPECT_EQ(coordinator.lines().size(), 2U);
}

TEST_F(CoordinatorTest, RequestsThatHoldNothingToDo) {
  JobRequest bad = request("job");
  bad.from_snapshot = 3;
  EXPECT_THAT(coordinator.on_submit(bad, at(1)).error().message, HasSubstr("begins with step 4"));
  bad = request("");
  EXPECT_EQ(coordinator.on_submit(bad, at(1)).error().code, ErrorCode::config);
  coordinator.on_submit(request("job"), at(1)).value();
  EXPECT_EQ(coordinator.on_submit(request("job"), at(1)).error().code, ErrorCode::busy);
  EXPECT_THAT(coordinator.on_cancel("jop", at(1)).error().message, HasSubstr("did you mean 'job'"));
}

TEST_F(CoordinatorTest, AJobWaitsForItsWorkersAndSaysSoOnce) {
  JobRequest job = request("job");
  job.least_workers = 2;
  EXPECT_EQ(all<PoolEvent>(coordinator.on_submit(job, at(1)).value()).back().reason, Reason::job_waits);
  EXPECT_EQ(coordinator.job("job")->state, JobState::queued);
  for (const PoolEvent& each : all<PoolEvent>(join("a"))) EXPECT_NE(each.reason, Reason::job_waits);
  const Actions actions = join("b");
  EXPECT_EQ(coordinator.job("job")->state, JobState::preparing);
  const auto assign = told<Assign>(actions, "b");
  ASSERT_TRUE(assign);
  EXPECT_EQ(assign->index, 1);
  EXPECT_EQ(assign->begin_step, 1);
  ASSERT_EQ(assign->peers.size(), 1U);
  EXPECT_EQ(assign->peers[0].id, "a");
}

TEST_F(CoordinatorTest, PreparingHasALimit) {
  join("a");
  coordinator.on_submit(request("job"), at(2)).value();
  for (double now = 2; now < 602; now += 1) coordinator.on_message("a", Heartbeat{static_cast<std::int64_t>(now)}, at(now));
  coordinator.on_tick(at(601.9));
  EXPECT_EQ(coordinator.job("job")->state, JobState::preparing);
  EXPECT_EQ(coordinator.job("job")->waits_for, "'a'");
  coordinator.on_tick(at(602));
  EXPECT_EQ(coordinator.job("job")->error->code, ErrorCode::timed_out);
  EXPECT_THAT(coordinator.job("job")->error->message, HasSubstr("it waits for 'a'"));
}

TEST_F(CoordinatorTest, CancelledWhileItWaits) {
  coordinator.on_submit(request("job"), at(1)).value();
  const Actions actions = coordinator.on_cancel("job", at(2)).value();
  EXPECT_EQ(all<JobChanged>(actions).back().state, JobState::cancelled);
  EXPECT_EQ(coordinator.on_cancel("job", at(2)).error().code, ErrorCode::busy);
}

TEST(Cancel, EndsWithAStepAndItsState) {
  World world({.workers = 3, .seed = 6});
  world.submit(world.job("job", 1000));
  world.run_until([&] { return world.committed().contains("job") && world.committed().at("job").size() == 3; });
  world.cancel("job");
  world.run_until([&] { return world.is_over("job"); });
  const JobView view = *world.coordinator->job("job");
  EXPECT_EQ(view.state, JobState::cancelled);
  EXPECT_FALSE(view.error);
  EXPECT_EQ(view.saved_step, view.committed_step);
  EXPECT_LE(view.committed_step, 5);
}

TEST(Cancel, WithoutStateOrAtOnce) {
  for (const bool twice : {false, true}) {
    World world({.workers = 3, .seed = 6});
    JobRequest job = world.job("job", 1000);
    job.save_when_cancelled = twice;
    world.submit(job);
    world.run_until([&] { return world.committed().contains("job") && world.committed().at("job").size() == 3; });
    world.cancel("job");
    if (twice) world.cancel("job");
    world.run_until([&] { return world.is_over("job"); });
    EXPECT_EQ(world.coordinator->job("job")->state, JobState::cancelled);
    EXPECT_FALSE(world.coordinator->job("job")->saved_step);
    EXPECT_TRUE(world.collected().empty());
    world.run_for(3);
    EXPECT_EQ(world.worker(1)->state(), WorkerState::idle);
  }
}

TEST(Views, OfAPoolAtWork) {
  World world({.workers = 3, .seed = 6});
  world.submit(world.job("job", 1000));
  world.submit(world.job("next", 1));
  world.run_until([&] { return world.committed().contains("job") && world.committed().at("job").size() == 3; });
  const StatusView status = world.coordinator->status();
  EXPECT_EQ(status.workers, 3);
  EXPECT_EQ(status.idle, 0);
  EXPECT_EQ(status.running, "job");
  EXPECT_EQ(status.queued, 1);
  const auto workers = world.coordinator->workers(world.moment());
  ASSERT_EQ(workers.size(), 3U);
  EXPECT_EQ(workers[1].job, "job");
  EXPECT_THAT(workers[1].stages, ElementsAre(1U));
  EXPECT_LT(workers[1].heard_ago, Seconds(3));
  const JobView job = *world.coordinator->job("job");
  EXPECT_EQ(job.state, JobState::running);
  EXPECT_EQ(job.last->step, 3);
  EXPECT_DOUBLE_EQ(*job.last->loss, 10.0 / 3);
  EXPECT_EQ(job.last->uses.size(), 3U);
  EXPECT_EQ(job.workers.size(), 3U);
  EXPECT_EQ(job.placement, "test");
  std::set<std::string_view> names;
  for (int i = 0; i <= static_cast<int>(Reason::snapshot_failed); ++i) names.insert(name_of(static_cast<Reason>(i)));
  EXPECT_EQ(names.size(), static_cast<std::size_t>(Reason::snapshot_failed) + 1);
}

}  // namespace
}  // namespace suanli::protocol
