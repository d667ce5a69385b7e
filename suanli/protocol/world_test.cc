// The world of world_for_test.h, and jobs that run in it undisturbed.
#include "suanli/protocol/world_for_test.h"

#include <gmock/gmock.h>

namespace suanli::protocol {

Result<Placed> PlacingForTest::place(const JobRequest& job, Epoch epoch, const std::vector<WorkerFacts>& workers,
                                     const std::vector<LineFacts>& lines) const {
  last_lines = lines;
  if (job.job_file == "huge")
    return fail(ErrorCode::no_memory, "the job needs 3.00 GiB more than the pool has", "", "add a worker with 3.00 GiB");
  Placed placed{{}, "{}", "test"};
  placed.table.epoch = epoch;
  placed.table.placement.stages.resize(workers.size() > 1 ? 2 : 1);
  for (std::size_t i = 0; i < workers.size(); ++i)
    placed.table.placement.stages[i % placed.table.placement.stages.size()].push_back(static_cast<route::WorkerIndex>(i));
  return placed;
}

World::World(WorldOptions options) : options_(options), random_(options.seed), boxes_(at(options.workers)) {
  PoolRules rules{.pool = "test", .version = "0.1.0", .own_id = "coordinator"};
  coordinator = std::make_unique<Coordinator>(rules, placing);
  for (int i = 0; i < options.workers; ++i) {
    Hello facts{.version = "0.1.0", .name = "w" + std::to_string(i), .cores = 1, .memory = Bytes(1 << 30)};
    if (i == 0) facts.listen = "127.0.0.1:7000";
    boxes_[at(i)].worker = std::make_unique<Worker>(WorkerRules{.seed = options.seed + at(i)}, facts);
    later(draw(0.1), [this, i] {
      if (worker(i) && boxes_[at(i)].ends.empty()) perform(i, worker(i)->start(Seconds(now_)));
    });
  }
  static constexpr double kTick = 0.5;
  static const auto tick = [](World& world, const auto& again) -> void {
    world.perform(world.coordinator->on_tick(world.moment()));
    for (int i = 0; i < world.options_.workers; ++i)
      if (world.worker(i)) world.perform(i, world.worker(i)->on_tick(Seconds(world.now_)));
    world.later(kTick, [&world, again] { again(world, again); });
  };
  later(kTick, [this] { tick(*this, tick); });
}

JobRequest World::job(const JobId& id, std::int64_t steps) const {
  return {.id = id, .name = id, .job_file = "x = 1\n", .dataset = "{}", .last_step = steps,
          .least_workers = options_.workers};
}

void World::submit(const JobRequest& request) { perform(coordinator->on_submit(request, moment()).value()); }
void World::cancel(const JobId& id) { perform(coordinator->on_cancel(id, moment()).value()); }

bool World::step() {
  const auto next = queue_.begin();
  now_ = next->first;
  const auto event = std::move(next->second);
  queue_.erase(next);
  event();
  ++handled_;
  return !testing::Test::HasFatalFailure();
}

void World::run_until(const std::function<bool()>& holds, double most) {
  const double end = now_ + most;
  while (!holds()) {
    ASSERT_LT(now_, end) << "the condition does not come";
    if (!step()) return;
  }
}

void World::run_for(double seconds) {
  const double end = now_ + seconds;
  while (queue_.begin()->first <= end && step()) {
  }
}

bool World::is_over(const JobId& id) const {
  const auto view = coordinator->job(id);
  return view && protocol::is_over(view->state);
}

std::set<int> World::holders_of(const JobId& id, int stage) const {
  const auto members = members_.find({id, coordinator->job(id)->epoch});
  std::set<int> holders;
  if (members == members_.end()) return holders;
  for (const auto& [each, own] : members->second)
    if (own == stage) holders.insert(each);
  return holders;
}

std::int64_t World::last_told(const JobId& id) const {
  const auto found = told_.find(id);
  return found == told_.end() ? 0 : found->second;
}

void World::kill(int index) {
  boxes_[at(index)].worker.reset();
  close_link(index, {ErrorCode::unreachable, "the connection was reset", {}, {}}, true, false);
}

void World::leave(int index) {
  if (worker(index)) perform(index, worker(index)->on_leave("the owner said so", Seconds(now_)));
}

void World::cut(int index) {
  close_link(index, {ErrorCode::unreachable, "the line broke", {}, {}}, true, true);
}

// In order behind all that is on its way; nothing that is said later arrives.
void World::close_link(int index, const Error& why, bool tell_coordinator, bool tell_worker) {
  Box& box = boxes_[at(index)];
  if (!box.connected) return;
  box.connected = false;
  const int link = box.link;
  if (tell_coordinator)
    later(std::max(box.last_up - now_, 0.0), [this, index, why, link] {
      if (boxes_[at(index)].link == link) perform(coordinator->on_lost(peer(index), why, moment()));
    });
  if (tell_worker)
    later(std::max(box.last_down - now_, 0.0), [this, index, why, link] {
      if (worker(index) && boxes_[at(index)].link == link) perform(index, worker(index)->on_lost(why, Seconds(now_)));
    });
}

void World::send_up(int index, const ToCoordinator& message) {
  Box& box = boxes_[at(index)];
  if (!box.connected || box.mute) return;
  box.last_up = std::max(box.last_up, now_ + draw(options_.longest_delay));
  const Result<std::string> text = encode(message);
  ASSERT_TRUE(text) << text.error().to_string();
  later(box.last_up - now_, [this, index, text = *text, link = box.link] {
    if (boxes_[at(index)].link == link)
      perform(coordinator->on_message(peer(index), parse_to_coordinator(text, "up").value(), moment()));
  });
}

void World::send_down(int index, const ToWorker& message) {
  Box& box = boxes_[at(index)];
  if (!box.connected || box.mute) return;
  box.last_down = std::max(box.last_down, now_ + draw(options_.longest_delay));
  const Result<std::string> text = encode(message);
  ASSERT_TRUE(text) << text.error().to_string();
  later(box.last_down - now_, [this, index, text = *text, link = box.link] {
    if (worker(index) && boxes_[at(index)].link == link)
      perform(index, worker(index)->on_message(parse_to_worker(text, "down").value(), Seconds(now_)));
  });
}

void World::perform(Actions actions) {
  for (Action& action : actions) {
    if (auto* send = std::get_if<Send>(&action)) {
      if (auto* assign = std::get_if<Assign>(&send->message))
        members_[{assign->job, assign->epoch}][index_of(send->peer)] = static_cast<int>(assign->index % 2);
      if (auto* commit = std::get_if<Commit>(&send->message)) told_[commit->job] = commit->step;
      send_down(index_of(send->peer), send->message);
    } else if (auto* close = std::get_if<Close>(&action)) {
      close_link(index_of(close->peer), close->why, false, true);
    } else if (auto* changed = std::get_if<JobChanged>(&action)) {
      changes_.push_back(*changed);
    } else if (auto* step = std::get_if<StepCommitted>(&action)) {
      std::vector<StepFacts>& steps = committed_[step->job];
      EXPECT_TRUE(steps.empty() || steps.back().step + 1 == step->facts.step) << "steps are committed in order";
      const JobEpoch id{step->job, coordinator->job(step->job)->epoch};
      const auto& commits = commits_[{id.job, id.epoch, step->facts.step}];
      // Of a job that has lost a worker it is enough that somebody has of each stage.
      const bool is_settling = coordinator->job(step->job)->state == JobState::saving || is_over(step->job);
      std::set<int> stages_done;
      for (const auto& [each, stage] : members_[{id.job, id.epoch}]) {
        const bool has = liars_.contains(each) || commits.contains(each);
        if (has) stages_done.insert(stage);
        EXPECT_TRUE(has || is_settling)
            << "step " << step->facts.step << " counts, but worker " << each << " has not committed it";
      }
      EXPECT_EQ(stages_done.size(), std::min<std::size_t>(2, members_[{id.job, id.epoch}].size()));
      steps.push_back(step->facts);
    } else if (auto* collect = std::get_if<CollectState>(&action)) {
      collected_.push_back(*collect);
      later(draw(options_.longest_work), [this, job = collect->job, at_step = collect->step] {
        perform(coordinator->on_saved(job, at_step, save_status, moment()));
      });
    }
  }
}

void World::perform(int index, WorkerActions actions) {
  for (WorkerAction& action : actions) {
    Box& box = boxes_[at(index)];
    const double work = draw(options_.longest_work);
    if (auto* said = std::get_if<Say>(&action)) {
      send_up(index, said->message);
    } else if (auto* dial = std::get_if<Dial>(&action)) {
      later(dial->after.value(), [this, index] {
        Box& own = boxes_[at(index)];
        if (!own.worker || own.connected) return;
        if (!coordinator_answers || own.mute)
          return perform(index, own.worker->on_lost({ErrorCode::unreachable, "no answer", {}, {}}, Seconds(now_)));
        own.connected = true;
        ++own.link;
        own.last_up = own.last_down = now_;
        perform(coordinator->on_connected(peer(index), moment()));
        perform(index, own.worker->on_connected(moment().now, moment().wall));
      });
    } else if (auto* hang_up = std::get_if<HangUp>(&action)) {
      close_link(index, hang_up->why, true, false);
    } else if (auto* meet = std::get_if<MeetPeers>(&action)) {
      box.peers_seen.push_back(meet->now);
    } else if (auto* prepare = std::get_if<PrepareJob>(&action)) {
      const JobEpoch id = prepare->assign;
      const bool fails = fails_to_prepare && fails_to_prepare(index, prepare->assign);
      const Failed failed{id, {ErrorCode::no_memory, "the stage does not fit", {}, "lend more memory"}};
      box.of_state = id;
      box.state_of = prepare->assign.begin_step - 1;
      runner(index, [=] { return fails ? RunnerEvent(failed) : RunnerEvent(JobPrepared{id}); });
    } else if (auto* run = std::get_if<RunStep>(&action)) {
      box.running = *run;
      Prepared event;
      static_cast<JobEpoch&>(event) = *run;
      event.step = run->step;
      event.attempt = run->attempt;
      event.outcome = draw(1) < options_.repeat_chance ? Outcome::repeat : Outcome::ok;
      if (index == 1) event.loss = 10.0 / static_cast<double>(run->step);
      if (on_step) on_step(index, event);
      if (hung.contains(index)) continue;
      later(work, [this, index, event] {
        if (!worker(index)) return;
        // An attempt counts as prepared if it was still the one that ran.
        const RunStep& last = boxes_[at(index)].running;
        if (event.outcome == Outcome::ok && last == event && last.step == event.step && last.attempt == event.attempt)
          prepared_[{event.job, event.epoch, event.step}][event.attempt].insert(index);
        perform(index, worker(index)->on_runner(event, Seconds(now_)));
      });
    } else if (auto* commit = std::get_if<CommitStep>(&action)) {
      check_commit(index, *commit);
      runner(index, [this, index, work, commit = *commit]() -> RunnerEvent {
        Box& own = boxes_[at(index)];
        own.state_of = -1;
        if (fails_to_commit && fails_to_commit(index, commit.step))
          return Failed{commit, {ErrorCode::io, "the update failed", {}, {}}};
        own.state_of = commit.step;
        Committed event;
        static_cast<JobEpoch&>(event) = commit;
        event.step = commit.step;
        event.seconds["compute"] = Seconds(work);
        event.flops = Flops(100);
        return event;
      });
    } else if (std::holds_alternative<LeaveStep>(action)) {
      box.running.step = 0;
    } else if (auto* give = std::get_if<GiveState>(&action)) {
      runner(index, [this, index, give = *give]() -> RunnerEvent {
        const Box& own = boxes_[at(index)];
        if (own.of_state != give || own.state_of != give.step)
          return Failed{give, {ErrorCode::not_found, "this state is not here", {}, {}}};
        StatePart event;
        static_cast<JobEpoch&>(event) = give;
        event.step = give.step;
        // Workers of one stage are replicas.
        const int stage = members_.at({give.job, give.epoch}).at(index);
        event.tensors = {
            {"stage" + std::to_string(stage), Bytes(4), sha256("state of step " + std::to_string(give.step))}};
        if (on_state) on_state(index, event);
        return event;
      });
    } else if (auto* end = std::get_if<End>(&action)) {
      box.ends.push_back(end->why.value_or(Error{}));
      close_link(index, {ErrorCode::unreachable, "closed", {}, {}}, true, false);
    }
  }
}

void World::runner(int index, std::function<RunnerEvent()> work) {
  Box& box = boxes_[at(index)];
  if (hung.contains(index)) return;
  box.runner_free = std::max(box.runner_free, now_) + draw(options_.longest_work);
  later(box.runner_free - now_, [this, index, work = std::move(work)] {
    if (!worker(index) || hung.contains(index)) return;
    const RunnerEvent event = work();
    perform(index, worker(index)->on_runner(event, Seconds(now_)));
  });
}

void World::check_commit(int index, const CommitStep& action) {
  const std::int64_t attempt = boxes_[at(index)].running.attempt;
  const StepKey key{action.job, action.epoch, action.step};
  const auto& all = members_[{action.job, action.epoch}];
  EXPECT_FALSE(all.empty());
  EXPECT_EQ(boxes_[at(index)].running.step, action.step);
  const std::set<int>& prepared = prepared_[key][attempt];
  for (const auto& [each, stage] : all)
    EXPECT_TRUE(liars_.contains(each) || prepared.contains(each))
        << "step " << action.step << " is committed, but worker " << each << " has not prepared it";
  EXPECT_TRUE(commits_[key].emplace(index, attempt).second) << "step " << action.step << " is committed twice";
  for (const auto& [worker_index, other] : commits_[key]) EXPECT_EQ(other, attempt) << "two attempts are committed";
}

std::vector<std::int64_t> World::commits_of(int index, const JobId& job) const {
  std::vector<std::int64_t> steps;
  for (const auto& [key, workers] : commits_)
    if (std::get<0>(key) == job && workers.contains(index)) steps.push_back(std::get<2>(key));
  return steps;
}

namespace {

using testing::ElementsAre;

std::vector<JobState> states_of(const World& world, const JobId& id) {
  std::vector<JobState> states;
  for (const JobChanged& each : world.changes())
    if (each.job == id) states.push_back(each.state);
  return states;
}

TEST(Pool, AJobRunsToItsEnd) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    World world({.workers = 1 + static_cast<int>(seed % 6), .seed = seed});
    world.submit(world.job("job", 7));
    world.run_until([&] { return world.is_over("job"); });
    ASSERT_THAT(states_of(world, "job"), ElementsAre(JobState::queued, JobState::placing, JobState::preparing, JobState::running,
                                                     JobState::saving, JobState::finished)) << seed;
    ASSERT_EQ(world.committed().at("job").size(), 7U);
    for (int i = 0; i < 1 + static_cast<int>(seed % 6); ++i)
      EXPECT_THAT(world.commits_of(i, "job"), ElementsAre(1, 2, 3, 4, 5, 6, 7));
    ASSERT_EQ(world.collected().size(), 1U);
    EXPECT_TRUE(world.collected()[0].last);
    EXPECT_EQ(world.collected()[0].step, 7);
    EXPECT_EQ(world.coordinator->job("job")->saved_step, 7);
    EXPECT_EQ(world.coordinator->status().dropped_messages, 0);
    world.run_for(5);
    for (int i = 0; i < 1 + static_cast<int>(seed % 6); ++i) EXPECT_EQ(world.worker(i)->state(), WorkerState::idle);
  }
}

TEST(Pool, StepsThatDoNotFitAreRepeatedByAll) {
  std::int64_t repeated = 0;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    World world({.workers = 4, .seed = seed, .repeat_chance = 0.1});
    world.submit(world.job("job", 5));
    world.run_until([&] { return world.is_over("job"); });
    EXPECT_EQ(world.coordinator->job("job")->state, JobState::finished) << seed;
    for (const StepFacts& each : world.committed().at("job")) repeated += each.attempts - 1;
  }
  EXPECT_GT(repeated, 40);
}

TEST(Pool, AStepIsNotRepeatedForEver) {
  World world({.workers = 2});
  world.on_step = [](int worker, Prepared& event) {
    if (worker == 0 && event.step == 3) event.outcome = Outcome::repeat;
  };
  world.submit(world.job("job", 5));
  world.run_until([&] { return world.is_over("job"); });
  const auto view = world.coordinator->job("job");
  EXPECT_EQ(view->state, JobState::failed);
  EXPECT_EQ(view->error->code, ErrorCode::not_finite);
  EXPECT_THAT(view->error->message, testing::HasSubstr("step 3 did not fit in 64 attempts"));
  EXPECT_EQ(view->committed_step, 2);
}

TEST(Pool, SnapshotsOnTheWay) {
  World world({.workers = 3, .seed = 5});
  JobRequest request = world.job("job", 20);
  request.snapshot_every = 3;
  world.submit(request);
  world.run_until([&] { return world.is_over("job"); });
  EXPECT_EQ(world.coordinator->job("job")->state, JobState::finished);
  ASSERT_GE(world.collected().size(), 3U);
  for (std::size_t i = 0; i < world.collected().size(); ++i) {
    EXPECT_EQ(world.collected()[i].last, i + 1 == world.collected().size());
    EXPECT_EQ(world.collected()[i].holders.size(), 3U);
    if (i) { EXPECT_GT(world.collected()[i].step, world.collected()[i - 1].step); }
  }
  EXPECT_EQ(world.collected().front().step, 3);
}

TEST(Pool, JobsRunOneAfterAnotherInTheirOrder) {
  World world({.workers = 3, .seed = 9});
  for (const char* id : {"a", "b", "c"}) world.submit(world.job(id, 2));
  world.run_until([&] { return world.is_over("c"); });
  std::vector<JobId> finished;
  Epoch last = 0;
  for (const JobChanged& each : world.changes())
    if (each.state == JobState::finished) finished.push_back(each.job);
  EXPECT_THAT(finished, ElementsAre("a", "b", "c"));
  for (const JobView& each : world.coordinator->jobs()) {
    EXPECT_GT(each.epoch, last) << "every assignment has an epoch of its own";
    last = each.epoch;
  }
}

TEST(Pool, SameSeedSameWorld) {
  std::vector<std::int64_t> handled;
  std::vector<double> seconds;
  for (int run = 0; run < 2; ++run) {
    World world({.workers = 3, .seed = 11, .repeat_chance = 0.1});
    world.submit(world.job("job", 4));
    world.run_until([&] { return world.is_over("job"); });
    handled.push_back(world.events_handled());
    seconds.push_back(world.moment().now.value());
  }
  EXPECT_EQ(handled[0], handled[1]);
  EXPECT_EQ(seconds[0], seconds[1]);
}

}  // namespace
}  // namespace suanli::protocol
