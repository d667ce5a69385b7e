// Workers that die, fall silent, leave, fail or lie.
#include <gmock/gmock.h>

#include "suanli/protocol/samples_for_test.h"
#include "suanli/protocol/world_for_test.h"

namespace suanli::protocol {
namespace {

using testing::HasSubstr;

bool has_event(const World& world, Reason reason, std::string_view text = "") {
  for (const PoolEvent& each : world.coordinator->events())
    if (each.reason == reason && each.sentence.find(text) != std::string::npos) return true;
  return false;
}

// What must hold once a job is over, however it ended.
void check_end(const World& world, const JobId& id) {
  const JobView view = *world.coordinator->job(id);
  const auto found = world.committed().find(id);
  const std::int64_t committed = found == world.committed().end() ? 0 : static_cast<std::int64_t>(found->second.size());
  EXPECT_EQ(view.committed_step, committed);
  if (view.state == JobState::failed) {
    EXPECT_FALSE(view.error->message.empty());
    EXPECT_TRUE(has_event(world, Reason::job_failed, view.error->message));
  }
}

// No fault costs a step that was told to be committed while each stage has a worker without a fault.
void check_promise(const World& world, const JobId& id, const std::set<int>& faulty) {
  const JobView view = *world.coordinator->job(id);
  if (view.state != JobState::failed || world.last_told(id) == 0) return;
  bool is_left = true;
  for (const int stage : {0, 1}) {
    const std::set<int> holders = world.holders_of(id, stage);
    is_left = is_left && std::ranges::any_of(holders, [&](int each) { return !faulty.contains(each); });
  }
  if (!is_left) return;
  EXPECT_EQ(view.saved_step, world.last_told(id)) << view.error->message;
  EXPECT_EQ(view.committed_step, world.last_told(id));
}

using Fault = void (*)(World&, int worker);

// One run for each event of an undisturbed run of two jobs: the fault strikes just before it. Both jobs end, with the reason if
// they were hit, and another one runs on who is left. Returns how often a job was stopped.
int strike_at_every_event(Fault fault, int workers_left) {
  int stopped = 0;
  const auto run = [&](std::uint64_t seed, std::int64_t strike) {
    World world({.workers = 3, .seed = seed, .repeat_chance = 0.05});
    JobRequest first = world.job("first", 3);
    first.snapshot_every = 2;
    world.submit(first);
    world.submit(world.job("second", 2));
    const auto both_over = [&] { return world.is_over("first") && world.is_over("second"); };
    while (!both_over() && world.events_handled() != strike) world.step();
    const std::int64_t events = world.events_handled();
    if (strike >= 0) fault(world, static_cast<int>(strike % 3));
    // Time for the fault to be noticed, for what runs to end, and for workers to come again.
    world.run_for(40);
    for (const char* id : {"first", "second"}) {
      // Without its third worker a job that was not placed yet would wait for ever.
      if (workers_left < 3 && world.coordinator->job(id)->state == JobState::queued) world.cancel(id);
      EXPECT_TRUE(world.is_over(id)) << id << ", struck at event " << strike;
      check_end(world, id);
      if (strike >= 0) check_promise(world, id, {static_cast<int>(strike % 3)});
      stopped += world.coordinator->job(id)->state == JobState::failed;
    }
    EXPECT_EQ(world.coordinator->status().workers, strike >= 0 ? workers_left : 3);
    JobRequest last = world.job("last", 2);
    last.least_workers = workers_left;
    world.submit(last);
    world.run_until([&] { return world.is_over("last"); }, 60);
    EXPECT_EQ(world.coordinator->job("last")->state, JobState::finished) << "struck at event " << strike;
    return events;
  };
  for (std::uint64_t seed = 21; seed <= 24; ++seed) {
    const int before = stopped;
    const std::int64_t events = run(seed, -1);
    EXPECT_EQ(stopped, before);
    for (std::int64_t strike = 0; strike < events && !testing::Test::HasFailure(); ++strike) run(seed, strike);
  }
  return stopped;
}

TEST(Faults, AWorkerDiesAtAnyMoment) {
  EXPECT_GT(strike_at_every_event([](World& world, int worker) { world.kill(worker); }, 2), 120);
}
TEST(Faults, AWorkerFallsSilentAtAnyMoment) {
  EXPECT_GT(strike_at_every_event([](World& world, int worker) { world.mute(worker); }, 2), 120);
}
TEST(Faults, AWorkerLeavesAtAnyMoment) {
  EXPECT_GT(strike_at_every_event([](World& world, int worker) { world.leave(worker); }, 2), 120);
}
TEST(Faults, ALineBreaksAtAnyMomentAndTheWorkerComesAgain) {
  EXPECT_GT(strike_at_every_event([](World& world, int worker) { world.cut(worker); }, 3), 120);
}

// With a second fault while the first is being dealt with: whatever strikes whom, the job ends, and what was promised holds.
TEST(Faults, TwoFaultsInARow) {
  int stopped = 0, kept = 0;
  for (std::uint64_t seed = 1; seed <= 600 && !testing::Test::HasFailure(); ++seed) {
    World world({.workers = 5, .seed = seed, .repeat_chance = 0.05});
    std::mt19937_64 random(seed);
    const auto below = [&](std::uint64_t bound) { return static_cast<int>(random() % bound); };
    JobRequest job = world.job("job", 6);
    job.snapshot_every = below(4);
    world.submit(job);
    std::set<int> faulty;
    for (int fault = 0; fault < 2; ++fault) {
      for (int steps = below(fault == 0 ? 250 : 40); steps > 0 && !world.is_over("job"); --steps) world.step();
      if (world.is_over("job")) break;
      const int worker = below(5);
      faulty.insert(worker);
      const int kind = below(5);
      if (kind == 0) world.kill(worker);
      if (kind == 1) world.mute(worker);
      if (kind == 2) world.cut(worker);
      if (kind == 3) world.hung.insert(worker);
      if (kind == 4) world.fails_to_commit = [worker](int each, std::int64_t) { return each == worker; };
    }
    world.run_until([&] { return world.is_over("job") || world.coordinator->job("job")->state == JobState::queued; }, 2000);
    if (!world.is_over("job")) continue;
    check_end(world, "job");
    check_promise(world, "job", faulty);
    const JobView view = *world.coordinator->job("job");
    stopped += view.state == JobState::failed;
    kept += view.state == JobState::failed && view.saved_step.value_or(0) > 0 && view.saved_step == view.committed_step;
  }
  EXPECT_GT(stopped, 200);
  EXPECT_GT(kept, 100);
}

// Two stages of two lanes: what is saved is all of each lane that no fault has touched, whatever strikes whom.
TEST(Faults, LanesAreKeptWholeOrNotAtAll) {
  int one = 0, both = 0, none = 0;
  for (std::uint64_t seed = 1; seed <= 300 && !testing::Test::HasFailure(); ++seed) {
    World world({.workers = 4, .seed = seed, .repeat_chance = 0.05});
    std::mt19937_64 random(seed);
    const auto below = [&](std::uint64_t bound) { return static_cast<int>(random() % bound); };
    JobRequest job = world.job("job", 8);
    job.lanes.inner_steps = 3;
    job.snapshot_every = below(4);
    world.submit(job);
    std::set<int> faulty;
    for (int fault = 0; fault < 1 + below(2); ++fault) {
      for (int steps = 40 + below(fault == 0 ? 250 : 40); steps > 0 && !world.is_over("job"); --steps) world.step();
      if (world.is_over("job")) break;
      const int worker = below(4);
      faulty.insert(worker);
      const int kind = below(5);
      if (kind == 0) world.kill(worker);
      if (kind == 1) world.mute(worker);
      if (kind == 2) world.cut(worker);
      if (kind == 3) world.hung.insert(worker);
      if (kind == 4) world.fails_to_commit = [worker](int each, std::int64_t) { return each == worker; };
    }
    world.run_until([&] { return world.is_over("job") || world.coordinator->job("job")->state == JobState::queued; }, 6000);
    if (!world.is_over("job")) continue;
    check_end(world, "job");
    const JobView view = *world.coordinator->job("job");
    if (view.state != JobState::failed || world.last_told("job") == 0) continue;
    // The placing deals stages out in turn: of the job's workers, in their order, each pair is a lane.
    std::vector<bool> is_whole(2, true);
    for (std::size_t i = 0; i < view.workers.size(); ++i)
      for (const int each : faulty)
        if (world.peer(each) == view.workers[i]) is_whole[i / 2] = false;
    if (is_whole[0] || is_whole[1]) {
      EXPECT_EQ(view.saved_step, world.last_told("job")) << view.error->message;
    }
    if (world.collected().empty() || world.collected().back().step != view.saved_step) {
      ++none;
      continue;
    }
    // Of the newest state: whose it is.
    std::set<std::string> holders;
    for (const StateHolder& holder : world.collected().back().holders) holders.insert(holder.peer);
    for (std::size_t lane = 0; lane < 2; ++lane) {
      const auto given = holders.contains(view.workers[2 * lane]) + holders.contains(view.workers[2 * lane + 1]);
      EXPECT_NE(given, 1) << "half a lane";
      EXPECT_TRUE(given == 2 || !is_whole[lane]);
    }
    (holders.size() == 2 ? one : both)++;
  }
  EXPECT_GT(one, 60);
  EXPECT_GT(both, 5);
  EXPECT_GT(none, 0);
}

TEST(Faults, AWorkerThatComesBackIsNotAskedForWhatItHadBefore) {
  World world({.workers = 3, .seed = 6});
  world.submit(world.job("job", 100));
  world.run_until([&] { return world.last_told("job") == 5; });
  std::set<int> holders = world.holders_of("job", 0).size() == 2 ? world.holders_of("job", 0) : world.holders_of("job", 1);
  const int first = *holders.begin(), second = *holders.rbegin();
  world.hung.insert(second);  // so that it takes a while
  world.cut(first);
  world.run_until([&] { return world.coordinator->job("job")->state == JobState::saving; });
  world.run_until([&] { return world.coordinator->status().workers == 3; }, 40);
  EXPECT_EQ(world.coordinator->status().idle, 1);
  world.run_until([&] { return world.worker(first)->state() == WorkerState::idle; }, 5);
  world.run_until([&] { return world.is_over("job"); }, 300);
  const JobView view = *world.coordinator->job("job");
  EXPECT_FALSE(view.saved_step);
  EXPECT_THAT(view.error->message, testing::AnyOf(HasSubstr("was not given within"), HasSubstr("of whom nobody is left")));
  world.run_for(2);
  EXPECT_TRUE(world.worker(first)->welcomed());
}

TEST(Faults, TheReasonNamesTheWorker) {
  World world({.workers = 3, .seed = 4});
  world.submit(world.job("job", 100));
  world.run_until([&] { return world.committed().contains("job") && world.committed().at("job").size() == 5; });
  world.kill(1);
  world.run_until([&] { return world.is_over("job"); }, 5);
  const JobView view = *world.coordinator->job("job");
  EXPECT_EQ(view.error->code, ErrorCode::unreachable);
  EXPECT_THAT(view.error->message, HasSubstr("'w1', which held a part of the job, is gone: the connection was reset"));
  EXPECT_GE(view.committed_step, 5);
  world.run_for(2);
  EXPECT_EQ(world.worker(0)->state(), WorkerState::idle);
  EXPECT_EQ(world.coordinator->status().workers, 2);
}

TEST(Faults, ASilentWorkerIsFoundAfterSixSeconds) {
  World world({.workers = 2, .seed = 8});
  world.run_for(5);
  const double muted = world.moment().now.value();
  world.mute(1);
  world.run_until([&] { return world.coordinator->status().workers == 1; }, 20);
  // Its last heartbeat is up to 2 s old at the start, and time is looked at twice a second.
  const double seconds = world.moment().now.value() - muted;
  EXPECT_GE(seconds, 3.5);
  EXPECT_LE(seconds, 6.8);
  EXPECT_TRUE(has_event(world, Reason::worker_silent, "nothing was heard of it for 6"));
  EXPECT_EQ(world.coordinator->workers(world.moment()).front().peer, world.peer(0));
}

TEST(Faults, AnErrorInAStepStopsTheJob) {
  World world({.workers = 3, .seed = 2});
  world.on_step = [](int worker, Prepared& event) {
    if (worker != 2 || event.step != 4) return;
    event.outcome = Outcome::error;
    event.error = Error{ErrorCode::not_finite, "the loss is NaN", {}, "lower the learning rate"};
  };
  world.submit(world.job("job", 6));
  world.submit(world.job("next", 2));
  world.run_until([&] { return world.is_over("next"); });
  const JobView view = *world.coordinator->job("job");
  EXPECT_EQ(view.state, JobState::failed);
  EXPECT_EQ(view.error->code, ErrorCode::not_finite);
  EXPECT_EQ(view.error->place, "worker 'w2'");
  EXPECT_EQ(view.committed_step, 3);
  EXPECT_EQ(world.coordinator->job("next")->state, JobState::finished);
}

TEST(Faults, ALossThatIsNoNumberIsAnErrorOfItsWorker) {
  World world({.workers = 2});
  world.on_step = [](int worker, Prepared& event) {
    if (worker == 1 && event.step == 2) event.loss = std::nan("");
  };
  world.submit(world.job("job", 6));
  world.run_until([&] { return world.is_over("job"); });
  EXPECT_EQ(world.coordinator->job("job")->error->code, ErrorCode::not_finite);
  EXPECT_EQ(world.coordinator->job("job")->committed_step, 1);
}

TEST(Faults, AWorkerThatCannotPrepare) {
  World world({.workers = 3});
  world.fails_to_prepare = [](int worker, const Assign& assign) { return worker == 1 && assign.job == "job"; };
  world.submit(world.job("job", 6));
  world.submit(world.job("next", 1));
  world.run_until([&] { return world.is_over("next"); });
  EXPECT_EQ(world.coordinator->job("job")->error->code, ErrorCode::no_memory);
  EXPECT_EQ(world.coordinator->job("next")->state, JobState::finished);
  EXPECT_FALSE(world.committed().contains("job"));
}

TEST(Faults, AJobTooLargeFailsAndThePoolGoesOn) {
  World world({.workers = 2});
  JobRequest huge = world.job("huge", 3);
  huge.job_file = "huge";
  world.submit(huge);
  world.submit(world.job("next", 1));
  world.run_until([&] { return world.is_over("next"); });
  EXPECT_EQ(world.coordinator->job("huge")->error->message, "the job needs 3.00 GiB more than the pool has");
  EXPECT_EQ(world.coordinator->job("huge")->error->next_step, "add a worker with 3.00 GiB");
  EXPECT_EQ(world.coordinator->job("next")->state, JobState::finished);
}

TEST(Faults, ReplicasThatDifferAreFound) {
  World world({.workers = 4});
  world.on_state = [](int worker, StatePart& state) {
    if (worker == 3) state.tensors[0].digest = sha256("something else");
  };
  JobRequest job = world.job("job", 4);
  world.submit(job);
  world.run_until([&] { return world.is_over("job"); });
  EXPECT_EQ(world.coordinator->job("job")->error->code, ErrorCode::differs);
  EXPECT_THAT(world.coordinator->job("job")->error->message,
              testing::MatchesRegex(".*between worker 'w[0-3]' and worker 'w[0-3]' after step 4"));
  EXPECT_TRUE(world.collected().empty());
}

TEST(Faults, AStateThatCannotBeSaved) {
  World world({.workers = 2});
  world.save_status = fail(ErrorCode::no_space, "the disk is full");
  JobRequest job = world.job("job", 6);
  job.snapshot_every = 2;
  world.submit(job);
  world.run_until([&] { return world.is_over("job"); });
  const JobView view = *world.coordinator->job("job");
  EXPECT_EQ(view.error->code, ErrorCode::no_space);
  EXPECT_EQ(view.committed_step, 6) << "a snapshot that fails on the way does not stop the job";
  EXPECT_FALSE(view.saved_step.has_value());
  EXPECT_TRUE(has_event(world, Reason::snapshot_failed, "after step 2 was not saved"));
}

TEST(Faults, AStepThatDoesNotEndNamesWhoIsMissing) {
  World world({.workers = 3, .longest_delay = 0.01, .longest_work = 0.02});
  std::int64_t waits_at = 8;
  world.submit(world.job("job", 1000));
  // From step 8 on worker 2 never answers, though its heart beats.
  world.on_step = [&](int worker, Prepared& event) {
    if (worker == 2 && event.step >= waits_at) event.step += 1'000'000;
  };
  world.run_until([&] { return world.is_over("job"); }, 70);
  const JobView view = *world.coordinator->job("job");
  EXPECT_EQ(view.error->code, ErrorCode::timed_out);
  EXPECT_THAT(view.error->message, HasSubstr("step 8 has been under way for 1 min 00 s; it waits for 'w2'"));
  EXPECT_EQ(view.committed_step, 7);
  EXPECT_EQ(world.coordinator->status().workers, 3);
}

// A worker that says anything at any time: nothing crashes, nothing is committed that should not be (the world checks), jobs
// end.
TEST(Faults, LiesAtAnyMoment) {
  int closed = 0, finished = 0;
  for (std::uint64_t seed = 1; seed <= 300 && !testing::Test::HasFailure(); ++seed) {
    World world({.workers = 3, .seed = seed, .repeat_chance = 0.05});
    world.submit(world.job("job", 4));
    std::mt19937_64 random(seed);
    const auto below = [&](std::uint64_t bound) { return static_cast<std::int64_t>(random() % bound); };
    for (std::int64_t steps = below(150); steps > 0; --steps) world.step();
    for (int lie = 0; lie < 3; ++lie) {
      auto samples = samples_to_coordinator();
      ToCoordinator message = samples[static_cast<std::size_t>(below(samples.size()))];
      std::visit(
          [&](auto& each) {
            using T = std::decay_t<decltype(each)>;
            if constexpr (std::is_base_of_v<JobEpoch, T>) {
              each.job = "job";
              each.epoch = static_cast<Epoch>(1 + below(2) * below(2));
            }
            if constexpr (requires { each.step; }) each.step = 1 + below(5);
            if constexpr (requires { each.attempt; }) each.attempt = 1 + below(2);
          },
          message);
      world.say(static_cast<int>(below(3)), message);
      for (std::int64_t steps = below(20); steps > 0; --steps) world.step();
    }
    world.run_until([&] { return world.is_over("job") || world.coordinator->job("job")->state == JobState::queued; });
    check_end(world, "job");
    closed += has_event(world, Reason::worker_broke_protocol);
    finished += world.coordinator->job("job")->state == JobState::finished;
    // The pool goes on with those who come again.
    world.submit(world.job("next", 1));
    if (!world.is_over("job")) world.cancel("job");
    if (world.coordinator->status().workers == 3) world.run_until([&] { return world.is_over("next"); });
  }
  EXPECT_GT(closed, 50);
  EXPECT_GT(finished, 20);
}

TEST(Faults, ACoordinatorThatIsGone) {
  World world({.workers = 2, .seed = 3});
  world.submit(world.job("job", 1000));
  world.run_until([&] { return world.committed().contains("job") && world.committed().at("job").size() >= 2; });
  world.coordinator_answers = false;
  world.cut(0);
  world.cut(1);
  world.run_for(5);
  EXPECT_NE(world.worker(0)->state(), WorkerState::idle) << "the job is kept for a while";
  const auto commits = world.commits_of(0, "job");
  world.run_for(30);
  EXPECT_EQ(world.commits_of(0, "job"), commits) << "nothing is finished without a coordinator";
  EXPECT_EQ(world.worker(0)->state(), WorkerState::idle);
  world.run_for(3600);
  world.coordinator_answers = true;
  world.run_until([&] { return world.coordinator->status().workers == 2; }, 40);
}

}  // namespace
}  // namespace suanli::protocol
