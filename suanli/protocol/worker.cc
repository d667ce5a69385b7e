#include "suanli/protocol/worker.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "suanli/base/philox.h"

namespace suanli::protocol {

std::string_view name_of(WorkerState state) {
  switch (state) {
    case WorkerState::idle: return "idle";
    case WorkerState::preparing: return "preparing";
    case WorkerState::ready: return "ready";
    case WorkerState::stepping: return "stepping";
    case WorkerState::prepared: return "prepared";
    case WorkerState::committing: return "committing";
    case WorkerState::resting: return "resting";
    case WorkerState::settling: return "settling";
  }
  return "unknown";
}

Worker::Worker(WorkerRules rules, Hello facts) : rules_(rules), facts_(std::move(facts)) {}

WorkerActions Worker::take() { return std::exchange(actions_, {}); }

WorkerActions Worker::start(Seconds now) {
  now_ = now;
  SUANLI_CHECK(connection_ == Connection::none);
  connection_ = Connection::dialling;
  actions_.push_back(Dial{Seconds(0)});
  return take();
}

WorkerActions Worker::on_connected(Seconds now, Seconds wall) {
  now_ = now;
  if (connection_ == Connection::ended) return {};
  connection_ = Connection::greeting;
  facts_.wall = wall;
  actions_.push_back(Say{facts_});
  return take();
}

WorkerActions Worker::on_lost(const Error& why, Seconds now) {
  now_ = now;
  if (connection_ != Connection::ended) lose(why, now);
  return take();
}

void Worker::lose(const Error& why, Seconds now) {
  if (!lost_at_) {
    lost_at_ = now;
    why_lost_ = why;
  }
  connection_ = Connection::dialling;
  const double grown = rules_.first_backoff.value() * std::exp2(static_cast<double>(std::min(dials_++, std::int64_t{30})));
  // Chance keeps the workers of a pool from all dialling a coordinator that has just come back at the same moment.
  const auto seed = static_cast<std::uint32_t>(rules_.seed), seed_high = static_cast<std::uint32_t>(rules_.seed >> 32);
  const double chance = philox4x32({drawn_++, 0, 0, 0}, {seed, seed_high})[0] * 0x1p-32;
  actions_.push_back(Dial{Seconds(std::min(rules_.most_backoff.value(), grown) * (1 - chance / 2))});
}

WorkerActions Worker::on_message(const ToWorker& message, Seconds now) {
  now_ = now;
  const bool greets = std::holds_alternative<Welcome>(message) || std::holds_alternative<Refused>(message);
  if (connection_ == Connection::greeting && !greets) {
    refuse("said '" + std::string(type_of(message)) + "' before its welcome");
  } else if (connection_ == Connection::greeting || connection_ == Connection::welcomed) {
    std::visit([&](const auto& each) { on(each); }, message);
  } else {
    ++dropped_;
  }
  return take();
}

WorkerActions Worker::on_runner(const RunnerEvent& event, Seconds now) {
  now_ = now;
  const auto& id = std::visit([](const auto& each) -> const JobEpoch& { return each; }, event);
  if (connection_ == Connection::welcomed) {
    if (holds(id)) std::visit([&](const auto& each) { ran(each); }, event);
  } else {
    // Without the coordinator nothing goes on: what the runner has made is of no use to anybody.
    ++dropped_;
  }
  return take();
}

WorkerActions Worker::on_line(const LineMeasures& measures) {
  if (connection_ == Connection::welcomed) say(measures);
  return take();
}

WorkerActions Worker::on_leave(const std::string& reason, Seconds now) {
  now_ = now;
  if (connection_ == Connection::ended) return {};
  const Error why = cut_to_fit({ErrorCode::interrupted, reason, {}, {}});
  if (connection_ == Connection::welcomed) say(Left{why.message});
  drop_job(why);
  connection_ = Connection::ended;
  actions_.push_back(End{});
  return take();
}

WorkerActions Worker::on_tick(Seconds now) {
  now_ = now;
  if (connection_ == Connection::welcomed) {
    if (now >= beat_at_) {
      say(Heartbeat{++beats_});
      beat_at_ = now + rules_.heartbeat_every;
    }
  } else if (lost_at_ && now - *lost_at_ >= rules_.drop_job_after) {
    drop_job(why_lost_);
  }
  return take();
}

// ---- the coordinator says

void Worker::on(const Welcome&) {
  if (connection_ == Connection::welcomed) return refuse("said 'welcome' twice");
  // A new membership: the coordinator has given up the job that was held before.
  drop_job(lost_at_ ? std::optional(why_lost_) : std::nullopt);
  connection_ = Connection::welcomed;
  lost_at_.reset();
  dials_ = 0;
  beats_ = 0;
  beat_at_ = now_;
}

void Worker::on(const Refused& message) {
  drop_job(message.error);
  connection_ = Connection::ended;
  actions_.push_back(End{message.error});
}

void Worker::on(const Peers& message) { actions_.push_back(MeetPeers{message}); }

void Worker::on(const Assign& message) {
  if (held_) return refuse("assigned a job while job '" + held_->id.job + "' was held");
  held_ = Held{.id = message};
  held_->step = message.begin_step;
  actions_.push_back(PrepareJob{message});
}

void Worker::on(const Begin& message) {
  if (!holds(message) || held_->state == WorkerState::resting) return;
  if (held_->state != WorkerState::ready) return refuse("said 'begin' to a worker that was not ready");
  run_step(held_->step, 1);
}

void Worker::on(const Commit& message) {
  if (!holds(message) || held_->state == WorkerState::resting) return;
  const bool may = held_->state == WorkerState::prepared && held_->outcome == Outcome::ok && message.step == held_->step;
  if (!may) return refuse("committed step " + std::to_string(message.step) + ", which this worker had not prepared");
  held_->state = WorkerState::committing;
  held_->then = message.then;
  actions_.push_back(CommitStep{held_->id, message.step});
}

void Worker::on(const Repeat& message) {
  if (!holds(message) || held_->state == WorkerState::resting) return;
  const bool in_step = held_->state == WorkerState::stepping || held_->state == WorkerState::prepared;
  if (!in_step || message.step != held_->step || message.attempt != held_->attempt + 1)
    return refuse("repeated step " + std::to_string(message.step) + " as attempt " + std::to_string(message.attempt) +
                  ", which does not follow");
  run_step(message.step, message.attempt);
}

void Worker::on(const Settle& message) {
  if (!holds(message)) return;
  if (held_->state == WorkerState::preparing || held_->state == WorkerState::ready)
    return refuse("settled a job of which no step was made here");
  // Which state is whole here the runner knows: it answers with that of this step, or with a failure.
  held_->state = WorkerState::settling;
  actions_.push_back(LeaveStep{held_->id});
  actions_.push_back(GiveState{held_->id, message.step});
}

void Worker::on(const Stop& message) {
  if (holds(message)) drop_job(message.error);
}

// ---- the runner says

void Worker::ran(const JobPrepared& event) {
  if (held_->state != WorkerState::preparing) return void(++dropped_);
  held_->state = WorkerState::ready;
  say(Ready{event});
}

void Worker::ran(const Prepared& event) {
  // An attempt that was replaced may still have ended.
  const bool current = held_->state == WorkerState::stepping && event.step == held_->step && event.attempt == held_->attempt;
  if (!current) return void(++dropped_);
  Prepared said = event;
  const auto finite = [](const std::optional<double>& value) { return !value || std::isfinite(*value); };
  if (said.outcome == Outcome::ok && (!finite(said.loss) || !finite(said.grad_norm))) {
    said.outcome = Outcome::error;
    said.error = Error{ErrorCode::not_finite,
                       "the loss or the gradient norm of step " + std::to_string(said.step) + " is not finite",
                       "worker '" + facts_.name + "'", "lower the learning rate"};
  }
  if (said.outcome == Outcome::error) {
    said.error = cut_to_fit(said.error.value_or(Error{ErrorCode::protocol, "the step failed without a reason", {}, {}}));
  } else {
    said.error.reset();
  }
  // What is not finite cannot be said.
  if (said.outcome != Outcome::ok) said.loss.reset(), said.grad_norm.reset();
  held_->outcome = said.outcome;
  held_->state = said.outcome == Outcome::error ? WorkerState::resting : WorkerState::prepared;
  say(std::move(said));
}

void Worker::ran(const Committed& event) {
  if (event.step == held_->step && held_->state == WorkerState::settling) return say(event);
  if (held_->state != WorkerState::committing || event.step != held_->step) return void(++dropped_);
  say(event);
  const Then then = held_->then;
  if (then == Then::snapshot || then == Then::finish) actions_.push_back(GiveState{held_->id, event.step});
  if (then == Then::next || then == Then::snapshot) {
    run_step(event.step + 1, 1);
  } else {
    held_->state = WorkerState::resting;
  }
}

void Worker::ran(const StatePart& event) { say(event); }

void Worker::ran(const Failed& event) { fail_job(event.error); }

// ----

bool Worker::holds(const JobEpoch& id) {
  const bool same = held_ && held_->id == id;
  if (!same) ++dropped_;
  return same;
}

void Worker::say(ToCoordinator message) { actions_.emplace_back(std::in_place_type<Say>, std::move(message)); }

void Worker::run_step(std::int64_t step, std::int64_t attempt) {
  held_->state = WorkerState::stepping;
  held_->step = step;
  held_->attempt = attempt;
  actions_.push_back(RunStep{held_->id, step, attempt});
}

void Worker::fail_job(const Error& error) {
  if (held_->state == WorkerState::resting && held_->outcome == Outcome::error) return;  // it has been said
  held_->state = WorkerState::resting;
  held_->outcome = Outcome::error;
  say(Failed{held_->id, cut_to_fit(error)});
}

void Worker::drop_job(std::optional<Error> why) {
  if (!held_) return;
  actions_.push_back(DropJob{held_->id, std::move(why)});
  held_.reset();
}

void Worker::refuse(const std::string& sentence) {
  const Error why{ErrorCode::protocol, "the coordinator " + sentence, {}, "use the same version of suanli on both machines"};
  actions_.push_back(HangUp{why});
  drop_job(why);
  lose(why, now_);
}

}  // namespace suanli::protocol
