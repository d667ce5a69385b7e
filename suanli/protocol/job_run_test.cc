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

  JobRun run{{}, request(), 1, two_workers(), {{0}, {1}}, Seconds(0)};
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
    JobRun other({}, request(), 1, two_workers(), {{0}, {1}}, Seconds(0));
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
    EXPECT_EQ(all<Settle>(outputs).size(), outcome == Outcome::error ? 1U : 0U);
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

TEST_F(JobRunTest, TheLossOfAStepIsTheMeanOfWhatIsSaid) {
  begin();
  Prepared first = of_job<Prepared>(1, 1), second = first;
  first.loss = 2;
  first.grad_norm = 0.5;
  second.loss = 3;
  hear(0, first);
  hear(1, second);
  hear(0, of_job<Committed>(1));
  const auto stepped = all<Stepped>(hear(1, of_job<Committed>(1)));
  ASSERT_EQ(stepped.size(), 1U);
  EXPECT_EQ(stepped[0].facts.loss, 2.5);
  EXPECT_EQ(stepped[0].facts.grad_norm, 0.5);
}

TEST_F(JobRunTest, AnErrorOfAnOlderAttemptStillEnds) {
  begin();
  Prepared repeat = of_job<Prepared>(1, 1);
  repeat.outcome = Outcome::repeat;
  EXPECT_EQ(all<Repeat>(hear(0, repeat))[0].attempt, 2);
  EXPECT_THAT(hear(1, of_job<Prepared>(1, 1)), IsEmpty());
  EXPECT_EQ(run.stale_messages(), 1);
  JobRun other({}, request(), 1, two_workers(), {{0}, {1}}, Seconds(0));
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
  EXPECT_THAT(run.on_tick(Seconds(119.9)), IsEmpty());
  EXPECT_EQ(all<Settle>(run.on_tick(Seconds(120)))[0].step, 4);
  const auto over = all<Over>(run.on_tick(Seconds(240)));
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
  EXPECT_THAT(run.on_tick(Seconds(600.9)), IsEmpty());
  EXPECT_EQ(all<Settle>(run.on_tick(Seconds(601)))[0].step, 9);
  EXPECT_EQ(run.settle_limit(), Seconds(140)) << "two medians of a step";
  EXPECT_THAT(run.on_tick(Seconds(740.9)), IsEmpty());
  const auto over = all<Over>(run.on_tick(Seconds(741)));
  ASSERT_EQ(over.size(), 1U);
  EXPECT_THAT(over[0].why->message, HasSubstr("the state after step 1 has been asked for, for 10 min 00 s; it waits for 'a'"));
}

// ---- settling: workers 0 and 2 hold stage 0, worker 1 stage 1; no snapshots on the way

class SettleTest : public JobRunTest {
 protected:
  static JobRequest plain() { return {.id = "job", .last_step = 10}; }
  static std::vector<WorkerFacts> three_workers() {
    auto workers = two_workers();
    workers.push_back({"c", Hello{.version = "0.1.0", .name = "c"}});
    return workers;
  }
  void SetUp() override { start(plain()); }
  void start(const JobRequest& request) {
    job.emplace(RunRules{}, request, 1, three_workers(), std::vector<std::vector<std::size_t>>{{0}, {1}, {0}}, Seconds(0));
    for (const std::size_t worker : {0, 1, 2}) say(worker, of_job<Ready>());
  }
  RunOutputs say(std::size_t worker, const ToCoordinator& message, double now = 1) {
    return job->on_message(worker, message, Seconds(now));
  }
  void tell(std::int64_t step) {  // its commit
    for (const std::size_t worker : {0, 1, 2}) say(worker, of_job<Prepared>(step, 1));
  }
  void make(std::int64_t step) {
    tell(step);
    for (const std::size_t worker : {0, 1, 2}) say(worker, of_job<Committed>(step));
  }
  RunOutputs lose(std::size_t worker) { return job->on_lost(worker, {ErrorCode::unreachable, "the line broke", {}, {}}); }
  StatePart part(std::int64_t step, const std::string& tensor, const std::string& bytes = "x") {
    StatePart message = of_job<StatePart>(step);
    message.tensors = {{tensor, Bytes(1), sha256(bytes)}};
    return message;
  }
  // Of the one Over among the outputs.
  std::string kept(const RunOutputs& outputs) {
    const auto over = all<Over>(outputs);
    EXPECT_EQ(over.size(), 1U);
    if (over.empty()) return "";
    EXPECT_TRUE(over[0].why);
    return over[0].kept;
  }

  std::optional<JobRun> job;
};

TEST_F(SettleTest, ALostReplicaCostsTheStepInFlightAlone) {
  make(1);
  say(0, of_job<Prepared>(2, 1));
  const RunOutputs outputs = lose(2);
  EXPECT_EQ(all<Settle>(outputs)[0].step, 1);
  EXPECT_EQ(all<Moved>(outputs)[0].state, JobState::saving);
  EXPECT_EQ(job->waits_for(), "'a', 'b'");
  EXPECT_THAT(say(1, of_job<Prepared>(2, 1)), IsEmpty()) << "it was on its way";
  EXPECT_THAT(say(0, part(1, "s0")), IsEmpty());
  const auto collect = all<Collect>(say(1, part(1, "s1")));
  ASSERT_EQ(collect.size(), 1U);
  EXPECT_EQ(collect[0].step, 1);
  EXPECT_EQ(collect[0].holders.size(), 2U);
  const RunOutputs end = job->on_saved(1, {});
  EXPECT_EQ(kept(end), "the state after step 1 is saved: the run can go on from there");
  EXPECT_THAT(all<Over>(end)[0].why->message, HasSubstr("worker 'c', which held a part of the job, is gone: the line broke"));
  EXPECT_EQ(all<Stop>(end).size(), 1U);
  EXPECT_EQ(job->committed_step(), 1);
}

TEST_F(SettleTest, AToldCommitIsCarriedOutAndCounts) {
  make(1);
  tell(2);
  say(0, of_job<Committed>(2));
  EXPECT_EQ(all<Settle>(lose(2))[0].step, 2);
  say(0, part(2, "s0"));
  EXPECT_EQ(job->committed_step(), 1);
  EXPECT_EQ(all<Broke>(say(1, part(2, "s1"))).size(), 1U) << "it has not committed";
  EXPECT_THAT(say(1, of_job<Committed>(2)), IsEmpty());
  const RunOutputs outputs = say(1, part(2, "s1"));
  EXPECT_EQ(all<Stepped>(outputs)[0].facts.step, 2);
  EXPECT_EQ(all<Stepped>(outputs)[0].facts.uses.size(), 2U);
  EXPECT_EQ(all<Collect>(outputs).size(), 1U);
  EXPECT_EQ(job->committed_step(), 2);
}

TEST_F(SettleTest, NobodyWaitsForAReplicaThatIsStuck) {
  make(1);
  Prepared error = of_job<Prepared>(2, 1);
  error.outcome = Outcome::error;
  error.error = Error{ErrorCode::io, "no disk", {}, {}};
  EXPECT_EQ(all<Settle>(say(1, error))[0].step, 1);
  say(2, part(1, "s0"));
  EXPECT_EQ(all<Collect>(say(1, part(1, "s1"))).size(), 1U) << "who could not make the next step has the state of the last";
  EXPECT_THAT(say(0, part(1, "s0")), IsEmpty()) << "it comes late";
}

TEST_F(SettleTest, WhatAStageHeldAloneIsLost) {
  JobRequest request = plain();
  request.snapshot_every = 2;
  start(request);
  make(1);
  EXPECT_EQ(kept(lose(1)), "stage 1 was held by 'b' alone: no state of the job is saved");
  start(request);
  make(1);
  make(2);
  for (const std::size_t worker : {0, 1, 2}) say(worker, part(2, worker == 1 ? "s1" : "s0"));
  job->on_saved(2, {});
  make(3);
  lose(0);
  EXPECT_EQ(kept(lose(2)),
            "stage 0 was held by 'a', 'c', of whom nobody is left: the run can go on from its last snapshot, step 2");
  start(request);
  make(1);
  make(2);
  for (const std::size_t worker : {0, 1, 2}) say(worker, part(2, worker == 1 ? "s1" : "s0"));
  job->on_saved(2, {});
  EXPECT_EQ(kept(lose(2)), "") << "nothing was told since the snapshot";
}

TEST_F(SettleTest, WhoCouldNotCommitHoldsNothing) {
  make(1);
  tell(2);
  Failed failed = of_job<Failed>();
  failed.error = Error{ErrorCode::io, "no disk", {}, {}};
  EXPECT_EQ(all<Settle>(say(0, failed)).size(), 1U);
  say(1, of_job<Committed>(2));
  say(1, part(2, "s1"));
  EXPECT_EQ(kept(say(2, failed)), "stage 0 was held by 'a', 'c', of whom nobody is left: no state of the job is saved");
}

TEST_F(SettleTest, AnotherHolderIsTriedWhenAPartCannotBeFetched) {
  make(1);
  say(0, of_job<Prepared>(2, 1));
  Failed failed = of_job<Failed>();
  failed.error = Error{ErrorCode::io, "no disk", {}, {}};
  Prepared error = of_job<Prepared>(2, 1);
  error.outcome = Outcome::error;
  error.error = failed.error;
  say(1, error);
  for (const std::size_t worker : {0, 2}) say(worker, part(1, "s0"));
  const auto holder = [&](const RunOutputs& outputs) {
    const auto collect = all<Collect>(outputs);
    return collect.empty() ? std::string() : collect[0].holders[0].peer + collect[0].holders.back().peer;
  };
  EXPECT_EQ(holder(say(1, part(1, "s1"))), "ab");
  const Status corrupt = fail(ErrorCode::corrupt, "a digest");
  EXPECT_EQ(holder(job->on_saved(1, corrupt)), "bc");
  EXPECT_EQ(kept(job->on_saved(1, corrupt)),
            "the state after step 1 could not be saved (a digest): no state of the job is saved");
}

TEST_F(SettleTest, ALossWhileTheStateIsFetched) {
  make(1);
  lose(2);
  say(0, part(1, "s0"));
  say(1, part(1, "s1"));
  EXPECT_THAT(lose(0), IsEmpty()) << "its part may have come";
  EXPECT_EQ(kept(job->on_saved(1, fail(ErrorCode::unreachable, "the line broke"))),
            "the state after step 1 could not be saved (the line broke): no state of the job is saved");
}

TEST_F(SettleTest, ReplicasMustAgree) {
  make(1);
  Prepared error = of_job<Prepared>(2, 1);
  error.outcome = Outcome::error;
  error.error = Error{ErrorCode::io, "no disk", {}, {}};
  say(1, error);
  say(0, part(1, "s0", "x"));
  say(2, part(1, "s0", "y"));
  EXPECT_THAT(kept(say(1, part(1, "s1"))), HasSubstr("'s0' differs between worker 'a' and worker 'c' after step 1: no state"));
}

TEST_F(SettleTest, HasItsLimits) {
  make(1);
  job->on_tick(Seconds(5));
  lose(2);
  say(0, part(1, "s0"), 6);
  EXPECT_THAT(job->on_tick(Seconds(124.9)), IsEmpty());
  EXPECT_EQ(kept(job->on_tick(Seconds(125))),
            "the state after step 1 was not given within 2 min 00 s by 'b': no state of the job is saved");
  start(plain());
  make(1);
  lose(2);
  say(0, part(1, "s0"), 6);
  say(1, part(1, "s1"), 6);
  EXPECT_THAT(job->on_tick(Seconds(3605)), IsEmpty());
  EXPECT_THAT(kept(job->on_tick(Seconds(3606))), HasSubstr("was not saved within 1 h 00 min"));
}

TEST_F(SettleTest, TheLastStateEndsTheJobWellWhoeverIsLost) {
  for (std::int64_t step = 1; step <= 10; ++step) make(step);
  EXPECT_EQ(all<Settle>(lose(2))[0].step, 10);
  say(0, part(10, "s0"));
  say(1, part(10, "s1"));
  const auto over = all<Over>(job->on_saved(10, {}));
  ASSERT_EQ(over.size(), 1U);
  EXPECT_FALSE(over[0].why);
  // The same, while it is being fetched already.
  start(plain());
  for (std::int64_t step = 1; step <= 10; ++step) make(step);
  for (const std::size_t worker : {0, 1, 2}) say(worker, part(10, worker == 1 ? "s1" : "s0"));
  lose(2);
  EXPECT_FALSE(all<Over>(job->on_saved(10, {})).at(0).why);
}

TEST_F(SettleTest, ACancelledJob) {
  make(1);
  lose(2);
  EXPECT_THAT(job->cancel(), IsEmpty()) << "it is about to end";
  EXPECT_THAT(kept(job->cancel()), HasSubstr("cancelled before its state was saved"));
  JobRequest request = plain();
  request.save_when_cancelled = false;
  start(request);
  make(1);
  job->cancel();
  EXPECT_EQ(kept(lose(2)), "");
}

TEST_F(SettleTest, TheLostAreNotHeard) {
  make(1);
  lose(2);
  EXPECT_TRUE(job->is_lost(2));
  EXPECT_THAT(say(2, part(1, "s0")), IsEmpty());
  EXPECT_THAT(lose(2), IsEmpty());
  EXPECT_EQ(job->stale_messages(), 1);
}

// ---- lanes: workers 0 and 2 are the two stages of lane 0, workers 1 and 3 those of lane 1

class LanesTest : public JobRunTest {
 protected:
  static JobRequest plain(std::int64_t delay = 0) {
    return {.id = "job", .last_step = 20, .lanes = {.inner_steps = 4, .delay = delay}};
  }
  void SetUp() override { start(plain()); }
  void start(const JobRequest& request, Seconds exchange = {}) {
    auto workers = two_workers();
    workers.push_back({"c", Hello{.version = "0.1.0", .name = "c"}});
    workers.push_back({"d", Hello{.version = "0.1.0", .name = "d"}});
    job.emplace(RunRules{}, request, 1, workers, std::vector<std::vector<std::size_t>>{{0}, {0}, {1}, {1}}, Seconds(0),
                std::vector<std::size_t>{0, 1, 0, 1}, exchange);
    for (const std::size_t worker : {0, 1, 2, 3}) say(worker, of_job<Ready>());
  }
  RunOutputs say(std::size_t worker, const ToCoordinator& message, double now = 1) {
    return job->on_message(worker, message, Seconds(now));
  }
  void make(std::int64_t step, double now = 1) {
    for (const std::size_t worker : {0, 1, 2, 3}) say(worker, of_job<Prepared>(step, 1), now);
    for (const std::size_t worker : {0, 1, 2, 3}) say(worker, of_job<Committed>(step), now);
  }
  RunOutputs lose(std::size_t worker) { return job->on_lost(worker, {ErrorCode::unreachable, "the line broke", {}, {}}); }
  // What both lanes have of the stage, and what the worker's alone has.
  RunOutputs give(std::size_t worker, std::int64_t step, const std::string& shared = "x") {
    StatePart message = of_job<StatePart>(step);
    message.tensors = {{"stage" + std::to_string(worker / 2), Bytes(1), sha256(shared)},
                       {"replica/" + std::to_string(worker % 2) + "/s" + std::to_string(worker / 2), Bytes(1), sha256("own")}};
    return say(worker, message);
  }
  // The peers of the one Collect.
  static std::string holders(const RunOutputs& outputs) {
    std::string peers;
    for (const Collect& collect : all<Collect>(outputs))
      for (const StateHolder& holder : collect.holders) peers += holder.peer;
    return peers;
  }
  static std::string kept(const RunOutputs& outputs) {
    const auto over = all<Over>(outputs);
    EXPECT_EQ(over.size(), 1U);
    return over.empty() ? "" : over[0].kept;
  }

  std::optional<JobRun> job;
};

TEST_F(LanesTest, AllOfEachLaneThatIsWholeIsKept) {
  make(1);
  lose(2);  // of lane 0
  EXPECT_THAT(give(0, 1), IsEmpty());
  EXPECT_THAT(give(1, 1), IsEmpty()) << "there is some of each stage, of different lanes";
  EXPECT_EQ(holders(give(3, 1)), "bd");
  EXPECT_EQ(kept(job->on_saved(1, {})),
            "the state after step 1 is saved, of 1 of 2 lanes, counted anew: the run can go on from there");
}

TEST_F(LanesTest, AFaultThatCostsNobodyKeepsAllLanes) {
  make(1);
  Prepared error = of_job<Prepared>(2, 1);
  error.outcome = Outcome::error;
  error.error = Error{ErrorCode::not_finite, "the outer step after step 1", {}, {}};
  say(1, error);
  for (const std::size_t worker : {0, 1, 2}) EXPECT_THAT(give(worker, 1), IsEmpty()) << "the lanes' own state is waited for";
  EXPECT_EQ(holders(give(3, 1)), "abcd");
  EXPECT_EQ(kept(job->on_saved(1, {})), "the state after step 1 is saved: the run can go on from there");
}

TEST_F(LanesTest, WithoutAWholeLaneTheRunGoesBack) {
  make(1);
  lose(2);
  EXPECT_EQ(kept(lose(1)), "of the 2 lanes none is left whole: no state of the job is saved");
}

TEST_F(LanesTest, ALaneThatDoesNotGiveInTimeIsNotWaitedFor) {
  make(1);
  job->on_tick(Seconds(2));
  lose(3);
  EXPECT_THAT(give(0, 1), IsEmpty());
  EXPECT_EQ(kept(job->on_tick(Seconds(122))), "of the 2 lanes none is left whole: no state of the job is saved");
  start(plain());
  make(1);
  Prepared error = of_job<Prepared>(2, 1);
  error.outcome = Outcome::error;
  error.error = Error{ErrorCode::io, "no disk", {}, {}};
  say(1, error);
  for (const std::size_t worker : {0, 1, 2}) give(worker, 1);
  EXPECT_THAT(job->on_tick(Seconds(120.9)), IsEmpty());
  EXPECT_EQ(holders(job->on_tick(Seconds(122))), "ac") << "worker d is stuck";
  EXPECT_THAT(kept(job->on_saved(1, {})), HasSubstr("of 1 of 2 lanes"));
}

TEST_F(LanesTest, WhatLanesShareMustAgreeAndOnlyWhereItIsKept) {
  make(1);
  lose(2);
  give(0, 1, "y");
  give(1, 1, "x");
  EXPECT_EQ(holders(give(3, 1)), "bd") << "lane 0 is not kept";
  start(plain());
  make(1);
  Prepared error = of_job<Prepared>(2, 1);
  error.outcome = Outcome::error;
  error.error = Error{ErrorCode::io, "no disk", {}, {}};
  say(1, error);
  give(0, 1, "y");
  for (const std::size_t worker : {1, 2}) give(worker, 1, "x");
  EXPECT_THAT(kept(give(3, 1, "x")), HasSubstr("'stage0' differs between worker 'a' and worker 'b'"));
}

TEST_F(LanesTest, StepsThatMayWaitForOtherLanesHaveMoreTime) {
  EXPECT_EQ(job->step_limit(), Seconds(600)) << "nothing is exchanged before the first step";
  for (std::int64_t step = 1; step <= 4; ++step) make(step, static_cast<double>(step));
  EXPECT_EQ(job->step_limit(), Seconds(3660)) << "step 5 begins with what was sent after step 4";
  EXPECT_THAT(job->on_tick(Seconds(3663)), IsEmpty());
  EXPECT_EQ(all<Settle>(job->on_tick(Seconds(3664))).size(), 1U);
  start(plain(), Seconds(1000));
  for (std::int64_t step = 1; step <= 4; ++step) make(step, static_cast<double>(step));
  EXPECT_EQ(job->step_limit(), Seconds(10'060)) << "ten times of what the exchange should take";
  make(5, 5);
  EXPECT_EQ(job->step_limit(), Seconds(60));
}

TEST(Lanes, MayWaitWhereFragmentsAreApplied) {
  const auto waits = [](const Lanes& lanes) {
    std::vector<std::int64_t> steps;
    for (std::int64_t step = 1; step <= 40; ++step)
      if (lanes.may_wait(step, 38)) steps.push_back(step);
    return steps;
  };
  using testing::ElementsAre;
  EXPECT_THAT(waits({}), IsEmpty());
  EXPECT_THAT(waits({.inner_steps = 10}), ElementsAre(11, 21, 31, 38));
  EXPECT_THAT(waits({.inner_steps = 10, .fragments = 2, .delay = 3}), ElementsAre(13, 18, 23, 28, 33, 38));
  EXPECT_THAT(waits({.inner_steps = 10, .delay = 1, .begun = 5}), ElementsAre(16, 26, 36, 38));
}

}  // namespace
}  // namespace suanli::protocol
