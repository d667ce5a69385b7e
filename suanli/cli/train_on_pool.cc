#include "suanli/cli/train_on_pool.h"

#include <filesystem>
#include <utility>

#include "suanli/base/text.h"
#include "suanli/cli/metrics_tail.h"
#include "suanli/cli/pool_client.h"
#include "suanli/data/dataset.h"
#include "suanli/pool/control_views.h"
#include "suanli/train/run_folder.h"

namespace suanli::cli {
namespace {

using pool::Ask;
using pool::ControlClient;

constexpr Seconds kLook{0.1};

std::string absolute(const std::string& path) {
  std::error_code failed;
  const auto whole = std::filesystem::absolute(path, failed);
  return failed ? path : whole.lexically_normal().string();
}

Result<Submitted> submit(ControlClient& client, const train::JobConfig& job, bool resume) {
  SUANLI_ASSIGN_OR_RETURN(const Answer told,
                          client.ask({.ask = Ask::submit, .job_file = train::print_job(job), .resume = resume}));
  return Submitted{told.at("job").get<std::string>(), told.at("run").get<std::string>(),
                   told.at("metrics_from").get<std::int64_t>()};
}

// What the lines of the run do not say.
train::StartInfo start_of(const train::JobConfig& job, const std::string& run) {
  train::StartInfo info;
  info.run_folder = run;
  if (const auto dataset = data::Dataset::open(job.data.path)) {
    info.train_tokens = Tokens(static_cast<std::int64_t>(dataset->info().tokens(data::Split::train)));
    info.valid_tokens = Tokens(static_cast<std::int64_t>(dataset->info().tokens(data::Split::valid)));
  }
  return info;
}

}  // namespace

train::JobConfig with_absolute_paths(train::JobConfig job) {
  job.run.dir = absolute(job.run.dir);
  if (!job.data.path.empty()) job.data.path = absolute(job.data.path);
  return job;
}

Result<Submitted> submit_to_pool(const train::JobConfig& job, const std::string& pool, bool resume) {
  return with_answers([&]() -> Result<Submitted> {
    SUANLI_ASSIGN_OR_RETURN(ControlClient client, client_of(pool));
    return submit(client, with_absolute_paths(job), resume);
  });
}

Result<train::TrainReport> train_on_pool(const train::JobConfig& given, const PoolRun& pool, const train::TrainOptions& options) {
  const train::JobConfig job = with_absolute_paths(given);
  return with_answers([&]() -> Result<train::TrainReport> {
    SUANLI_ASSIGN_OR_RETURN(ControlClient client, client_of(pool.pool));
    SUANLI_ASSIGN_OR_RETURN(const Submitted submitted, submit(client, job, options.resume));
    train::Observer nobody;
    MetricsReplay replay(options.observer ? *options.observer : nobody, start_of(job, submitted.run));
    MetricsTail metrics(train::RunPaths{submitted.run}.metrics(), submitted.metrics_from);
    std::int64_t last_event = 0;
    bool was_stopped = false;
    while (true) {
      SUANLI_ASSIGN_OR_RETURN(const Answer view, client.ask({.ask = Ask::job, .name = submitted.job}));
      if (pool.on_event) {
        SUANLI_ASSIGN_OR_RETURN(const Answer events,
                                client.ask({.ask = Ask::events, .after = last_event, .subject = submitted.job}));
        for (const Answer& each : events) {
          last_event = each.at("number").get<std::int64_t>();
          pool.on_event(event_text(each));
        }
      }
      // After the view: when that says that the record is closed, all lines are there.
      for (auto lines = metrics.take(); !lines.empty(); lines = metrics.take())
        for (const nlohmann::json& line : lines) replay.tell(line);
      if (view.at("closed").get<bool>()) {
        if (!view.at("error").is_null()) return tl::unexpected(pool::error_of(view.at("error")));
        return pool::report_of(view.at("report"));
      }
      if (train::is_stopped(options.stop) && !std::exchange(was_stopped, true)) {
        // Over already: its end shows in the next view.
        (void)client.ask({.ask = Ask::cancel, .name = submitted.job});
      }
      options.clock->sleep_for(kLook);
    }
  });
}

}  // namespace suanli::cli
