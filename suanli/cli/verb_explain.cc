// suanli explain: the program of a job, and what it costs, before it runs.
#include <filesystem>
#include <vector>

#include "suanli/cli/bench_report.h"
#include "suanli/cli/explanation.h"
#include "suanli/cli/explanation_measured.h"
#include "suanli/cli/progress.h"
#include "suanli/cli/signals.h"
#include "suanli/cli/trace.h"
#include "suanli/cli/verb.h"
#include "suanli/data/dataset.h"
#include "suanli/graph/text_form.h"
#include "suanli/train/run_folder.h"
#include "suanli/train/setup.h"

namespace suanli::cli {
namespace {

struct Options {
  bool json = false, graph = false, calls = false, measure = false;
  std::string job, trace, memory;
  std::vector<std::string> sets;
};

struct SettledJob {
  train::JobConfig job;
  bool evaluates = true;  // as far as is known
};

bool has_evaluation(const train::JobConfig& job, const data::Dataset& dataset) {
  return data::Windows::create(dataset, data::Split::valid, job.model.context).has_value();
}

// A job may be explained before its dataset is there, if need be with the vocabulary of bytes.
Result<SettledJob> settled(train::JobConfig job) {
  const auto dataset = data::Dataset::open(job.data.path);
  if (dataset) {
    SUANLI_ASSIGN_OR_RETURN(job, train::settle(job, *dataset));
    return SettledJob{job, has_evaluation(job, *dataset)};
  }
  if (dataset.error().code != ErrorCode::not_found) return tl::unexpected(dataset.error());
  if (job.model.vocab == 0) {
    write_stderr("note: there is no dataset at " + job.data.path +
                 " yet; taking the vocabulary of bytes, 256\n");
    job.model.vocab = static_cast<std::int64_t>(data::kByteVocab);
  }
  return SettledJob{std::move(job)};
}

Result<SettledJob> job_of(const Options& options) {
  std::vector<std::string> sets = options.sets;
  SUANLI_RETURN_IF_ERROR(apply_flag(sets, "run.memory_limit", "--memory", options.memory));
  if (!std::filesystem::is_directory(options.job)) {
    SUANLI_ASSIGN_OR_RETURN(train::JobConfig job, train::load_job(options.job, sets));
    return settled(std::move(job));
  }
  SUANLI_ASSIGN_OR_RETURN(train::RunDescription run, train::describe_run(options.job));
  for (const std::string& set : sets)
    SUANLI_RETURN_IF_ERROR(train::apply_override(run.job, set));
  SUANLI_RETURN_IF_ERROR(train::check_job(run.job, options.job));
  const auto dataset = data::Dataset::open(run.job.data.path);
  return SettledJob{run.job, !dataset || has_evaluation(run.job, *dataset)};
}

Status check_flags(const Options& options) {
  if (options.graph + options.calls + options.json > 1)
    return fail(ErrorCode::usage, "--graph, --calls and --json exclude one another",
                "suanli explain", "choose one of them");
  if (options.graph && (options.measure || !options.trace.empty()))
    return fail(ErrorCode::usage, "--graph runs nothing, so it excludes --measure and --trace",
                "suanli explain", "choose one of them");
  return {};
}

Result<Measurement> run_steps(train::StepRunner& runner, const Options& options, const Context& context) {
  Progress progress(context.err, write_stderr);
  const auto show = [&](const train::BenchProgress& at) {
    if (!options.json) progress.show([&] { return bench_progress_text(at); });
  };
  SUANLI_ASSIGN_OR_RETURN(Measurement measurement, measure(runner, show, stop_on_signals()));
  progress.finish();
  warn_about_threads(measurement.rates);
  return measurement;
}

// `measured` is null if nothing was run.
void show(const Explanation& explanation, const Measurement* measured, const Options& options) {
  if (options.json) {
    emit("explain",
         explanation_json(explanation, measured ? measured_json(explanation, *measured) : Json(nullptr)));
  } else if (options.calls) {
    write_stdout(measured ? measured_calls_text(explanation, *measured) : calls_text(explanation));
  } else {
    write_stdout(explanation_text(explanation));
    if (measured) write_stdout("\n" + measured_text(explanation, *measured));
  }
}

Result<int> run_explain(const Options& options, const Context& context) {
  SUANLI_RETURN_IF_ERROR(check_flags(options));
  if (!options.trace.empty()) SUANLI_RETURN_IF_ERROR(check_trace_path(options.trace));
  SUANLI_ASSIGN_OR_RETURN(const SettledJob settled_job, job_of(options));
  if (options.graph) {
    SUANLI_ASSIGN_OR_RETURN(const graph::Graph graph, train::training_graph(settled_job.job));
    write_stdout(graph::to_text(graph));
    return 0;
  }
  SUANLI_ASSIGN_OR_RETURN(const Explanation explanation, explain(settled_job.job, settled_job.evaluates));
  if (!options.measure && options.trace.empty()) {
    show(explanation, nullptr, options);
    return 0;
  }
  SUANLI_ASSIGN_OR_RETURN(const auto runner, runner_of(explanation));
  SUANLI_ASSIGN_OR_RETURN(const Measurement measurement, run_steps(*runner, options, context));
  show(explanation, &measurement, options);
  if (!options.trace.empty()) SUANLI_RETURN_IF_ERROR(write_trace(*runner, options.trace));
  return 0;
}

}  // namespace

void add_explain(Verb root, Request& request) {
  auto options = std::make_shared<Options>();
  Verb verb = root.verb(
      "explain", "The program of a job and what it costs, before it runs",
      "Compiles a job, or the job of a run, and shows its parameters, operations and bytes per "
      "step, the ops before and the kernel calls after fusion with the implementation each kernel "
      "really has on this machine, the memory plan, and between which blocks the model can be "
      "cut. Nothing is trained. With --measure some steps are run on random tokens, and every kernel "
      "call is shown with the time it takes beside what it would take at the machine's limits.",
      {{"explain examples/gpt2-124m.toml", "GPT-2 small: 124 million parameters"},
       {"explain job.toml --set train.batch=32", "what would change with a larger batch"},
       {"explain job.toml --memory 2Gi", "what is recomputed to fit into that"},
       {"explain runs/quickstart-1 --calls", "every kernel call of a run"},
       {"explain job.toml --measure --trace step.json",
        "where a step's time goes, and a trace of it for ui.perfetto.dev"}});
  verb.argument("JOB", options->job, "Job file, or the folder of a run");
  verb.set_option(options->sets);
  verb.option("--memory", options->memory, kMemoryFlagHelp, "BYTES");
  verb.flag("--graph", options->graph, "Print the graph in its text form");
  verb.flag("--calls", options->calls, "List every kernel call");
  verb.flag("--measure", options->measure,
            "Run 7 steps; show time, FLOPs and bytes of each kernel and its share of the limit");
  verb.option("--trace", options->trace,
              "Also write a Chrome trace of the last of these steps; of several micro-batches, of the last",
              "FILE");
  verb.json_flag(options->json);
  on_chosen(verb, request, options, run_explain);
}

}  // namespace suanli::cli
