// suanli plan validate: predictions beside published runs.
#include "suanli/base/file.h"
#include "suanli/cli/output.h"
#include "suanli/cli/plan_report.h"
#include "suanli/cli/progress.h"
#include "suanli/cli/svg.h"
#include "suanli/cli/validation_report.h"
#include "suanli/cli/verb.h"

namespace suanli::cli {
namespace {

struct Options {
  bool json = false, why = false;
  std::string data, plot;
};

constexpr const char* kBuiltIn = "published-runs.csv";

Result<std::vector<plan::PublishedRun>> runs_of(const Options& options) {
  if (options.data.empty()) return plan::built_in_runs();
  constexpr Bytes kLargest(std::int64_t{64} << 20);
  SUANLI_ASSIGN_OR_RETURN(const std::string text, read_file(options.data, kLargest));
  return plan::parse_published_runs(text, options.data);
}

Result<int> run_validate(const Options& options, const Context&) {
  SUANLI_ASSIGN_OR_RETURN(const std::vector<plan::PublishedRun> runs, runs_of(options));
  const std::string file = options.data.empty() ? kBuiltIn : options.data;
  SUANLI_ASSIGN_OR_RETURN(const plan::Validation validation,
                          plan::validate(runs, plan::AcceleratorTable::built_in(), file));
  if (!options.plot.empty()) {
    const std::string svg = line_chart_svg(validation_chart(validation), {.width = 800, .height = 800});
    SUANLI_RETURN_IF_ERROR(write_file_atomic(options.plot, as_bytes(svg)));
  }
  if (options.json) {
    Json record = validation_json(file, validation);
    record["svg"] = options.plot.empty() ? Json(nullptr) : Json(options.plot);
    emit("plan validate", record);
    return 0;
  }
  write_stdout(validation_text(validation, options.why));
  if (!options.plot.empty()) write_stderr("written to " + options.plot + "\n");
  return 0;
}

}  // namespace

void add_plan_validate(Verb plan, Request& request) {
  auto options = std::make_shared<Options>();
  Verb verb = plan.verb(
      "validate", "Predictions beside published runs: how far to believe the planner",
      "Predicts step times, throughputs, MFU, memory and the hours of whole runs that others have published, without "
      "being told what they reached, and prints them beside the published figures, with the median and the 90th "
      "percentile of the errors and how many figures the intervals hold. Rows of a publication that the model's "
      "constants were fitted over are predicted with constants fitted without that publication. Rows that say nothing "
      "about a planner, such as projected days, stand apart with the reason. The file is CSV; what a row leaves open is "
      "assumed, and --why tells what.",
      {{"plan validate", "the published runs that the planner knows"},
       {"plan validate --data runs.csv --why", "runs of your own file, with what was assumed of each"},
       {"plan validate --plot validation.svg", "also as a picture, predicted over published"},
       {"plan validate --json", "for programs"}});
  verb.option("--data", options->data, "Published runs to predict instead of the built-in ones", "FILE.csv");
  verb.option("--plot", options->plot, "Also write a picture, predicted over published, both logarithmic", "FILE.svg");
  verb.flag("--why", options->why, kWhyFlagHelp);
  verb.json_flag(options->json);
  on_chosen(verb, request, options, run_validate);
}

}  // namespace suanli::cli
