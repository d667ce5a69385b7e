// suanli status | logs | cancel | fetch: the jobs of a pool whose coordinator runs on this machine.
#include <functional>
#include <optional>

#include "suanli/base/clock.h"
#include "suanli/base/text.h"
#include "suanli/cli/metrics_tail.h"
#include "suanli/cli/output.h"
#include "suanli/cli/pool_client.h"
#include "suanli/cli/run_copy.h"
#include "suanli/cli/train_report.h"
#include "suanli/cli/verb.h"
#include "suanli/train/run_folder.h"

namespace suanli::cli {
namespace {

using pool::Ask;
using pool::ControlClient;

constexpr Seconds kLook{0.2};

struct Options {
  bool json = false, follow = false;
  std::string job, pool, to;
};

Result<int> run_status(const Options& options, const Context&) {
  return with_answers([&]() -> Result<int> {
    SUANLI_ASSIGN_OR_RETURN(ControlClient client, client_of(options.pool));
    SUANLI_ASSIGN_OR_RETURN(Answer told, client.ask({.ask = options.job.empty() ? Ask::jobs : Ask::job, .name = options.job}));
    if (!options.json) {
      write_stdout(options.job.empty() ? jobs_text(told) : job_text(told));
      return 0;
    }
    if (!options.job.empty()) told = Answer::array({told});
    for (const Answer& each : told) emit("job", in_order("job", each));
    return 0;
  });
}

void print_event(const Options& options, const Answer& event) {
  if (options.json)
    emit("logs", {{"kind", "event"}, {"event", in_order("pool/event", event)}, {"metrics", nullptr}});
  else
    write_stdout(event_text(event) + "\n");
}

void print_metrics(const Options& options, const nlohmann::json& line) {
  if (options.json) return emit("logs", {{"kind", "metrics"}, {"event", nullptr}, {"metrics", Json(line)}});
  if (const std::string text = metrics_text(line); !text.empty()) write_stdout(text + "\n");
}

Result<int> run_logs(const Options& options, const Context&) {
  return with_answers([&]() -> Result<int> {
    SUANLI_ASSIGN_OR_RETURN(ControlClient client, client_of(options.pool));
    std::optional<MetricsTail> metrics;
    std::int64_t after = 0;
    while (true) {
      SUANLI_ASSIGN_OR_RETURN(const Answer job, client.ask({.ask = Ask::job, .name = options.job}));
      SUANLI_ASSIGN_OR_RETURN(const Answer events, client.ask({.ask = Ask::events, .after = after, .subject = options.job}));
      if (!metrics) metrics.emplace(train::RunPaths{job.at("run").get<std::string>()}.metrics());
      for (const Answer& each : events) {
        after = each.at("number").get<std::int64_t>();
        print_event(options, each);
      }
      for (auto lines = metrics->take(); !lines.empty(); lines = metrics->take())
        for (const nlohmann::json& line : lines) print_metrics(options, line);
      SUANLI_RETURN_IF_ERROR(flush_stdout());
      if (!options.follow || job.at("closed").get<bool>() || !write_stdout("")) return 0;
      real_clock().sleep_for(kLook);
    }
  });
}

Result<int> run_cancel(const Options& options, const Context&) {
  return with_answers([&]() -> Result<int> {
    SUANLI_ASSIGN_OR_RETURN(ControlClient client, client_of(options.pool));
    SUANLI_ASSIGN_OR_RETURN(const Answer job, client.ask({.ask = Ask::cancel, .name = options.job}));
    const auto state = job.at("state").get<std::string>();
    if (options.json)
      emit("cancel", {{"job", options.job}, {"state", state}});
    else
      write_stdout(options.job +
                   (state == "cancelled" ? " is cancelled\n" : " ends with the step in flight, and its state is saved\n"));
    return 0;
  });
}

Result<int> run_fetch(const Options& options, const Context& context) {
  return with_answers([&]() -> Result<int> {
    SUANLI_ASSIGN_OR_RETURN(ControlClient client, client_of(options.pool));
    SUANLI_ASSIGN_OR_RETURN(const Answer job, client.ask({.ask = Ask::job, .name = options.job}));
    const auto from = job.at("run").get<std::string>();
    SUANLI_ASSIGN_OR_RETURN(const RunCopy copy, copy_run(from, options.to));
    if (options.json) {
      emit("fetch", {{"job", options.job},
                     {"from", from},
                     {"to", options.to},
                     {"step", copy.step ? Json(*copy.step) : Json(nullptr)},
                     {"bytes", copy.bytes.value()}});
      return 0;
    }
    write_stdout(options.to + ": " +
                 (copy.step ? "the state after step " + std::to_string(*copy.step) : "no state is saved yet") + ", " +
                 format_bytes(copy.bytes) + "\n");
    if (copy.step) write_stdout("  " + shell_word(context.program) + " eval " + shell_word(options.to) + "\n");
    return 0;
  });
}

}  // namespace

void add_jobs(Verb root, Request& request) {
  const auto add = [&](const std::string& name, const std::string& line, const std::string& paragraph,
                       std::initializer_list<Example> examples, Result<int> (*run)(const Options&, const Context&),
                       const std::function<void(Verb&, Options&)>& more) {
    auto options = std::make_shared<Options>();
    Verb verb = root.verb(name, line, paragraph, examples);
    more(verb, *options);
    verb.option("--pool", options->pool, "Name of the pool, or its folder [default: the one pool on this machine]", "NAME");
    verb.json_flag(options->json);
    on_chosen(verb, request, options, run);
  };
  const std::string help = "Its id, which `train --detach` prints";
  add("status", "How the jobs of a pool are", "Shows all jobs since the coordinator began, or one of them.",
      {{"status", "all jobs"}, {"status job-3", "one, with its placement and, if it failed, why"}}, run_status,
      [&](Verb& verb, Options& options) { verb.optional_argument("JOB", options.job, help); });
  add("logs", "What happened to a job of a pool, and its metrics", "Prints the events of a job, and then its metrics, as lines.",
      {{"logs job-3", ""}, {"logs job-3 --follow", "until it is over"}}, run_logs, [&](Verb& verb, Options& options) {
        verb.argument("JOB", options.job, help);
        verb.flag("--follow", options.follow, "Go on until the job is over");
      });
  add("cancel", "End a job of a pool",
      "The step in flight is the job's last; its state is saved, so that `train --resume` goes on from there.",
      {{"cancel job-3", ""}}, run_cancel, [&](Verb& verb, Options& options) { verb.argument("JOB", options.job, help); });
  add("fetch", "A job's newest saved state as a run folder",
      "Copies the run of a job, with its newest snapshot, into a folder that eval, generate and train --resume take. The job may "
      "be running.",
      {{"fetch job-3 --to runs/third", ""}}, run_fetch, [&](Verb& verb, Options& options) {
        verb.argument("JOB", options.job, help);
        verb.option("--to", options.to, "The new folder", "DIR", true);
      });
}

}  // namespace suanli::cli
