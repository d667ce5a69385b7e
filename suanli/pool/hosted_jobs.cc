#include "suanli/pool/hosted_jobs.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <utility>

#include "suanli/base/text.h"

namespace suanli::pool {
namespace {

constexpr std::chrono::milliseconds kLook{50};

Status check_paths(const train::JobConfig& job) {
  for (const auto& [key, path] : {std::pair{"run.dir", &job.run.dir}, {"data.path", &job.data.path}})
    if (!path->starts_with('/'))
      return fail(ErrorCode::config, std::string(key) + " = \"" + printable(*path) + "\" is no absolute path", "the job",
                  "write the whole path: the coordinator works in a folder of its own");
  return {};
}

}  // namespace

HostedJobs::HostedJobs(PoolServer& server, PoolNumbers& numbers) : server_(server), numbers_(numbers) {
  watcher_ = std::thread([this] { watch(); });
}

HostedJobs::~HostedJobs() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
    changed_.notify_all();
  }
  watcher_.join();
}

Result<protocol::JobId> HostedJobs::submit(const std::string& job_file, bool resume) {
  SUANLI_ASSIGN_OR_RETURN(const train::JobConfig config, train::parse_job(job_file, "the job"));
  SUANLI_RETURN_IF_ERROR(check_paths(config));
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [other, job] : jobs_)
      if (job.recorder && job.record.run == config.run.dir)
        return fail(ErrorCode::busy, "the folder belongs to job '" + other + "', which is not over", config.run.dir,
                    "wait for it, end it with `suanli cancel " + other + "`, or name another folder with --run");
  }
  SUANLI_ASSIGN_OR_RETURN(std::unique_ptr<RunRecorder> made, RunRecorder::create(config, {.resume = resume}));
  std::shared_ptr<RunRecorder> recorder = std::move(made);
  protocol::JobId id;
  {
    const std::lock_guard lock(numbers_mutex_);
    SUANLI_ASSIGN_OR_RETURN(id, numbers_.next_job());
  }
  {
    // Before the job is submitted, so that it is found whatever becomes of it.
    const std::lock_guard lock(mutex_);
    if (takes_none_) return fail(ErrorCode::interrupted, "the coordinator ends and takes no more jobs", "pool", "start it again");
    std::error_code is_missing;
    const auto earlier = std::filesystem::file_size(train::RunPaths{recorder->job().run.dir}.metrics(), is_missing);
    JobRecord record;
    record.run = recorder->job().run.dir;
    record.metrics_from = is_missing ? 0 : static_cast<std::int64_t>(earlier);
    jobs_[id] = {std::move(record), nullptr, recorder};
  }
  const auto submitted = server_.submit(recorder, 1, id);
  const std::lock_guard lock(mutex_);
  if (!submitted) {
    jobs_.erase(id);
    return tl::unexpected(submitted.error());
  }
  // From now on it is watched.
  jobs_[id].recorder = std::move(recorder);
  return id;
}

std::optional<JobRecord> HostedJobs::record(const protocol::JobId& job) const {
  const std::lock_guard lock(mutex_);
  const auto found = jobs_.find(job);
  if (found == jobs_.end()) return std::nullopt;
  return found->second.record;
}

void HostedJobs::watch() {
  while (true) {
    std::vector<protocol::JobId> open;
    {
      std::unique_lock lock(mutex_);
      if (changed_.wait_for(lock, kLook, [&] { return ends_; })) return;
      for (const auto& [id, job] : jobs_)
        if (!job.record.is_closed) open.push_back(id);
    }
    for (const protocol::JobId& id : open) look_at(id);
  }
}

// On the watcher's thread.
void HostedJobs::look_at(const protocol::JobId& id) {
  std::shared_ptr<RunRecorder> recorder;
  {
    const std::lock_guard lock(mutex_);
    const auto found = jobs_.find(id);
    if (found == jobs_.end()) return;  // it could not be submitted
    Job& job = found->second;
    recorder = job.recorder;
    if (!recorder) {
      // Finished, or being submitted; a state that is still being saved holds the folder.
      job.record.is_closed = job.alive.expired();
      changed_.notify_all();
      return;
    }
  }
  const std::optional<protocol::JobView> view = server_.job(id);
  if (view && !protocol::is_over(view->state)) return;
  const bool has_finished = view && view->state == protocol::JobState::finished;
  auto report =
      recorder->finish(has_finished ? train::Outcome::finished : train::Outcome::interrupted, view ? view->error : std::nullopt);
  recorder.reset();
  const std::lock_guard lock(mutex_);
  Job& job = jobs_.at(id);
  if (report) job.record.report = std::move(*report);
  job.recorder.reset();
}

int HostedJobs::end() {
  std::vector<protocol::JobId> open;
  {
    const std::lock_guard lock(mutex_);
    takes_none_ = true;
    for (const auto& [id, job] : jobs_)
      if (!job.record.is_closed) open.push_back(id);
  }
  // The newest first: a queued job would otherwise be placed as soon as the running one is over. One that is over already stays
  // so.
  std::ranges::sort(open, std::greater<>(), [](const protocol::JobId& id) { return std::pair(id.size(), id); });
  for (const protocol::JobId& id : open) (void)server_.cancel(id);
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return std::ranges::all_of(jobs_, [](const auto& each) { return each.second.record.is_closed; }); });
  return static_cast<int>(open.size());
}

}  // namespace suanli::pool
