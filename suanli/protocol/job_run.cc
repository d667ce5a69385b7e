#include "suanli/protocol/job_run.h"

#include <algorithm>
#include <utility>

#include "suanli/base/text.h"

namespace suanli::protocol {
namespace {

constexpr std::size_t kStepsOfMedian = 101;

}  // namespace

std::string_view name_of(JobState state) {
  constexpr std::string_view kNames[] = {"queued", "placing",  "preparing", "running",
                                         "saving", "finished", "failed",    "cancelled"};
  return kNames[static_cast<int>(state)];
}

bool Lanes::may_wait(std::int64_t step, std::int64_t last_step) const {
  if (inner_steps == 0) return false;
  if (step == last_step) return true;
  for (std::int64_t f = 0; f < fragments; ++f) {
    const std::int64_t sent = step - std::max<std::int64_t>(delay, 1) - begun - f * inner_steps / fragments;
    if (sent >= inner_steps && sent % inner_steps == 0) return true;
  }
  return false;
}

JobRun::JobRun(RunRules rules, const JobRequest& request, Epoch epoch, std::vector<WorkerFacts> workers,
               std::vector<std::vector<std::size_t>> stages, Seconds now, std::vector<std::size_t> lanes, Seconds exchange)
    : rules_(rules), id_{request.id, epoch}, workers_(std::move(workers)), stages_(std::move(stages)),
      begin_step_(request.begin_step()), last_step_(request.last_step), snapshot_every_(request.snapshot_every),
      save_when_cancelled_(request.save_when_cancelled), rounds_(request.lanes), lanes_(std::move(lanes)), exchange_(exchange),
      progress_(workers_.size()), step_(request.begin_step()),
      committed_(request.begin_step() - 1), saved_(request.from_snapshot), phase_since_(now), step_since_(now), now_(now) {
  SUANLI_CHECK(!workers_.empty() && step_ <= last_step_ && stages_.size() == workers_.size());
  SUANLI_CHECK(lanes_.empty() == (rounds_.inner_steps == 0) && (lanes_.empty() || lanes_.size() == workers_.size()));
  for (Progress& each : progress_) each.committed = committed_;
}

RunOutputs JobRun::take() { return std::exchange(outputs_, {}); }

RunOutputs JobRun::on_message(std::size_t worker, const ToCoordinator& message, Seconds now) {
  now_ = now;
  if (phase_ == Phase::over) return {};
  if (progress_.at(worker).is_lost) {
    ++stale_;
  } else {
    std::visit([&](const auto& each) { on(worker, each); }, message);
  }
  return take();
}

template <typename Other>
void JobRun::on(std::size_t, const Other&) {
  SUANLI_CHECK(!"a message that belongs to no job");
}

RunOutputs JobRun::on_lost(std::size_t worker, const Error& why) {
  SUANLI_CHECK(worker < workers_.size());
  if (phase_ == Phase::over || std::exchange(progress_[worker].is_lost, true)) return {};
  Error error = why;
  error.message = name_of_worker(worker) + ", which held a part of the job, is gone: " + why.message;
  settle(std::move(error));
  return take();
}

// ---- preparing

void JobRun::on(std::size_t worker, const Ready&) {
  if (phase_ != Phase::preparing || progress_[worker].ready) return broke(worker, "said 'ready' when it was not asked");
  progress_[worker].ready = true;
  if (!std::ranges::all_of(progress_, &Progress::ready)) return;
  outputs_.push_back(Moved{JobState::running});
  outputs_.push_back(Tell{Begin{id_}});
  begin_step(step_);
}

void JobRun::on(std::size_t worker, const Failed& message) {
  progress_[worker].has_failed = true;
  settle(Error(message.error).within(name_of_worker(worker)));
}

// ---- a step

void JobRun::begin_step(std::int64_t step) {
  phase_ = Phase::stepping;
  step_ = step;
  attempt_ = 1;
  phase_since_ = step_since_ = now_;
  facts_ = {.step = step};
  for (std::size_t i = 0; i < progress_.size(); ++i) progress_[i].prepared_attempt = 0;
  for (std::size_t i = 0; i < progress_.size() && phase_ == Phase::stepping; ++i)
    if (const auto early = std::exchange(progress_[i].early, std::nullopt)) take_prepared(i, *early);
}

void JobRun::on(std::size_t worker, const Prepared& message) {
  Progress& own = progress_[worker];
  if (phase_ == Phase::settling) return void(++stale_);  // it had not heard of it yet
  if (phase_ == Phase::stepping && message.step == step_ && message.attempt <= attempt_) return take_prepared(worker, message);
  const bool goes_on = phase_ == Phase::committing && (then_ == Then::next || then_ == Then::snapshot);
  if (goes_on && own.committed == step_ && message.step == step_ + 1 && message.attempt == 1 && !own.early) {
    own.early = message;
    return;
  }
  broke(worker, "prepared step " + std::to_string(message.step) + ", attempt " + std::to_string(message.attempt) +
                    ", while step " + std::to_string(step_) + ", attempt " + std::to_string(attempt_) + " was in flight");
}

void JobRun::take_prepared(std::size_t worker, const Prepared& message) {
  Progress& own = progress_[worker];
  if (own.prepared_attempt == message.attempt)
    return broke(worker, "prepared one attempt of step " + std::to_string(message.step) + " twice");
  // An error ends the job whichever attempt it belongs to: that worker goes no further. Its state is that of the step before.
  if (message.outcome == Outcome::error) return settle(Error(*message.error).within(name_of_worker(worker)));
  if (message.attempt < attempt_) return void(++stale_);
  if (message.outcome == Outcome::repeat) return repeat_step();
  own.prepared_attempt = attempt_;
  own.loss = message.loss;
  own.grad_norm = message.grad_norm;
  if (!facts_.tokens) facts_.tokens = message.tokens;
  if (std::ranges::all_of(progress_, [&](const Progress& each) { return each.prepared_attempt == attempt_; })) commit_step();
}

void JobRun::repeat_step() {
  if (attempt_ >= rules_.most_attempts)
    return settle(Error{ErrorCode::not_finite,
                        "the exact sums of step " + std::to_string(step_) + " did not fit in " + std::to_string(attempt_) +
                            " attempts",
                        "job '" + id_.job + "'", "lower the learning rate, or use fast arithmetic"});
  ++attempt_;
  phase_since_ = now_;
  facts_ = {.step = step_, .attempts = attempt_};
  outputs_.push_back(Repeated{step_, attempt_});
  outputs_.push_back(Tell{Repeat{id_, step_, attempt_}});
}

// Workers of a lane of local steps (pool/local_training.h) tell that lane's; all others tell the same.
void JobRun::commit_step() {
  const auto mean = [&](std::optional<double> Progress::*said) -> std::optional<double> {
    double sum = 0;
    int count = 0;
    for (const Progress& each : progress_)
      if (const std::optional<double>& own = each.*said) sum += *own, ++count;
    return count == 0 ? std::nullopt : std::optional(sum / count);
  };
  facts_.loss = mean(&Progress::loss);
  facts_.grad_norm = mean(&Progress::grad_norm);
  snapshot_due_ = snapshot_due_ || (snapshot_every_ > 0 && step_ % snapshot_every_ == 0);
  if (step_ == last_step_) {
    then_ = Then::finish;
  } else if (cancelled_) {
    then_ = save_when_cancelled_ ? Then::finish : Then::stop;
  } else {
    // While a snapshot is on its way the next one waits: a worker holds one copy beside the state.
    then_ = snapshot_due_ && saves_.empty() ? Then::snapshot : Then::next;
  }
  if (then_ == Then::snapshot || then_ == Then::finish) {
    snapshot_due_ = false;
    saves_[step_] = {.last = then_ == Then::finish, .since = now_, .parts = {}, .collected = false};
  }
  phase_ = Phase::committing;
  phase_since_ = now_;
  outputs_.push_back(Tell{Commit{id_, step_, then_}});
}

void JobRun::on(std::size_t worker, const Committed& message) {
  Progress& own = progress_[worker];
  const bool is_told = phase_ == Phase::committing || (settling_ && settling_->step == step_);
  if (!is_told || message.step != step_ || own.committed == step_)
    return broke(worker, "committed step " + std::to_string(message.step) + " when it was not asked");
  own.committed = step_;
  facts_.uses.push_back({workers_[worker].peer, message.seconds, message.flops, message.bytes_in, message.bytes_out,
                          message.warning});
  if (phase_ == Phase::settling) return;  // it counts when a holder of each stage has given its state
  if (std::ranges::all_of(progress_, [&](const Progress& each) { return each.committed == step_; })) end_step();
}

void JobRun::count_step() {
  committed_ = step_;
  facts_.seconds = now_ - step_since_;
  last_seconds_.push_back(facts_.seconds.value());
  if (last_seconds_.size() > kStepsOfMedian) last_seconds_.pop_front();
  outputs_.push_back(Stepped{std::exchange(facts_, {})});
}

void JobRun::end_step() {
  count_step();
  if (then_ == Then::stop) return end(std::nullopt);
  if (then_ != Then::finish) return begin_step(step_ + 1);
  phase_ = Phase::saving;
  phase_since_ = now_;
  outputs_.push_back(Moved{JobState::saving});
}

// ---- state

void JobRun::on(std::size_t worker, const StatePart& message) {
  if (settling_) return settle_part(worker, message);
  const auto found = saves_.find(message.step);
  const bool asked = found != saves_.end() && progress_[worker].committed >= message.step;
  if (!asked || found->second.parts.contains(worker))
    return broke(worker, "gave the state of step " + std::to_string(message.step) + " when it was not asked");
  found->second.parts.emplace(worker, message);
  if (found->second.parts.size() == workers_.size()) collect(message.step, found->second);
}

void JobRun::collect(std::int64_t step, Saving& saving) {
  if (auto error = replicas_differ(saving)) return end(std::move(error));
  Collect collected{step, {}};
  for (auto& [worker, part] : saving.parts) collected.holders.push_back({workers_[worker].peer, std::move(part.tensors)});
  saving.collected = true;
  outputs_.push_back(std::move(collected));
}

std::optional<Error> JobRun::replicas_differ(const Saving& saving) const {
  std::map<std::string_view, std::pair<std::size_t, const TensorFacts*>> seen;
  for (const auto& [worker, part] : saving.parts) {
    for (const TensorFacts& tensor : part.tensors) {
      const auto [first, is_new] = seen.try_emplace(tensor.name, worker, &tensor);
      if (is_new || *first->second.second == tensor) continue;
      return Error{ErrorCode::differs,
                   "'" + printable(tensor.name) + "' differs between " + name_of_worker(first->second.first) + " and " +
                       name_of_worker(worker) + " after step " + std::to_string(part.step),
                   "job '" + id_.job + "'",
                   "one of the two machines computes wrongly: test both, and go on from an earlier snapshot"};
    }
  }
  return std::nullopt;
}

RunOutputs JobRun::on_saved(std::int64_t step, const Status& status) {
  const auto found = saves_.find(step);
  if (phase_ == Phase::over || found == saves_.end() || !found->second.collected) return {};
  const bool last = found->second.last;
  saves_.erase(found);
  outputs_.push_back(Saved{step, status});
  if (status) saved_ = step;
  if (settling_) {
    if (settling_->step == step) settled(status);
  } else if (last) {
    end(status ? std::nullopt : std::optional(status.error()));
  }
  return take();
}

// ---- the end

RunOutputs JobRun::cancel() {
  if (phase_ != Phase::over && (cancelled_ || phase_ == Phase::preparing)) {
    cancelled_ = true;
    if (settling_) end(settling_->why, "it was cancelled before its state was saved: " + goes_on_from());
    else end(std::nullopt);
  }
  cancelled_ = true;
  return take();
}

RunOutputs JobRun::on_tick(Seconds now) {
  now_ = now;
  const auto late = [&](const std::string& doing, Seconds limit) {
    settle(Error{ErrorCode::timed_out, doing + " for " + format_duration(limit) + "; it waits for " + waits_for(),
                 "job '" + id_.job + "'",
                 "look at these workers with `suanli pool peers`, then submit the job again from its last snapshot"});
  };
  const Seconds waited = now - phase_since_;
  if (phase_ == Phase::preparing && waited >= rules_.prepare_limit) late("the job has been prepared", rules_.prepare_limit);
  if ((phase_ == Phase::stepping || phase_ == Phase::committing) && waited >= step_limit())
    late("step " + std::to_string(step_) + " has been under way", step_limit());
  if (phase_ == Phase::settling) check_settling();
  if (phase_ == Phase::over || phase_ == Phase::settling) return take();
  for (const auto& [step, saving] : saves_) {
    if (saving.collected || now - saving.since < rules_.state_limit) continue;
    std::string missing;
    for (std::size_t i = 0; i < workers_.size(); ++i)
      if (!saving.parts.contains(i)) missing += (missing.empty() ? "" : ", ") + quoted_name(i);
    settle(Error{ErrorCode::timed_out,
                 "the state after step " + std::to_string(step) + " has been asked for, for " +
                     format_duration(rules_.state_limit) + "; it waits for " + missing,
                 "job '" + id_.job + "'", "look at these workers with `suanli pool peers`"});
    break;
  }
  return take();
}

Seconds JobRun::median_step() const {
  std::vector<double> sorted(last_seconds_.begin(), last_seconds_.end());
  std::ranges::nth_element(sorted, sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2));
  return Seconds(sorted[sorted.size() / 2]);
}

Seconds JobRun::step_limit() const {
  const Seconds usual = last_seconds_.empty() ? rules_.first_step_limit
                                              : std::max(rules_.step_limit, median_step() * rules_.step_limit_medians);
  if (lanes_.empty() || !rounds_.may_wait(step_, last_step_)) return usual;
  return usual + std::max(rules_.exchange_limit, exchange_ * rules_.exchange_limit_times);
}

std::string JobRun::quoted_name(std::size_t worker) const { return "'" + printable(workers_[worker].hello.name) + "'"; }

bool JobRun::waits_for(std::size_t worker) const {
  const Progress& own = progress_[worker];
  switch (phase_) {
    case Phase::preparing: return !own.ready;
    case Phase::stepping: return own.prepared_attempt != attempt_;
    case Phase::committing: return own.committed != step_;
    case Phase::saving: return saves_.contains(step_) && !saves_.at(step_).parts.contains(worker);
    case Phase::settling: return may_give(worker) && !settling_->parts.contains(worker);
    case Phase::over: return false;
  }
  return false;
}

std::string JobRun::waits_for() const {
  std::vector<std::size_t> missing;
  for (std::size_t i = 0; i < workers_.size(); ++i)
    if (waits_for(i)) missing.push_back(i);
  return missing.empty() ? "nobody" : list_of(missing);
}

std::string JobRun::list_of(const std::vector<std::size_t>& workers) const {
  constexpr std::size_t kNamed = 8;
  std::string list;
  for (std::size_t i = 0; i < std::min(kNamed, workers.size()); ++i) list += (i ? ", " : "") + quoted_name(workers[i]);
  if (workers.size() > kNamed) list += " and " + std::to_string(workers.size() - kNamed) + " more";
  return list;
}

void JobRun::broke(std::size_t worker, std::string sentence) { outputs_.push_back(Broke{worker, std::move(sentence)}); }

void JobRun::end(std::optional<Error> why, std::string kept) {
  phase_ = Phase::over;
  saves_.clear();
  std::optional<Error> said;
  if (why) said = cut_to_fit(*why);
  outputs_.push_back(Tell{Stop{id_, said}});
  outputs_.push_back(Over{std::move(why), std::move(kept)});
  settling_.reset();
}

}  // namespace suanli::protocol
