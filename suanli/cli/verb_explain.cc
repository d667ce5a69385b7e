// suanli explain: the program of a job, and what it costs, before it runs.
#include <filesystem>
#include <vector>

#include "suanli/cli/explanation.h"
#include "suanli/cli/progress.h"
#include "suanli/cli/verb.h"
#include "suanli/data/dataset.h"
#include "suanli/graph/text_form.h"
#include "suanli/train/run_folder.h"
#include "suanli/train/setup.h"

namespace suanli::cli {
namespace {

struct Options {
  bool json = false, graph = false, calls = false;
  std::string job;
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
  if (!std::filesystem::is_directory(options.job)) {
    SUANLI_ASSIGN_OR_RETURN(train::JobConfig job, train::load_job(options.job, options.sets));
    return settled(std::move(job));
  }
  SUANLI_ASSIGN_OR_RETURN(train::RunDescription run, train::describe_run(options.job));
  for (const std::string& set : options.sets)
    SUANLI_RETURN_IF_ERROR(train::apply_override(run.job, set));
  SUANLI_RETURN_IF_ERROR(train::check_job(run.job, options.job));
  return run.job;
}

Result<int> run_explain(const Options& options, const Context&) {
  if (options.graph + options.calls + options.json > 1)
    return fail(ErrorCode::usage, "--graph, --calls and --json exclude one another",
                "suanli explain", "choose one of them");
  SUANLI_ASSIGN_OR_RETURN(const train::JobConfig job, job_of(options));
  if (options.graph) {
    SUANLI_ASSIGN_OR_RETURN(const graph::Graph graph, train::training_graph(job));
    write_stdout(graph::to_text(graph));
    return 0;
  }
  SUANLI_ASSIGN_OR_RETURN(const Explanation explanation, explain(job));
  if (options.json)
    emit("explain", explanation_json(explanation));
  else
    write_stdout(options.calls ? calls_text(explanation) : explanation_text(explanation));
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
      "cut. Nothing is trained.",
      {{"explain examples/gpt2-124m.toml", "GPT-2 small: 124 million parameters"},
       {"explain job.toml --set train.batch=32", "what would change with a larger batch"},
       {"explain runs/quickstart-1 --calls", "every kernel call of a run"}});
  verb.argument("JOB", options->job, "Job file, or the folder of a run");
  verb.set_option(options->sets);
  verb.flag("--graph", options->graph, "Print the graph in its text form");
  verb.flag("--calls", options->calls, "List every kernel call");
  verb.json_flag(options->json);
  on_chosen(verb, request, options, run_explain);
}

}  // namespace suanli::cli
