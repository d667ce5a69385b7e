// How a job that cannot go on keeps the last step that was told: each stage's state from whoever is left of it.
#include <algorithm>
#include <utility>

#include "suanli/base/text.h"
#include "suanli/protocol/job_run.h"

namespace suanli::protocol {
namespace {

// A part that could not be saved is tried once more: what held it up may have been another stage's worker, not yet known to be
// lost.
constexpr std::size_t kMostTries = 2;

}  // namespace

void JobRun::settle(Error why) {
  if (settling_) return seek_state();
  // Who has not heard of the commit of a step in flight holds the step before; all others carry the commit out.
  const std::int64_t step = phase_ == Phase::committing ? step_ : committed_;
  const bool is_there_anything = phase_ != Phase::preparing && step >= begin_step_ && saved_ != step;
  if (!is_there_anything || (cancelled_ && !save_when_cancelled_)) return end(std::move(why));
  settling_.emplace(Settling{.why = std::move(why),
                             .step = step,
                             .is_last = then_ == Then::finish,
                             .tries = std::vector<std::size_t>(workers_.size())});
  // Snapshots that not all have given will not be whole; one that is being fetched may still become so.
  std::erase_if(saves_, [&](const auto& each) { return each.first != step && !each.second.collected; });
  if (const auto asked = saves_.find(step); asked != saves_.end()) {
    settling_->is_saving = asked->second.collected;
    settling_->saving_since = now_;
    if (!settling_->is_saving) {
      settling_->parts = std::move(asked->second.parts);
      saves_.erase(asked);
    }
  }
  if (phase_ != Phase::saving) outputs_.push_back(Moved{JobState::saving});
  phase_ = Phase::settling;
  phase_since_ = now_;
  outputs_.push_back(Tell{Settle{id_, step}});
  seek_state();
}

// Saves the state if there is some of every stage; ends the job if that cannot come any more.
void JobRun::seek_state() {
  Settling& own = *settling_;
  if (own.is_saving) return;  // on_saved() comes
  std::optional<std::vector<std::size_t>> chosen = lanes_.empty() ? choose_holders() : choose_lanes();
  if (!chosen) return;
  Saving offered;
  for (const auto& [worker, part] : own.parts)
    if (may_give(worker) && (lanes_.empty() || std::ranges::count(*chosen, worker) > 0)) offered.parts.emplace(worker, part);
  if (const auto differing = replicas_differ(offered)) return end(own.why, differing->message + ": " + goes_on_from());
  if (committed_ < own.step) count_step();
  std::ranges::sort(*chosen);
  chosen->erase(std::ranges::unique(*chosen).begin(), chosen->end());
  Collect collected{own.step, {}};
  for (const std::size_t worker : *chosen)
    collected.holders.push_back({workers_[worker].peer, own.parts.at(worker).tensors});
  own.chosen = *std::move(chosen);
  own.is_saving = true;
  own.saving_since = now_;
  saves_[own.step] = {.last = own.is_last, .since = now_, .parts = {}, .collected = true};
  outputs_.push_back(std::move(collected));
}

// One of each stage: replicas hold the same.
std::optional<std::vector<std::size_t>> JobRun::choose_holders() {
  Settling& own = *settling_;
  std::vector<std::size_t> chosen;
  std::size_t stage_count = 0;
  for (const auto& stages : stages_)
    for (const std::size_t stage : stages) stage_count = std::max(stage_count, stage + 1);
  bool is_whole = true;
  for (std::size_t stage = 0; stage < stage_count; ++stage) {
    std::optional<std::size_t> best;
    bool may_come = false;
    for (const std::size_t worker : holders_of(stage)) {
      if (!may_give(worker)) continue;
      if (!own.parts.contains(worker)) {
        may_come = true;
      } else if (own.tries[worker] < kMostTries && (!best || own.tries[worker] < own.tries[*best])) {
        best = worker;
      }
    }
    is_whole = is_whole && best;
    if (best) chosen.push_back(*best);
    if (best || may_come) continue;
    const auto holders = holders_of(stage);
    end(own.why, own.not_saved ? "the state after step " + std::to_string(own.step) + " could not be saved (" +
                                     own.not_saved->message + "): " + goes_on_from()
                               : "stage " + std::to_string(stage) + " was held by " + list_of(holders) +
                                     (holders.size() == 1 ? " alone: " : ", of whom nobody is left: ") + goes_on_from());
    return std::nullopt;
  }
  return is_whole ? std::optional(std::move(chosen)) : std::nullopt;
}

std::size_t JobRun::lane_count() const { return lanes_.empty() ? 0 : std::ranges::max(lanes_) + 1; }

// All of each lane that is left whole: a lane without one of its stages is none.
std::optional<std::vector<std::size_t>> JobRun::choose_lanes() {
  Settling& own = *settling_;
  enum class Part { lost, to_come, here };
  std::vector<Part> lanes(lane_count(), Part::here);
  for (std::size_t worker = 0; worker < workers_.size(); ++worker) {
    const Part part = !may_give(worker) || own.tries[worker] >= kMostTries     ? Part::lost
                      : own.parts.contains(worker)                             ? Part::here
                      : own.is_late                                            ? Part::lost
                                                                               : Part::to_come;
    lanes[lanes_[worker]] = std::min(lanes[lanes_[worker]], part);
  }
  if (std::ranges::count(lanes, Part::to_come) > 0) return std::nullopt;
  std::vector<std::size_t> chosen;
  for (std::size_t worker = 0; worker < workers_.size(); ++worker)
    if (lanes[lanes_[worker]] == Part::here) chosen.push_back(worker);
  if (!chosen.empty()) return chosen;
  end(own.why, own.not_saved ? "the state after step " + std::to_string(own.step) + " could not be saved (" +
                                   own.not_saved->message + "): " + goes_on_from()
                             : "of the " + std::to_string(lanes.size()) + " lanes none is left whole: " + goes_on_from());
  return std::nullopt;
}

// Of the state that was saved: "" if nothing is missing, as in a snapshot that was being saved already.
std::string JobRun::lanes_kept() const {
  if (settling_->chosen.empty()) return "";
  std::vector<bool> is_kept(lane_count());
  for (const std::size_t worker : settling_->chosen)
    if (!lanes_.empty()) is_kept[lanes_[worker]] = true;
  const auto kept = std::ranges::count(is_kept, true);
  if (static_cast<std::size_t>(kept) == is_kept.size()) return "";
  return ", of " + std::to_string(kept) + " of " + std::to_string(is_kept.size()) + " lanes, counted anew";
}

void JobRun::settle_part(std::size_t worker, const StatePart& message) {
  if (message.step != settling_->step) return void(++stale_);  // of a snapshot that has been given up
  if (progress_[worker].committed < message.step)
    return broke(worker, "gave the state of step " + std::to_string(message.step) + ", which it had not committed");
  // Who was asked for a snapshot of this very step gives it twice.
  if (!settling_->parts.emplace(worker, message).second) return void(++stale_);
  seek_state();
}

void JobRun::settled(const Status& saved) {
  Settling& own = *settling_;
  if (saved) {
    if (own.is_last) return end(std::nullopt);
    return end(own.why, "the state after step " + std::to_string(own.step) + " is saved" + lanes_kept() +
                            ": the run can go on from there");
  }
  own.is_saving = false;
  own.not_saved = saved.error();
  for (const std::size_t worker : std::exchange(own.chosen, {})) ++own.tries[worker];
  seek_state();
}

void JobRun::check_settling() {
  const Settling& own = *settling_;
  if (own.is_saving) {
    if (now_ - own.saving_since < rules_.settle_save_limit) return;
    return end(own.why, "the state after step " + std::to_string(own.step) + " was not saved within " +
                            format_duration(rules_.settle_save_limit) + ": " + goes_on_from());
  }
  if (now_ - phase_since_ < settle_limit()) return;
  const bool is_any_here = !own.parts.empty();
  if (!lanes_.empty() && is_any_here && !std::exchange(settling_->is_late, true)) return seek_state();
  end(own.why, "the state after step " + std::to_string(own.step) + " was not given within " + format_duration(settle_limit()) +
                   " by " + waits_for() + ": " + goes_on_from());
}

// What a worker does when it is told to settle, such as a micro-batch of a step, ends before it gives its state.
Seconds JobRun::settle_limit() const {
  if (last_seconds_.empty()) return rules_.settle_limit;
  return std::max(rules_.settle_limit, median_step() * 2);
}

std::vector<std::size_t> JobRun::holders_of(std::size_t stage) const {
  std::vector<std::size_t> holders;
  for (std::size_t i = 0; i < stages_.size(); ++i)
    if (std::ranges::count(stages_[i], stage) > 0) holders.push_back(i);
  return holders;
}

std::string JobRun::goes_on_from() const {
  if (!saved_) return "no state of the job is saved";
  return "the run can go on from its last snapshot, step " + std::to_string(*saved_);
}

}  // namespace suanli::protocol
