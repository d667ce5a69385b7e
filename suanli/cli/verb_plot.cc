// suanli plot: the loss curve of a run.
#include <algorithm>

#include "suanli/cli/curves.h"
#include "suanli/cli/output.h"
#include "suanli/cli/plot.h"
#include "suanli/cli/progress.h"
#include "suanli/cli/verb.h"

namespace suanli::cli {
namespace {

struct Options {
  bool json = false;
  std::string run, out;
};

Result<int> run_plot(const Options& options, const Context& context) {
  SUANLI_ASSIGN_OR_RETURN(const Curves curves, read_curves(options.run));
  const Chart chart = loss_chart(curves, "loss");
  const std::string path = options.out.empty() ? options.run + "/loss.svg" : options.out;
  SUANLI_RETURN_IF_ERROR(write_loss_svg(chart, path));
  if (options.json) {
    emit("plot", {{"svg", path},
                  {"steps", curves.train.size()},
                  {"evaluations", curves.valid.size()},
                  {"damaged_lines", curves.damaged}});
    return 0;
  }
  if (curves.damaged > 0)
    write_stderr("warning: " + std::to_string(curves.damaged) +
                 " damaged lines of the metrics are left out\n");
  const int columns = std::clamp(context.out.width - 2, 40, 120);
  write_stdout(plot(chart, context.out, {.columns = columns, .rows = 18}));
  write_stderr("written to " + path + "\n");
  return 0;
}

}  // namespace

void add_plot(Verb root, Request& request) {
  auto options = std::make_shared<Options>();
  Verb verb =
      root.verb("plot", "The loss curve of a run, in the terminal and as SVG",
                "Reads the metrics of a run, which may be in training, draws training and "
                "validation loss in the terminal, and writes the same as an SVG picture.",
                {{"plot runs/quickstart-1", "also writes runs/quickstart-1/loss.svg"},
                 {"plot runs/quickstart-1 --out /tmp/loss.svg", "the picture goes elsewhere"}});
  verb.argument("RUN", options->run, "Folder of the run");
  verb.option("--out", options->out, "File of the picture; RUN/loss.svg unless given", "FILE");
  verb.json_flag(options->json);
  on_chosen(verb, request, options, run_plot);
}

}  // namespace suanli::cli
