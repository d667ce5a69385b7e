// suanli eval: the loss of a trained run on a dataset.
#include "suanli/base/clock.h"
#include "suanli/base/text.h"
#include "suanli/cli/output.h"
#include "suanli/cli/progress.h"
#include "suanli/cli/signals.h"
#include "suanli/cli/table.h"
#include "suanli/cli/verb.h"
#include "suanli/train/generate.h"
#include "suanli/train/run_folder.h"

namespace suanli::cli {
namespace {

struct Options {
  bool json = false;
  std::string run, data, split = "valid";
  std::int64_t batches = 0;
  std::int64_t threads = 0;
};

Result<int> run_eval(const Options& options, const Context&) {
  SUANLI_ASSIGN_OR_RETURN(
      const auto model,
      train::TrainedModel::load(
          options.run, {.threads = static_cast<int>(options.threads), .stop = stop_on_signals()}));
  for (const Error& damage : model->damages())
    write_stderr("warning: " + damage.to_string() + "\n");
  std::string folder = options.data;
  if (folder.empty()) {
    SUANLI_ASSIGN_OR_RETURN(const train::RunDescription run, train::describe_run(options.run));
    folder = run.job.data.path;
  }
  const data::Split split = options.split == "train" ? data::Split::train : data::Split::valid;
  const Seconds start = real_clock().now();
  SUANLI_ASSIGN_OR_RETURN(const train::TrainedModel::Score score,
                          model->evaluate(folder, split, options.batches));
  const Seconds seconds = real_clock().now() - start;
  const train::Evaluation& found = score.evaluation;
  if (options.json) {
    emit("eval",
         {{"run", options.run},
          {"step", model->step()},
          {"data", folder},
          {"split", options.split},
          {"loss", found.loss},
          {"perplexity", found.perplexity()},
          {"bits_per_byte", score.bits_per_byte > 0 ? Json(score.bits_per_byte) : Json(nullptr)},
          {"tokens", found.tokens.value()},
          {"seconds", seconds.value()}});
    return 0;
  }
  Table table({{"", Align::left}, {"", Align::left}});
  table.add_row({"checkpoint", "step " + format_count(model->step())});
  table.add_row({"data", folder + " (" + options.split + ")"});
  table.add_row({"tokens", format_count(found.tokens.value()) + " in " + format_duration(seconds)});
  table.add_row({"loss", format("%.5f nats per token", found.loss)});
  table.add_row({"perplexity", format("%.4f", found.perplexity())});
  if (score.bits_per_byte > 0)
    table.add_row({"bits per byte", format("%.4f", score.bits_per_byte)});
  write_stdout(table.to_string());
  return 0;
}

}  // namespace

void add_eval(Verb root, Request& request) {
  auto options = std::make_shared<Options>();
  Verb verb = root.verb(
      "eval", "Loss, perplexity and bits per byte of a trained run",
      "Measures the newest checkpoint of a run on a split of a dataset, unless told otherwise on "
      "all of the validation split that the run was trained with.",
      {{"eval runs/quickstart-1", "on the run's own validation text"},
       {"eval runs/quickstart-1 --data datasets/other --split train", "on another text"},
       {"eval runs/quickstart-1 --batches 10 --json", "a quick look, for programs"}});
  verb.argument("RUN", options->run, "Folder of the run");
  verb.option("--data", options->data, "Folder of the dataset; the run's unless given", "DIR");
  verb.choice("--split", options->split, {"train", "valid"}, "train or valid");
  verb.option("--batches", options->batches, "Batches spread over the split; 0: all of it", 0,
              std::int64_t{1} << 40);
  verb.option("--threads", options->threads, "Threads that compute; 0: as the run's job says", 0,
              1024);
  verb.json_flag(options->json);
  on_chosen(verb, request, options, run_eval);
}

}  // namespace suanli::cli
