#include "suanli/protocol/views.h"

#include <algorithm>

#include "suanli/protocol/coordinator.h"

namespace suanli::protocol {

std::string_view name_of(Reason reason) {
  switch (reason) {
    case Reason::worker_joined: return "worker_joined";
    case Reason::worker_refused: return "worker_refused";
    case Reason::worker_silent: return "worker_silent";
    case Reason::worker_lost: return "worker_lost";
    case Reason::worker_left: return "worker_left";
    case Reason::worker_broke_protocol: return "worker_broke_protocol";
    case Reason::job_queued: return "job_queued";
    case Reason::job_waits: return "job_waits";
    case Reason::job_placed: return "job_placed";
    case Reason::job_running: return "job_running";
    case Reason::job_finished: return "job_finished";
    case Reason::job_failed: return "job_failed";
    case Reason::job_cancelled: return "job_cancelled";
    case Reason::step_repeated: return "step_repeated";
    case Reason::snapshot_saved: return "snapshot_saved";
    case Reason::snapshot_failed: return "snapshot_failed";
  }
  return "unknown";
}

StatusView Coordinator::status() const {
  StatusView view;
  view.pool = rules_.pool;
  view.version = rules_.version;
  for (const auto& [peer, member] : members_) {
    if (!member.hello) continue;
    ++view.workers;
    view.cores += member.hello->cores;
    view.memory += member.hello->memory;
    view.rates.f32 += member.hello->rates.f32;
    view.rates.bf16 += member.hello->rates.bf16;
    view.rates.exact += member.hello->rates.exact;
  }
  view.idle = view.workers;
  if (run_) {
    view.running = run_->id().job;
    for (std::size_t i = 0; i < run_->workers().size(); ++i) view.idle -= !run_->is_lost(i);
  }
  for (const Job& job : jobs_) view.queued += job.view.state == JobState::queued;
  view.dropped_messages = dropped_ + (run_ ? run_->stale_messages() : 0);
  return view;
}

std::vector<WorkerView> Coordinator::workers(Moment at) const {
  std::vector<WorkerView> views;
  for (const auto& [peer, member] : members_) {
    if (!member.hello) continue;
    const Seconds joined_ago = at.now - member.connected, heard_ago = at.now - member.heard;
    WorkerView view{peer, member.number, *member.hello, joined_ago, heard_ago, member.heartbeats, {}, {}};
    for (std::size_t i = 0; run_ && i < run_->workers().size(); ++i) {
      if (run_->workers()[i].peer != peer || run_->is_lost(i)) continue;
      view.job = run_->id().job;
      view.stages = run_->stages_of(i);
    }
    views.push_back(std::move(view));
  }
  std::ranges::sort(views, {}, &WorkerView::member);
  return views;
}

std::vector<LineFacts> Coordinator::lines() const {
  std::vector<LineFacts> all;
  for (const auto& [ends, line] : lines_) all.push_back(line);
  return all;
}

std::vector<JobView> Coordinator::jobs() const {
  std::vector<JobView> views;
  for (const Job& job : jobs_) {
    views.push_back(job.view);
    if (run_ && run_->id().job == job.view.id) views.back().waits_for = run_->waits_for();
  }
  return views;
}

std::optional<JobView> Coordinator::job(const JobId& id) const {
  for (JobView& view : jobs())
    if (view.id == id) return std::move(view);
  return std::nullopt;
}

}  // namespace suanli::protocol
