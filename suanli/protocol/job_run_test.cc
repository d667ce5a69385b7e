// The two-phase commit alone, with two workers and messages by hand.
#include "suanli/protocol/job_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace suanli::protocol {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

class JobRunTest : public testing::Test {
 protected:
  static JobRequest request() { return {.id = "job", .last_step = 10, .snapshot_every = 1}; }
  static std::vector<WorkerFacts> two_workers() {
    return {{"a", Hello{.version = "0.1.0", .name = "a"}}, {"b", Hello{.version = "0.1.0", .name = "b"}}};
  }
  template <typename T>
  static T of_job(std::int64_t step = 0, std::int64_t attempt = 0) {
    T message;
    message.job = "job";
    message.epoch = 1;
    if constexpr (requires { message.step; }) message.step = step;
    if constexpr (requires { message.attempt; }) message.attempt = attempt;
    return message;
  }
  // Outputs of this type, or messages of this type that are told.
  template <typename T>
  static std::vector<T> all(const RunOutputs& outputs) {
    std::vector<T> found;
    const auto add = [&](const auto& each) {
      if constexpr (std::is_same_v<std::decay_t<decltype(each)>, T>) found.push_back(each);
    };
    for (const RunOutput& each : outputs) {
      std::visit(add, each);
      if (const Tell* tell = std::get_if<Tell>(&each)) std::visit(add, tell->message);
    }
    return found;
  }
  RunOutputs hear(std::size_t worker, const ToCoordinator& message, double now = 1) {
    return run.on_message(worker, message, Seconds(now));
  }
  void begin() {
    hear(0, of_job<Ready>());
    ASSERT_EQ(all<Begin>(hear(1, of_job<Ready>())).size(), 1U);
  }
  // Both prepare the step and commit it; what they were told.
  Then make_step(std::int64_t step, double now = 1) {
    hear(0, of_job<Prepared>(step, 1), now);
    const auto commits = all<Commit>(hear(1, of_job<Prepared>(step, 1), now));
    EXPECT_EQ(commits.size(), 1U);
    hear(0, of_job<Committed>(step), now);
    EXPECT_EQ(all<Stepped>(hear(1, of_job<Committed>(step), now)).size(), 1U);
    return commits.empty() ? Then::stop : commits[0].then;
  }

  JobRun run{{}, request(), 1, two_workers(), Seconds(0)};
};

TEST_F(JobRunTest, KeepsAReportOfTheNextStepUntilItBegins) {
  begin();
  hear(0, of_job<Prepared>(1, 1));
  hear(1, of_job<Prepared>(1, 1));
  hear(0, of_job<Committed>(1));
  EXPECT_THAT(hear(0, of_job<Prepared>(2, 1)), IsEmpty());
  const auto stepped = all<Stepped>(hear(1, of_job<Committed>(1)));
  ASSERT_EQ(stepped.size(), 1U);
  EXPECT_EQ(stepped[0].facts.uses.size(), 2U);
  EXPECT_EQ(all<Commit>(hear(1, of_job<Prepared>(2, 1)))[0].step, 2);
}

TEST_F(JobRunTest, AnEarlyWishToRepeatOrErrorWaitsToo) {
  for (const Outcome outcome : {Outcome::repeat, Outcome::error}) {
    JobRun other({}, request(), 1, two_workers(), Seconds(0));
    const auto tell = [&](std::size_t worker, const ToCoordinator& message) {
      return other.on_message(worker, message, Seconds(1));
    };
    for (const std::size_t worker : {0, 1}) tell(worker, of_job<Ready>());
    for (const std::size_t worker : {0, 1}) tell(worker, of_job<Prepared>(1, 1));
    tell(0, of_job<Committed>(1));
    Prepared early = of_job<Prepared>(2, 1);
    early.outcome = outcome;
    if (outcome == Outcome::error) early.error = Error{ErrorCode::io, "no disk", {}, {}};
    EXPECT_THAT(tell(0, early), IsEmpty());
    const RunOutputs outputs = tell(1, of_job<Committed>(1));
    EXPECT_EQ(all<Stepped>(outputs).size(), 1U) << "step 1 is committed all the same";
    EXPECT_EQ(all<Repeat>(outputs).size(), outcome == Outcome::repeat ? 1U : 0U);
    EXPECT_EQ(all<Over>(outputs).size(), outcome == Outcome::error ? 1U : 0U);
  }
}

TEST_F(JobRunTest, NobodyPreparesAStepBeforeItsOwnCommitOfTheLast) {
  begin();
  hear(0, of_job<Prepared>(1, 1));
  hear(1, of_job<Prepared>(1, 1));
  EXPECT_EQ(all<Broke>(hear(0, of_job<Prepared>(2, 1))).size(), 1U);
  hear(0, of_job<Committed>(1));
  EXPECT_EQ(all<Broke>(hear(0, of_job<Prepared>(3, 1))).size(), 1U);
  EXPECT_EQ(all<Broke>(hear(0, of_job<Prepared>(2, 2))).size(), 1U);
  EXPECT_THAT(hear(0, of_job<Prepared>(2, 1)), IsEmpty());
  EXPECT_EQ(all<Broke>(hear(0, of_job<Prepared>(2, 1))).size(), 1U);
  EXPECT_EQ(all<Broke>(hear(0, of_job<Committed>(1))).size(), 1U);
}

TEST_F(JobRunTest, AnErrorOfAnOlderAttemptStillEnds) {
  begin();
  Prepared repeat = of_job<Prepared>(1, 1);
  repeat.outcome = Outcome::repeat;
  EXPECT_EQ(all<Repeat>(hear(0, repeat))[0].attempt, 2);
  EXPECT_THAT(hear(1, of_job<Prepared>(1, 1)), IsEmpty());
  EXPECT_EQ(run.stale_messages(), 1);
  JobRun other({}, request(), 1, two_workers(), Seconds(0));
  for (const std::size_t worker : {0, 1}) other.on_message(worker, of_job<Ready>(), Seconds(1));
  other.on_message(0, repeat, Seconds(1));
  Prepared error = of_job<Prepared>(1, 1);
  error.outcome = Outcome::error;
  error.error = Error{ErrorCode::io, "no disk", {}, {}};
  EXPECT_EQ(all<Over>(other.on_message(1, error, Seconds(1)))[0].why->message, "no disk");
}

TEST_F(JobRunTest, OneSnapshotAtATime) {
  begin();
  EXPECT_EQ(make_step(1), Then::snapshot);
  EXPECT_EQ(make_step(2), Then::next);
  hear(0, of_job<StatePart>(1));
  EXPECT_THAT(run.on_saved(1, {}), IsEmpty()) << "not all have given it";
  EXPECT_EQ(make_step(3), Then::next);
  EXPECT_EQ(all<Collect>(hear(1, of_job<StatePart>(1)))[0].holders.size(), 2U);
  EXPECT_EQ(make_step(4), Then::next);
  EXPECT_EQ(all<Saved>(run.on_saved(1, {})).size(), 1U);
  EXPECT_THAT(run.on_saved(1, {}), IsEmpty());
  EXPECT_EQ(make_step(5), Then::snapshot) << "one was due meanwhile";
  EXPECT_EQ(all<Broke>(hear(0, of_job<StatePart>(2))).size(), 1U);
}

TEST_F(JobRunTest, EachStepHasItsOwnTime) {
  begin();
  EXPECT_EQ(run.step_limit(), Seconds(600));
  for (std::int64_t step = 1; step <= 3; ++step) make_step(step, 5.0 * static_cast<double>(step));
  for (const std::size_t worker : {0, 1}) hear(worker, of_job<Prepared>(4, 1), 17);
  for (const std::size_t worker : {0, 1}) hear(worker, of_job<Committed>(4), 20);
  EXPECT_EQ(run.step_limit(), Seconds(100)) << "20 medians of 4, 5, 5 and 5 s";
  hear(0, of_job<Prepared>(5, 1), 30);
  EXPECT_THAT(all<Over>(run.on_tick(Seconds(119.9))), IsEmpty());
  const auto over = all<Over>(run.on_tick(Seconds(120)));
  ASSERT_EQ(over.size(), 1U);
  EXPECT_EQ(over[0].why->code, ErrorCode::timed_out);
  EXPECT_THAT(over[0].why->message, HasSubstr("step 5 has been under way for 1 min 40 s; it waits for 'b'"));
  EXPECT_EQ(run.committed_step(), 4);
  EXPECT_THAT(run.on_tick(Seconds(1000)), IsEmpty());
}

TEST_F(JobRunTest, AStateThatIsNotOfferedHasALimit) {
  begin();
  make_step(1, 1);
  hear(1, of_job<StatePart>(1), 2);
  for (std::int64_t step = 2; step <= 9; ++step) make_step(step, 70.0 * static_cast<double>(step - 1));
  EXPECT_THAT(all<Over>(run.on_tick(Seconds(600.9))), IsEmpty());
  const auto over = all<Over>(run.on_tick(Seconds(601)));
  ASSERT_EQ(over.size(), 1U);
  EXPECT_THAT(over[0].why->message, HasSubstr("the state after step 1 has been asked for, for 10 min 00 s; it waits for 'a'"));
}

}  // namespace
}  // namespace suanli::protocol
