// The worker alone.
#include "suanli/protocol/worker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace suanli::protocol {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

const Error kGone{ErrorCode::unreachable, "the line broke", {}, {}};
const JobEpoch kJob{"job", 5};

template <typename T>
std::vector<T> all(const WorkerActions& actions) {
  std::vector<T> found;
  for (const WorkerAction& each : actions)
    if (const T* action = std::get_if<T>(&each)) found.push_back(*action);
  return found;
}

// The first message of this type.
template <typename T>
std::optional<T> said(const WorkerActions& actions) {
  for (const Say& each : all<Say>(actions))
    if (const T* message = std::get_if<T>(&each.message)) return *message;
  return std::nullopt;
}

template <typename T>
T of_job(std::int64_t step = 0, std::int64_t attempt = 0, const JobEpoch& id = kJob) {
  T message;
  static_cast<JobEpoch&>(message) = id;
  if constexpr (requires { message.step; }) message.step = step;
  if constexpr (requires { message.attempt; }) message.attempt = attempt;
  return message;
}

class WorkerTest : public testing::Test {
 protected:
  void welcome() {
    worker.start(Seconds(0));
    worker.on_connected(Seconds(1), Seconds(1.79e9));
    worker.on_message(Welcome{1, "pool"}, Seconds(1));
  }
  WorkerActions hear(const ToWorker& message) { return worker.on_message(message, Seconds(2)); }
  WorkerActions ran(const RunnerEvent& event) { return worker.on_runner(event, Seconds(2)); }
  // A job that has prepared step 1.
  void prepare() {
    welcome();
    hear(of_job<Assign>());
    ran(of_job<JobPrepared>());
    hear(of_job<Begin>());
    ran(of_job<Prepared>(1, 1));
    ASSERT_EQ(worker.state(), WorkerState::prepared);
  }

  void anew() { holder.emplace(WorkerRules{.seed = 7}, Hello{.version = "0.1.0", .name = "w", .cores = 1}); }

  std::optional<Worker> holder{std::in_place, WorkerRules{.seed = 7}, Hello{.version = "0.1.0", .name = "w", .cores = 1}};
  Worker& worker = *holder;
};

TEST_F(WorkerTest, SaysHelloWithItsClockAndBeats) {
  EXPECT_EQ(all<Dial>(worker.start(Seconds(0)))[0].after, Seconds(0));
  const auto hello = said<Hello>(worker.on_connected(Seconds(1), Seconds(1.79e9)));
  EXPECT_EQ(hello->wall, Seconds(1.79e9));
  EXPECT_THAT(worker.on_tick(Seconds(4)), IsEmpty()) << "no heartbeat before the welcome";
  worker.on_message(Welcome{1, "pool"}, Seconds(4));
  std::vector<double> beats;
  for (double now = 4; now < 10; now += 0.5)
    if (const auto beat = said<Heartbeat>(worker.on_tick(Seconds(now)))) {
      beats.push_back(now);
      EXPECT_EQ(beat->number, static_cast<std::int64_t>(beats.size()));
    }
  EXPECT_THAT(beats, testing::ElementsAre(4, 6, 8));
}

TEST_F(WorkerTest, DialsAgainLessAndLessOften) {
  worker.start(Seconds(0));
  double longest = 0.5;
  for (int dial = 0; dial < 40; ++dial) {
    const auto dials = all<Dial>(worker.on_lost(kGone, Seconds(dial)));
    ASSERT_EQ(dials.size(), 1U);
    EXPECT_LE(dials[0].after.value(), longest);
    EXPECT_GE(dials[0].after.value(), longest / 2);
    longest = std::min(30.0, longest * 2);
  }
  worker.on_connected(Seconds(50), Seconds(0));
  worker.on_message(Welcome{2, "pool"}, Seconds(50));
  EXPECT_LE(all<Dial>(worker.on_lost(kGone, Seconds(60)))[0].after, Seconds(0.5)) << "a welcome starts anew";
}

TEST_F(WorkerTest, WorkersDoNotAllDialAtOnce) {
  std::set<double> after;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Worker other({.seed = seed}, {});
    other.start(Seconds(0));
    after.insert(all<Dial>(other.on_lost(kGone, Seconds(1)))[0].after.value());
  }
  EXPECT_EQ(after.size(), 20U);
}

TEST_F(WorkerTest, ARefusalEndsIt) {
  worker.start(Seconds(0));
  worker.on_connected(Seconds(1), Seconds(1.79e9));
  const Error why{ErrorCode::version, "0.1.0 and 0.2.0", {}, "install 0.2.0"};
  EXPECT_EQ(all<End>(worker.on_message(Refused{why}, Seconds(2)))[0].why->message, "0.1.0 and 0.2.0");
  EXPECT_THAT(worker.on_lost(kGone, Seconds(3)), IsEmpty()) << "it does not dial again";
}

TEST_F(WorkerTest, GoesFromACommittedStepToTheNext) {
  prepare();
  EXPECT_EQ(all<CommitStep>(hear(of_job<Commit>(1)))[0].step, 1);
  const WorkerActions actions = ran(of_job<Committed>(1));
  EXPECT_EQ(said<Committed>(actions)->step, 1);
  EXPECT_EQ(all<RunStep>(actions)[0].step, 2);
  EXPECT_EQ(all<RunStep>(actions)[0].attempt, 1);
  EXPECT_THAT(all<GiveState>(actions), IsEmpty());
}

TEST_F(WorkerTest, GivesStateAndGoesOnOrRests) {
  for (const Then then : {Then::snapshot, Then::finish, Then::stop}) {
    anew();
    prepare();
    Commit commit = of_job<Commit>(1);
    commit.then = then;
    hear(commit);
    const WorkerActions actions = ran(of_job<Committed>(1));
    EXPECT_EQ(all<GiveState>(actions).size(), then == Then::stop ? 0U : 1U);
    EXPECT_EQ(all<RunStep>(actions).size(), then == Then::snapshot ? 1U : 0U);
    EXPECT_EQ(said<StatePart>(ran(of_job<StatePart>(1)))->step, 1);
    EXPECT_EQ(all<DropJob>(hear(of_job<Stop>())).size(), 1U);
    EXPECT_EQ(worker.state(), WorkerState::idle);
  }
}

TEST_F(WorkerTest, AnAttemptThatWasReplacedIsNotSaid) {
  welcome();
  hear(of_job<Assign>());
  ran(of_job<JobPrepared>());
  hear(of_job<Begin>());
  EXPECT_EQ(all<RunStep>(hear(of_job<Repeat>(1, 2)))[0].attempt, 2);
  EXPECT_THAT(ran(of_job<Prepared>(1, 1)), IsEmpty());
  EXPECT_EQ(said<Prepared>(ran(of_job<Prepared>(1, 2)))->attempt, 2);
  EXPECT_EQ(worker.dropped_messages(), 1);
}

TEST_F(WorkerTest, DoesNotCommitWhatItHasNotPrepared) {
  const auto hangs_up = [&](const ToWorker& message) { return all<HangUp>(hear(message)).size() == 1; };
  prepare();
  EXPECT_TRUE(hangs_up(of_job<Commit>(2)));
  EXPECT_EQ(worker.state(), WorkerState::idle);
  for (const ToWorker& message : {ToWorker(of_job<Commit>(1)), ToWorker(of_job<Repeat>(1, 2)), ToWorker(of_job<Assign>())}) {
    anew();
    welcome();
    hear(of_job<Assign>());
    EXPECT_TRUE(hangs_up(message)) << type_of(message);
  }
  // Its own wish to repeat the step is no preparation.
  anew();
  welcome();
  hear(of_job<Assign>());
  ran(of_job<JobPrepared>());
  hear(of_job<Begin>());
  Prepared repeat = of_job<Prepared>(1, 1);
  repeat.outcome = Outcome::repeat;
  ran(repeat);
  EXPECT_TRUE(hangs_up(of_job<Commit>(1)));
}

TEST_F(WorkerTest, MessagesOfAnotherEpochAreDropped) {
  prepare();
  for (const JobEpoch& id : {JobEpoch{"job", 4}, JobEpoch{"job", 6}, JobEpoch{"other", 5}}) {
    EXPECT_THAT(hear(of_job<Commit>(1, 0, id)), IsEmpty());
    EXPECT_THAT(hear(of_job<Stop>(0, 0, id)), IsEmpty());
    EXPECT_THAT(ran(of_job<Failed>(0, 0, id)), IsEmpty());
  }
  EXPECT_EQ(worker.dropped_messages(), 9);
  EXPECT_EQ(worker.state(), WorkerState::prepared);
}

TEST_F(WorkerTest, AFailureIsSaidOnce) {
  prepare();
  Failed failed = of_job<Failed>();
  failed.error = {ErrorCode::no_space, "the disk is full", {}, {}};
  EXPECT_EQ(said<Failed>(ran(failed))->error.message, "the disk is full");
  EXPECT_THAT(ran(failed), IsEmpty());
  EXPECT_THAT(hear(of_job<Commit>(1)), IsEmpty()) << "it was on its way";
  hear(of_job<Stop>());
  EXPECT_EQ(worker.state(), WorkerState::idle);
}

TEST_F(WorkerTest, SettlesFromAnyPlaceInAStep) {
  for (int place = 0; place < 4; ++place) {
    anew();
    prepare();
    Commit commit = of_job<Commit>(1);
    if (place == 3) commit.then = Then::finish;
    if (place > 0) hear(commit);
    if (place > 1) ran(of_job<Committed>(1));
    const WorkerActions actions = hear(of_job<Settle>(place == 0 ? 7 : 1));
    EXPECT_EQ(all<LeaveStep>(actions).size(), 1U);
    ASSERT_EQ(all<GiveState>(actions).size(), 1U);
    EXPECT_EQ(all<GiveState>(actions)[0].step, place == 0 ? 7 : 1) << "the runner knows what it has";
    EXPECT_EQ(worker.state(), WorkerState::settling);
    if (place == 1) {
      const WorkerActions done = ran(of_job<Committed>(1));
      EXPECT_TRUE(said<Committed>(done));
      EXPECT_THAT(all<RunStep>(done), IsEmpty()) << "no step follows";
    }
    Prepared error = of_job<Prepared>(2, 1);
    error.outcome = Outcome::error;
    EXPECT_THAT(ran(error), IsEmpty()) << "of the step that was left";
    EXPECT_TRUE(said<StatePart>(ran(of_job<StatePart>(1))));
    EXPECT_EQ(all<DropJob>(hear(of_job<Stop>())).size(), 1U);
  }
}

TEST_F(WorkerTest, SaysThatItCannotGiveTheStateEvenIfItHasFailedBefore) {
  prepare();
  Failed failed = of_job<Failed>();
  failed.error = {ErrorCode::no_space, "the disk is full", {}, {}};
  ran(failed);
  hear(of_job<Settle>(1));
  EXPECT_TRUE(said<Failed>(ran(failed)));
  EXPECT_THAT(ran(failed), IsEmpty());
}

TEST_F(WorkerTest, HasNothingToSettleBeforeItsFirstStep) {
  welcome();
  hear(of_job<Assign>());
  EXPECT_EQ(all<HangUp>(hear(of_job<Settle>(1))).size(), 1U);
}

TEST_F(WorkerTest, WithoutACoordinatorNothingIsFinished) {
  prepare();
  hear(of_job<Commit>(1));
  worker.on_lost(kGone, Seconds(10));
  EXPECT_THAT(worker.on_runner(of_job<Committed>(1), Seconds(11)), IsEmpty());
  EXPECT_THAT(all<DropJob>(worker.on_tick(Seconds(39.5))), IsEmpty());
  worker.on_lost(kGone, Seconds(39.6));  // a dial that failed does not start the time anew
  const auto drops = all<DropJob>(worker.on_tick(Seconds(40)));
  ASSERT_EQ(drops.size(), 1U);
  EXPECT_EQ(drops[0].why->message, "the line broke");
  EXPECT_THAT(worker.on_tick(Seconds(41)), IsEmpty());
}

TEST_F(WorkerTest, AWelcomeIsANewMembership) {
  prepare();
  worker.on_lost(kGone, Seconds(10));
  worker.on_connected(Seconds(11), Seconds(0));
  EXPECT_EQ(all<DropJob>(worker.on_message(Welcome{9, "pool"}, Seconds(12))).size(), 1U);
  EXPECT_EQ(worker.state(), WorkerState::idle);
  EXPECT_EQ(all<PrepareJob>(hear(of_job<Assign>())).size(), 1U);
}

TEST_F(WorkerTest, ItsOwnerMayStopItAtAnyTime) {
  prepare();
  const WorkerActions actions = worker.on_leave("the hours are over", Seconds(3));
  EXPECT_EQ(said<Left>(actions)->reason, "the hours are over");
  EXPECT_EQ(all<DropJob>(actions).size(), 1U);
  EXPECT_FALSE(all<End>(actions)[0].why);
  EXPECT_THAT(hear(of_job<Commit>(1)), IsEmpty());
  EXPECT_THAT(worker.on_tick(Seconds(100)), IsEmpty());
}

}  // namespace
}  // namespace suanli::protocol
