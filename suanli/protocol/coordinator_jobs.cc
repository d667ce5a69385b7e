// The queue, placing, and what a running job asks for.
#include <algorithm>
#include <set>
#include <utility>

#include "suanli/base/text.h"
#include "suanli/protocol/coordinator.h"

namespace suanli::protocol {
namespace {

std::string place_of(const JobId& job) { return "job '" + printable(job) + "'"; }

}  // namespace

Result<Actions> Coordinator::on_submit(JobRequest request, Moment at) {
  at_ = at;
  if (request.id.empty() || request.id.size() > 128)
    return fail(ErrorCode::config, "a job's id has 1 to 128 bytes, not " + std::to_string(request.id.size()));
  if (find_job(request.id))
    return fail(ErrorCode::busy, "a job with this id has been submitted before", place_of(request.id), "choose another id");
  if (request.from_snapshot.value_or(0) < 0 || request.snapshot_every < 0 || request.least_workers < 1)
    return fail(ErrorCode::config, "the request holds a negative number", place_of(request.id));
  if (request.last_step < request.begin_step())
    return fail(ErrorCode::config, "the job ends with step " + std::to_string(request.last_step) + " and begins with step " +
                    std::to_string(request.begin_step()) + ": nothing is left to do", place_of(request.id), "raise `steps`");
  const auto waiting = std::ranges::count_if(jobs_, [](const Job& job) { return job.view.state == JobState::queued; });
  if (static_cast<std::size_t>(waiting) >= rules_.most_queued)
    return fail(ErrorCode::busy, std::to_string(waiting) + " jobs wait already", place_of(request.id), "submit it later");
  JobView view;
  view.id = request.id;
  view.name = request.name;
  view.begin_step = request.begin_step();
  view.committed_step = request.begin_step() - 1;
  view.saved_step = request.from_snapshot;
  view.last_step = request.last_step;
  view.submitted = at.wall;
  jobs_.push_back({std::move(request), std::move(view)});
  change(jobs_.back(), JobState::queued);
  event(Reason::job_queued, jobs_.back().request.id, place_of(jobs_.back().request.id) + " was submitted");
  advance();
  return take();
}

Result<Actions> Coordinator::on_cancel(const JobId& id, Moment at) {
  at_ = at;
  Job* job = find_job(id);
  if (!job) {
    std::vector<std::string> ids;
    for (const Job& each : jobs_) ids.push_back(each.request.id);
    return fail(ErrorCode::not_found, "there is no such job" + did_you_mean(id, ids), place_of(id),
                "`suanli pool status` lists them");
  }
  if (is_over(job->view.state))
    return fail(ErrorCode::busy, "the job is over: it " + std::string(job->view.state == JobState::finished ? "has " : "was ") +
                    std::string(name_of(job->view.state)), place_of(id));
  if (run_ && run_->id().job == id) {
    perform(run_->cancel());
  } else {
    end_job(*job, JobState::cancelled, std::nullopt);
  }
  advance();
  return take();
}

Actions Coordinator::on_saved(const JobId& id, std::int64_t step, const Status& status, Moment at) {
  at_ = at;
  if (run_ && run_->id().job == id) perform(run_->on_saved(step, status));
  advance();
  return take();
}

// ---- placing

void Coordinator::advance() {
  while (!run_) {
    const auto next = std::ranges::find(jobs_, JobState::queued, [](const Job& job) { return job.view.state; });
    if (next == jobs_.end()) return;
    const auto welcomed = std::ranges::count_if(members_, [](const auto& each) { return each.second.hello.has_value(); });
    if (welcomed < next->request.least_workers) {
      if (std::exchange(told_to_wait_, next->request.id) != next->request.id)
        event(Reason::job_waits, next->request.id,
              place_of(next->request.id) + " waits for " + std::to_string(next->request.least_workers) + " workers; there are " +
                  std::to_string(welcomed), "start workers with `suanli worker --join`");
      return;
    }
    std::vector<std::pair<std::int64_t, WorkerFacts>> members;
    for (const auto& [peer, member] : members_)
      if (member.hello) members.push_back({member.number, {peer, *member.hello}});
    std::ranges::sort(members, {}, [](const auto& each) { return each.first; });
    std::vector<WorkerFacts> idle;
    for (auto& each : members) idle.push_back(std::move(each.second));
    place(*next, idle);
  }
}

void Coordinator::place(Job& job, const std::vector<WorkerFacts>& idle) {
  change(job, JobState::placing);
  const Epoch epoch = next_epoch_++;
  Result<Placed> placed = placing_.place(job.request, epoch, idle, lines());
  if (!placed) return end_job(job, JobState::failed, placed.error());
  const auto assigned = assign(job, *placed, epoch, idle);
  if (!assigned) end_job(job, JobState::failed, assigned.error());
}

// Of each worker the stages that it holds.
Result<std::vector<std::vector<std::size_t>>> Coordinator::stages_of(const Placed& placed, Epoch epoch,
                                                                     std::size_t workers) const {
  const auto wrong = [](const std::string& what) {
    return fail(ErrorCode::mismatch, "the placement " + what, {}, "report this as a defect of suanli");
  };
  if (placed.table.epoch != epoch) return wrong("has another epoch than it was asked for");
  std::vector<std::vector<std::size_t>> stages(workers);
  for (std::size_t stage = 0; stage < placed.table.placement.stages.size(); ++stage) {
    const auto& replicas = placed.table.placement.stages[stage];
    if (replicas.empty()) return wrong("gives stage " + std::to_string(stage) + " to nobody");
    for (const route::WorkerIndex worker : replicas) {
      if (worker < 0 || static_cast<std::size_t>(worker) >= workers)
        return wrong("names worker " + std::to_string(worker) + ", which there is not");
      stages[static_cast<std::size_t>(worker)].push_back(stage);
    }
  }
  if (placed.table.placement.stages.empty()) return wrong("has no stage");
  return stages;
}

// Of each holder its rank, the same in all stages that it holds.
Result<std::vector<std::size_t>> Coordinator::lanes_of(const Placed& placed, const std::vector<std::size_t>& holders) const {
  const auto& stages = placed.table.placement.stages;
  std::vector<std::size_t> lanes;
  for (const std::size_t holder : holders) {
    std::optional<std::size_t> lane;
    bool is_one = true;
    for (const auto& replicas : stages)
      for (std::size_t rank = 0; rank < replicas.size(); ++rank)
        if (static_cast<std::size_t>(replicas[rank]) == holder) is_one = lane.value_or(rank) == rank && is_one, lane = rank;
    const bool is_even = std::ranges::all_of(stages, [&](const auto& each) { return each.size() == stages.front().size(); });
    if (!lane || !is_one || !is_even)
      return fail(ErrorCode::mismatch, "the placement has no lanes", "stages of a job with local steps",
                  "report this as a defect of suanli");
    lanes.push_back(*lane);
  }
  return lanes;
}

// What a round's exchange should take over the slowest line between two of the workers that was measured.
Seconds Coordinator::exchange_time(const Lanes& lanes, const std::vector<std::size_t>& lane_of,
                                   const std::vector<WorkerFacts>& workers) const {
  if (lane_of.empty()) return {};
  std::set<std::string> peers;
  for (const WorkerFacts& worker : workers) peers.insert(worker.peer);
  const double sent = static_cast<double>(lanes.bytes.value()) * static_cast<double>(std::ranges::max(lane_of));
  Seconds longest;
  for (const auto& [ends, line] : lines_)
    if (peers.contains(ends.first) && peers.contains(ends.second) && line.rate.value() > 0)
      longest = std::max(longest, line.delay + Seconds(sent / line.rate.value()));
  return longest;
}

Status Coordinator::assign(Job& job, const Placed& placed, Epoch epoch, const std::vector<WorkerFacts>& workers) {
  SUANLI_ASSIGN_OR_RETURN(auto stages, stages_of(placed, epoch, workers.size()));
  std::vector<std::size_t> holders;
  for (std::size_t i = 0; i < workers.size(); ++i)
    if (!stages[i].empty()) holders.push_back(i);
  std::vector<Action> sends;
  for (const std::size_t own : holders) {
    Assign message;
    message.job = job.request.id;
    message.epoch = epoch;
    message.job_file = job.request.job_file;
    message.dataset = job.request.dataset;
    message.route = placed.table_text;
    message.index = static_cast<route::WorkerIndex>(own);
    for (const std::size_t other : holders) {
      if (other == own) continue;
      auto route = route_between(workers[own].peer, workers[other].peer, static_cast<route::WorkerIndex>(other));
      if (!route)
        return fail(ErrorCode::unreachable, "neither worker '" + workers[own].hello.name + "' nor worker '" +
                        workers[other].hello.name + "' can be dialled, and no worker could relay between them",
                    place_of(job.request.id), "start one of the workers with --listen HOST:PORT");
      message.peers.push_back(*std::move(route));
    }
    message.from_snapshot = job.request.from_snapshot;
    message.begin_step = job.request.begin_step();
    SUANLI_RETURN_IF_ERROR(encode(ToWorker(message)).map([](const std::string&) {}));
    sends.push_back(Send{workers[own].peer, std::move(message)});
  }
  std::vector<WorkerFacts> members;
  std::vector<std::vector<std::size_t>> held;
  job.view.workers.clear();
  for (const std::size_t each : holders) {
    members.push_back(workers[each]);
    held.push_back(std::move(stages[each]));
    job.view.workers.push_back(workers[each].peer);
  }
  std::vector<std::size_t> lanes;
  if (job.request.lanes.inner_steps > 0) {
    SUANLI_ASSIGN_OR_RETURN(lanes, lanes_of(placed, holders));
  }
  const Seconds exchange = exchange_time(job.request.lanes, lanes, members);
  run_ = std::make_unique<JobRun>(rules_.run, job.request, epoch, std::move(members), std::move(held), at_.now,
                                  std::move(lanes), exchange);
  job.view.epoch = epoch;
  job.view.placement = placed.said;
  job.view.started = at_.wall;
  event(Reason::job_placed, job.request.id, place_of(job.request.id) + " was placed on " + std::to_string(holders.size()) +
                                               " of " + std::to_string(workers.size()) + " workers: " + placed.said);
  change(job, JobState::preparing);
  for (Action& each : sends) actions_.push_back(std::move(each));
  return {};
}

// ---- running

void Coordinator::perform(RunOutputs outputs) {
  if (outputs.empty()) return;
  Job& job = *find_job(run_->id().job);
  for (RunOutput& output : outputs) {
    if (auto* tell = std::get_if<Tell>(&output)) {
      for (std::size_t i = 0; i < run_->workers().size(); ++i)
        if (!run_->is_lost(i)) actions_.push_back(Send{run_->workers()[i].peer, tell->message});
    } else if (auto* moved = std::get_if<Moved>(&output)) {
      change(job, moved->state);
      if (moved->state == JobState::running) event(Reason::job_running, job.request.id, place_of(job.request.id) + " runs");
    } else if (auto* repeated = std::get_if<Repeated>(&output)) {
      event(Reason::step_repeated, job.request.id, "exact sums of step " + std::to_string(repeated->step) +
                                                      " did not fit: attempt " + std::to_string(repeated->attempt));
    } else if (auto* stepped = std::get_if<Stepped>(&output)) {
      job.view.committed_step = stepped->facts.step;
      job.view.last = stepped->facts;
      actions_.push_back(StepCommitted{job.request.id, std::move(stepped->facts)});
    } else if (auto* wanted = std::get_if<Collect>(&output)) {
      actions_.push_back(CollectState{job.request.id, run_->id().epoch, wanted->step, job.view.state == JobState::saving,
                                      std::move(wanted->holders)});
    } else if (auto* saved = std::get_if<Saved>(&output)) {
      const std::string step = "the state after step " + std::to_string(saved->step);
      if (saved->status) job.view.saved_step = saved->step;
      if (saved->status) event(Reason::snapshot_saved, job.request.id, step + " is saved");
      else event(Reason::snapshot_failed, job.request.id, step + " was not saved: " + saved->status.error().message,
                 saved->status.error().next_step);
    } else if (auto* fault = std::get_if<Broke>(&output)) {
      // The run hears of the loss inside, and may end: nothing follows this output.
      const std::string peer = run_->workers()[fault->worker].peer;
      return broke(peer, fault->sentence);
    } else if (auto* over = std::get_if<Over>(&output)) {
      const bool cancelled = run_->cancelled() && !over->why;
      const bool whole = job.view.saved_step == job.request.last_step;
      run_.reset();
      if (over->why && !over->kept.empty()) over->why->message += "; " + over->kept;
      const JobState end = cancelled && !whole ? JobState::cancelled : JobState::finished;
      return end_job(job, over->why ? JobState::failed : end, over->why, !over->kept.empty());
    }
  }
}

void Coordinator::end_job(Job& job, JobState state, std::optional<Error> why, bool says_kept) {
  const std::string name = place_of(job.request.id), step = std::to_string(job.view.committed_step);
  job.view.ended = at_.wall;
  job.view.waits_for.clear();
  std::string kept = job.view.saved_step ? "; the state after step " + std::to_string(*job.view.saved_step) + " is saved"
                                         : "; no state is saved";
  if (state == JobState::finished) event(Reason::job_finished, job.request.id, name + " finished with step " + step);
  if (state == JobState::cancelled)
    event(Reason::job_cancelled, job.request.id, name + " was cancelled after step " + step + kept);
  if (state == JobState::failed)
    event(Reason::job_failed, job.request.id,
          name + " stopped after step " + step + ": " + why->message + (says_kept ? "" : kept), why->next_step);
  change(job, state, std::move(why));
  forget_old_jobs();
}

void Coordinator::change(Job& job, JobState state, std::optional<Error> why) {
  job.view.state = state;
  job.view.error = why;
  actions_.push_back(JobChanged{job.request.id, state, std::move(why)});
}

// The oldest jobs that are over, beyond `most_jobs_kept`.
void Coordinator::forget_old_jobs() {
  auto over = std::ranges::count_if(jobs_, [](const Job& job) { return is_over(job.view.state); });
  std::erase_if(jobs_, [&](const Job& job) {
    return is_over(job.view.state) && over > static_cast<std::ptrdiff_t>(rules_.most_jobs_kept) && over-- > 0;
  });
}

Coordinator::Job* Coordinator::find_job(const JobId& id) {
  const auto found = std::ranges::find(jobs_, id, [](const Job& job) -> const JobId& { return job.request.id; });
  return found == jobs_.end() ? nullptr : &*found;
}

}  // namespace suanli::protocol
