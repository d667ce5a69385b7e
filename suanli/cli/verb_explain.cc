// suanli explain: the program of a job, and what it costs, before it runs.
#include <filesystem>
#include <optional>
#include <vector>

#include "suanli/cli/bench_report.h"
#include "suanli/cli/explanation.h"
#include "suanli/cli/explanation_measured.h"
#include "suanli/cli/progress.h"
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

// A job may be explained before its dataset is there, if need be with the vocabulary of bytes.
Result<train::JobConfig> settled(train::JobConfig job) {
  const auto dataset = data::Dataset::open(job.data.path);
  if (dataset) return train::settle(job, *dataset);
  if (dataset.error().code != ErrorCode::not_found) return tl::unexpected(dataset.error());
  if (job.model.vocab == 0) {
    write_stderr("note: there is no dataset at " + job.data.path +
                 " yet; taking the vocabulary of bytes, 256\n");
    job.model.vocab = static_cast<std::int64_t>(data::kByteVocab);
  }
  return job;
}

Result<train::JobConfig> job_of(const Options& options) {
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
  return run.job;
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

// Runs some steps, and writes the trace of the last if there is to be one.
Result<Measurement> run_steps(const Explanation& explanation, const Options& options,
                              const Context& context) {
  std::optional<TraceFile> trace;
  if (!options.trace.empty()) {
    SUANLI_ASSIGN_OR_RETURN(trace, TraceFile::create(options.trace));
  }
  SUANLI_ASSIGN_OR_RETURN(const auto runner, runner_of(explanation));
  Progress progress(context.err, write_stderr);
  const auto show = [&](const train::BenchProgress& at) {
    if (!options.json) progress.show([&] { return bench_progress_text(at); });
  };
  SUANLI_ASSIGN_OR_RETURN(const Measurement measurement, measure(*runner, show));
  progress.finish();
  if (trace) SUANLI_RETURN_IF_ERROR(std::move(*trace).write(*runner));
  return measurement;
}

Result<int> run_explain(const Options& options, const Context& context) {
  SUANLI_RETURN_IF_ERROR(check_flags(options));
  SUANLI_ASSIGN_OR_RETURN(const train::JobConfig job, job_of(options));
  if (options.graph) {
    SUANLI_ASSIGN_OR_RETURN(const graph::Graph graph, train::training_graph(job));
    write_stdout(graph::to_text(graph));
    return 0;
  }
  SUANLI_ASSIGN_OR_RETURN(const Explanation explanation, explain(job));
  std::optional<Measurement> measured;
  if (options.measure || !options.trace.empty()) {
    SUANLI_ASSIGN_OR_RETURN(measured, run_steps(explanation, options, context));
  }
  if (options.json) {
    emit("explain", explanation_json(
                        explanation, measured ? measured_json(explanation, *measured) : Json(nullptr)));
  } else if (options.calls) {
    write_stdout(measured ? measured_calls_text(explanation, *measured) : calls_text(explanation));
  } else {
    write_stdout(explanation_text(explanation));
    if (measured) write_stdout("\n" + measured_text(explanation, *measured));
  }
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
  verb.option("--trace", options->trace, "Also write a Chrome trace of the last of these steps",
              "FILE");
  verb.json_flag(options->json);
  on_chosen(verb, request, options, run_explain);
}

}  // namespace suanli::cli
