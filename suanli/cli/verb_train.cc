// suanli train: a job from its first step, or a run from its last checkpoint.
#include <charconv>
#include <filesystem>
#include <vector>

#include "suanli/base/text.h"
#include "suanli/cli/curves.h"
#include "suanli/cli/output.h"
#include "suanli/cli/progress.h"
#include "suanli/cli/signals.h"
#include "suanli/cli/train_display.h"
#include "suanli/cli/train_on_pool.h"
#include "suanli/cli/train_report.h"
#include "suanli/cli/verb.h"
#include "suanli/plan/profile_path.h"
#include "suanli/pool/local_pool.h"
#include "suanli/train/generate.h"
#include "suanli/train/run_folder.h"
#include "suanli/train/trainer.h"

namespace suanli::cli {
namespace {

struct Options {
  bool json = false, resume = false, quiet = false, detach = false;
  std::string job, run, cap, budget, memory, peak, on, links;
  std::vector<std::string> sets;
};

Result<train::JobConfig> job_of(const Options& options) {
  std::vector<std::string> sets = options.sets;
  std::string path = options.job;
  const bool is_run = std::filesystem::is_directory(path);
  if (is_run) {
    SUANLI_RETURN_IF_ERROR(train::describe_run(path));
    // The folder may have been moved since.
    sets.insert(sets.begin(), "run.dir=" + path);
    path = train::RunPaths{path}.job();
  }
  SUANLI_RETURN_IF_ERROR(apply_flag(sets, "run.dir", "--run", options.run));
  SUANLI_RETURN_IF_ERROR(apply_flag(sets, "run.cap", "--cap", options.cap));
  SUANLI_RETURN_IF_ERROR(apply_flag(sets, "run.budget", "--budget", options.budget));
  SUANLI_RETURN_IF_ERROR(apply_flag(sets, "run.memory_limit", "--memory", options.memory));
  return train::load_job(path, sets);
}

int exit_code_for(train::Outcome outcome) {
  switch (outcome) {
    case train::Outcome::finished:
      return 0;
    case train::Outcome::interrupted:
      return exit_code_of(ErrorCode::interrupted);
    case train::Outcome::budget_spent:
      return exit_code_of(ErrorCode::budget);
    case train::Outcome::grows:
      break;  // of a segment, not of a run
  }
  return 1;
}

void warn(const Error& error) { write_stderr("warning: " + error.to_string() + "\n"); }

// The picture is worth a warning, not a failure.
void draw_curves(RunEnd& end) {
  const auto curves = read_curves(end.report.run_folder);
  if (!curves) return;
  end.chart = loss_chart(*curves, "loss");
  const std::string path = end.report.run_folder + "/loss.svg";
  if (const Status written = write_loss_svg(*end.chart, path); !written)
    warn(written.error());
  else
    end.svg = path;
}

// As the job says for its samples. Nothing is computed after Ctrl-C, nor beyond a cap or a budget.
void write_sample(RunEnd& end, train::StopFlag stop) {
  const bool is_free = end.job.run.cap == 0 && end.job.run.budget == 0;
  if (!end.tokens_are_bytes || !is_free || end.report.outcome != train::Outcome::finished) return;
  const auto model = train::TrainedModel::load(end.report.run_folder, {.stop = stop});
  const auto keep = [&](char byte) {
    end.sample += byte;
    return true;
  };
  const Status written =
      !model ? tl::unexpected(model.error())
             : (*model)->generate(end.job.sample.prompt, end.job.sample.tokens, {}, keep);
  if (!written) warn(written.error());
}

bool tokens_are_bytes(const std::string& run_folder) {
  const auto run = train::describe_run(run_folder);
  return run && run->info.tokenizer == "bytes" && run->job.model.vocab <= 256;
}

constexpr std::string_view kLocal = "local:";

// The workers of `--on local:N`; 0 without it.
Result<int> local_workers(const Options& options) {
  const bool is_local = options.on.starts_with(kLocal);
  if (!is_local && !options.links.empty())
    return fail(ErrorCode::usage, "it says how the lines of a local pool are, and there is none", "--links", "add --on local:4");
  if (options.detach && (is_local || options.on.empty()))
    return fail(ErrorCode::usage, "only a pool that lasts goes on with a job by itself", "--detach",
                "name a pool: --on NAME (suanli pool create)");
  if (options.on.empty()) return 0;
  int workers = 0;
  if (is_local) {
    const std::string_view on = options.on;
    const auto [end, error] = std::from_chars(on.data() + kLocal.size(), on.data() + on.size(), workers);
    if (error != std::errc() || end != on.data() + on.size())
      return fail(ErrorCode::usage, "'" + printable(options.on) + "' names no pool", "--on",
                  "use local:N for N workers on this machine, such as local:4");
  }
  if (!options.peak.empty())
    return fail(ErrorCode::usage, "it is of one machine", "--peak", "leave it out, or train on this machine alone, without --on");
  return workers;
}

// What happens to the pool, for people.
void tell(const protocol::PoolEvent& event) {
  write_stderr(event.subject + ": " + event.sentence + (event.next_step.empty() ? "" : "; " + event.next_step) + "\n");
}

// What a pool does not keep is refused rather than forgotten.
Status check_for_pool(const Options& options, const train::JobConfig& job) {
  for (const auto& [key, value] : {std::pair{"run.cap", job.run.cap}, {"run.budget", job.run.budget}})
    if (value > 0)
      return fail(ErrorCode::config, "it cannot be kept on a pool yet", key,
                  "leave it out, or train on this machine alone, without --on");
  if (job.run.memory_limit > 0 && !options.on.starts_with(kLocal))
    return fail(ErrorCode::config, "what a worker lends is its owner's to say", "run.memory_limit",
                "leave it out; `suanli worker --memory` says it on each machine");
  return {};
}

Result<train::TrainReport> train_it(const Options& options, const train::JobConfig& job, const train::TrainOptions& how) {
  SUANLI_ASSIGN_OR_RETURN(const int workers, local_workers(options));
  if (options.on.empty()) return train::train(job, how);
  SUANLI_RETURN_IF_ERROR(check_for_pool(options, job));
  if (!options.on.starts_with(kLocal)) {
    PoolRun run{options.on, nullptr};
    if (!options.quiet && !options.json) run.on_event = [](const std::string& line) { write_stderr(line + "\n"); };
    return train_on_pool(job, run, how);
  }
  pool::LocalPoolOptions pool;
  pool.workers = workers;
  pool.lines = options.links;
  pool.program = "/proc/self/exe";
  pool.threads = static_cast<int>(job.run.threads);
  if (!options.quiet && !options.json) pool.on_event = tell;
  return pool::train_on_local_pool(job, pool, how);
}

// Hands the job over and leaves it.
Result<int> detach(const Options& options, const train::JobConfig& job, const Context& context) {
  SUANLI_ASSIGN_OR_RETURN(const int workers, local_workers(options));
  SUANLI_CHECK(workers == 0);
  SUANLI_RETURN_IF_ERROR(check_for_pool(options, job));
  SUANLI_ASSIGN_OR_RETURN(const Submitted submitted, submit_to_pool(job, options.on, options.resume));
  if (options.json) {
    emit("train/submitted", {{"event", "submitted"}, {"pool", options.on}, {"job", submitted.job}, {"run", submitted.run}});
    return 0;
  }
  write_stdout(submitted.job + "\n");
  if (!options.quiet) write_stderr("follow it with: " + shell_word(context.program) + " logs " + submitted.job + " --follow\n");
  return 0;
}

Result<int> run_train(const Options& options, const Context& context) {
  SUANLI_ASSIGN_OR_RETURN(const train::JobConfig job, job_of(options));
  if (options.detach) return detach(options, job, context);
  TrainDisplay display(context.err, options.quiet);
  TrainEvents events;
  train::TrainOptions how{.resume = options.resume, .stop = stop_on_signals()};
  if (options.json)
    how.observer = &events;
  else
    how.observer = &display;
  if (!options.peak.empty()) {
    SUANLI_ASSIGN_OR_RETURN(const double peak, parse_scaled(options.peak, "--peak"));
    how.peak = FlopsPerSecond(peak);
  }
  // What `suanli calibrate` left here, if anything: then the run keeps a plan.
  const auto profile = plan::load_profile(plan::default_profile_path());
  if (profile) how.profile = &*profile;
  RunEnd end;
  end.job = job;
  SUANLI_ASSIGN_OR_RETURN(end.report, train_it(options, job, how));
  display.finish();
  end.tokens_are_bytes = tokens_are_bytes(end.report.run_folder);
  draw_curves(end);
  const int code = exit_code_for(end.report.outcome);
  if (options.json) {
    emit_end(end.report, code, end.svg);
    return code;
  }
  if (!options.quiet) write_sample(end, how.stop);
  write_stdout(report_text(end, context));
  return code;
}

}  // namespace

void add_train(Verb root, Request& request) {
  auto options = std::make_shared<Options>();
  Verb verb = root.verb("train", "Train a job, or go on with a run",
                        "Trains the model of a job file on its dataset, in a run folder that holds metrics, "
                        "checkpoints and the job in effect. Ctrl-C stops cleanly within a step (exit code 5); with "
                        "--resume the run goes on from its last checkpoint and ends with the same weights, bit for "
                        "bit, as one that was never disturbed. Instead of a job file, --resume also takes the run "
                        "folder.",
                        {{"train examples/tiny.toml", "a run of a few seconds"},
                         {"train job.toml --set train.steps=2000 --run runs/long", "another length and folder"},
                         {"train runs/long --resume --budget 3P", "go on, up to 3e15 operations in all"},
                         {"train job.toml --cap 50G", "leave most of the machine to its owner"},
                         {"train job.toml --on local:4 --links examples/links/worldwide.toml",
                          "on four worker processes, with the lines between eight cities emulated between them"},
                         {"train job.toml --on mypool --detach", "hand it to a pool; `suanli status` tells how it is"}});
  verb.argument("JOB", options->job, "Job file; with --resume also the folder of a run");
  verb.set_option(options->sets);
  verb.flag("--resume", options->resume, "Go on from the newest checkpoint of the run folder");
  verb.option("--run", options->run, "Run folder; the same as --set run.dir=DIR", "DIR");
  verb.option("--cap", options->cap,
              "Highest rate of computing in FLOP/s, such as 50G; every second stays within "
              "5 % of it",
              "RATE");
  verb.option("--budget", options->budget,
              "Operations the run may use in all, such as 3P; it stops before them, exit "
              "code 7, resumable",
              "FLOP");
  verb.option("--memory", options->memory, kMemoryFlagHelp, "BYTES");
  verb.option("--peak", options->peak,
              "Peak of the machine in FLOP/s, for MFU; measured unless given", "RATE");
  verb.option(
      "--on", options->on,
      "Where: the name of a pool whose coordinator runs on this machine (`suanli pool create`); or local:N, on N workers of this "
      "machine, a process each, linked as they would be over a network",
      "POOL");
  verb.flag("--detach", options->detach, "With --on NAME: print the job's id and leave it to the pool");
  verb.option("--links", options->links,
              "With --on local:N: places and the lines between them, to be emulated between workers and to the coordinator "
              "(docs/formats/links.md)",
              "FILE");
  verb.flag("--quiet", options->quiet, "No progress and no sample; warnings and the report only");
  verb.json_flag(options->json);
  on_chosen(verb, request, options, run_train);
}

}  // namespace suanli::cli
