#include "suanli/cli/compare_runs.h"

#include <algorithm>
#include <filesystem>

#include "suanli/base/file.h"
#include "suanli/base/text.h"
#include "suanli/cli/chart.h"
#include "suanli/cli/exchange_of_runs.h"
#include "suanli/cli/output.h"
#include "suanli/cli/progress.h"
#include "suanli/cli/svg.h"
#include "suanli/cli/table.h"
#include "suanli/train/run_folder.h"

namespace suanli::cli {
namespace {

struct ComparedRun {
  std::string folder;
  train::RunDescription description;
  train::RunRecords records;
  std::vector<QualityPoint> points;

  double best() const { return std::ranges::min_element(points, {}, &QualityPoint::loss)->loss; }
  std::string dtype() const { return records.sessions.empty() ? "" : records.sessions.back().dtype; }
};

Result<ComparedRun> read_run(const std::string& folder) {
  ComparedRun run;
  run.folder = folder;
  SUANLI_ASSIGN_OR_RETURN(run.description, train::describe_run(folder));
  SUANLI_ASSIGN_OR_RETURN(run.records, train::read_run_records(folder));
  run.points = quality_points(run.records);
  if (run.points.empty())
    return fail(ErrorCode::empty, "the run has no evaluation yet", train::RunPaths{folder}.metrics(),
                "train it until its first evaluation (eval.every), on a dataset with a validation part");
  return run;
}

std::vector<Error> warnings_of(const ComparedRun& a, const ComparedRun& b) {
  std::vector<Error> warnings;
  const train::RunInfo &first = a.description.info, &second = b.description.info;
  const train::JobConfig &x = a.description.job, &y = b.description.job;
  if (first.tokenizer != second.tokenizer)
    warnings.push_back({ErrorCode::mismatch,
                        "the tokenizers differ ('" + printable(first.tokenizer) + "' and '" + printable(second.tokenizer) +
                            "'): a loss per token means something else in each run",
                        "", ""});
  else if (first.dataset != second.dataset)
    warnings.push_back({ErrorCode::mismatch,
                        "the runs are of different data (digests " + first.dataset.hex().substr(0, 12) + " and " +
                            second.dataset.hex().substr(0, 12) + "): equal losses are not equal quality",
                        "", "train both on one dataset"});
  else if (x.model.context != y.model.context || x.eval.batches * x.train.batch != y.eval.batches * y.train.batch)
    warnings.push_back({ErrorCode::mismatch,
                        "the validation losses are of other windows: " + std::to_string(x.eval.batches * x.train.batch) + " of " +
                            std::to_string(x.model.context) + " tokens, and " +
                            std::to_string(y.eval.batches * y.train.batch) + " of " + std::to_string(y.model.context),
                        "", "compare the losses of `suanli eval` too"});
  for (const ComparedRun* run : {&a, &b})
    if (run->records.damaged > 0)
      warnings.push_back({ErrorCode::corrupt,
                          std::to_string(run->records.damaged) + " damaged lines of the metrics are left out",
                          train::RunPaths{run->folder}.metrics(), ""});
  return warnings;
}

double tokens_ratio(const ExchangeLevel& level) { return level.second.tokens / level.first.tokens; }
std::optional<double> joules_ratio(const ExchangeLevel& level) {
  if (!level.first.joules || !level.second.joules) return std::nullopt;
  return *level.second.joules / *level.first.joules;
}
// 0 over 0 and the like are unknown.
std::string ratio_text(double ratio) { return ratio > 0 && ratio < 1e300 ? format("1 : %.3g", ratio) : "unknown"; }
Json ratio_json(double ratio) { return ratio > 0 && ratio < 1e300 ? Json(ratio) : Json(nullptr); }

std::string loss_text(const ExchangeLevel& level) {
  return format("%.4g", level.loss) + (level.is_best ? " (best of both)" : "");
}

bool counts_joules(const std::vector<ExchangeLevel>& levels) {
  return std::ranges::all_of(levels, [](const ExchangeLevel& level) { return joules_ratio(level).has_value(); });
}

std::string runs_text(const ComparedRun& a, const ComparedRun& b) {
  Table table({{"", Align::left}, {"", Align::left}, {"parameters", Align::right}, {"", Align::left},
               {"steps", Align::right}, {"evaluations", Align::right}, {"best loss", Align::right}});
  const auto add = [&](const char* name, const ComparedRun& run) {
    table.add_row({name, run.folder, format_count(run.description.info.parameters), printable(run.dtype()),
                   format_count(run.records.last_step()), format_count(static_cast<std::int64_t>(run.points.size())),
                   format("%.4f", run.best())});
  };
  add("run 1", a);
  add("run 2", b);
  return table.to_string();
}

std::string rates_text(const std::vector<ExchangeLevel>& levels) {
  const bool joules = counts_joules(levels);
  std::vector<Table::Column> columns = {{"to validation loss", Align::left}, {"operations", Align::right},
                                        {"seconds", Align::right}, {"tokens", Align::right}};
  if (joules) columns.push_back({"joules", Align::right});
  Table table(std::move(columns));
  for (const ExchangeLevel& level : levels) {
    std::vector<std::string> row = {loss_text(level), ratio_text(level.second.operations / level.first.operations),
                                    ratio_text(level.second.seconds / level.first.seconds), ratio_text(tokens_ratio(level))};
    if (joules) row.push_back(ratio_text(*joules_ratio(level)));
    table.add_row(std::move(row));
  }
  return table.to_string();
}

std::string amounts_text(const std::vector<ExchangeLevel>& levels) {
  const bool joules = counts_joules(levels);
  std::vector<Table::Column> columns = {{"to loss", Align::left}, {"run", Align::right}, {"steps", Align::right},
                                        {"operations", Align::right}, {"time", Align::right}, {"tokens", Align::right}};
  if (joules) columns.push_back({"energy", Align::right});
  Table table(std::move(columns));
  for (const ExchangeLevel& level : levels) {
    int number = 1;
    for (const CostToQuality* cost : {&level.first, &level.second}) {
      std::vector<std::string> row = {number == 1 ? format("%.4g", level.loss) : "", std::to_string(number),
                                      format("%.0f", cost->step), format_flops(cost->operations),
                                      format_duration(cost->seconds), format_si(cost->tokens, "")};
      if (joules) row.push_back(format_si(cost->joules->value(), "J"));
      table.add_row(std::move(row));
      ++number;
    }
  }
  return table.to_string();
}

constexpr const char* kWhy =
    "Why\n"
    "  When a run reached a loss: at the first evaluation that is not above it, linear between that one and the one before.\n"
    "  Levels: round losses between the lower of the two first evaluations and the higher of the two best.\n"
    "  Operations: forward, backward and update of each step, once, as the graph states them. Evaluations, samples, snapshots\n"
    "  and what was done again after a kill are left out: they say how a run was looked at, not what it needed to learn.\n"
    "  Seconds: of the steps, on whatever machine each ran. Tokens: that the steps saw. Joules: all that the machine counted.\n"
    "  1 : 3 means that run 2 needed three times what run 1 did. The rate changes with the loss: no single number holds.\n";

Json cost_json(const CostToQuality& cost) {
  return {{"step", cost.step},
          {"operations", cost.operations.value()},
          {"seconds", cost.seconds.value()},
          {"tokens", cost.tokens},
          {"joules", cost.joules ? Json(cost.joules->value()) : Json(nullptr)}};
}

Json run_json(const ComparedRun& run) {
  const train::RunInfo& info = run.description.info;
  return {{"run", run.folder},
          {"parameters", info.parameters},
          {"dtype", run.dtype()},
          {"dataset_sha256", info.dataset.hex()},
          {"tokenizer", info.tokenizer},
          {"steps", run.records.last_step()},
          {"evaluations", run.points.size()},
          {"best_valid_loss", run.best()}};
}

Json levels_json(const std::vector<ExchangeLevel>& levels) {
  Json array = Json::array();
  for (const ExchangeLevel& level : levels) {
    const auto joules = joules_ratio(level);
    array.push_back({{"loss", level.loss},
                     {"is_best", level.is_best},
                     {"run1", cost_json(level.first)},
                     {"run2", cost_json(level.second)},
                     {"ratio",
                      {{"operations", ratio_json(level.second.operations / level.first.operations)},
                       {"seconds", ratio_json(level.second.seconds / level.first.seconds)},
                       {"tokens", ratio_json(tokens_ratio(level))},
                       {"joules", joules ? ratio_json(*joules) : Json(nullptr)}}}});
  }
  return array;
}

Chart chart_of(const ComparedRun& a, const ComparedRun& b) {
  Chart chart{"validation loss", "operations (FLOP)", "loss (nats per token)", {}};
  chart.log_x = true;
  for (const ComparedRun* run : {&a, &b}) {
    Series series{std::string(run == &a ? "run 1: " : "run 2: ") + run->folder, {}, true};
    for (const QualityPoint& point : run->points) series.points.push_back({point.cost.operations.value(), point.loss});
    chart.series.push_back(std::move(series));
  }
  return chart;
}

}  // namespace

Result<int> compare_runs(const CompareRunsOptions& options, const Context&) {
  std::error_code ignored;
  if (std::filesystem::equivalent(options.run1, options.run2, ignored))
    return fail(ErrorCode::usage, "both arguments name one run", options.run2, "name two runs");
  SUANLI_ASSIGN_OR_RETURN(const ComparedRun a, read_run(options.run1));
  SUANLI_ASSIGN_OR_RETURN(const ComparedRun b, read_run(options.run2));
  SUANLI_ASSIGN_OR_RETURN(const std::vector<ExchangeLevel> levels, exchange_levels(a.points, b.points));
  const std::vector<Error> warnings = warnings_of(a, b);
  for (const Error& warning : warnings) write_stderr(warning_text(warning) + "\n");
  if (!options.plot.empty())
    SUANLI_RETURN_IF_ERROR(write_file_atomic(options.plot, as_bytes(line_chart_svg(chart_of(a, b)))));
  if (options.json) {
    Json array = Json::array();
    for (const Error& warning : warnings) array.push_back(json_of(warning));
    emit("compare runs", {{"run1", run_json(a)},
                          {"run2", run_json(b)},
                          {"levels", levels_json(levels)},
                          {"warnings", array},
                          {"svg", options.plot.empty() ? Json(nullptr) : Json(options.plot)}});
    return 0;
  }
  const ExchangeLevel& best = levels.back();
  write_stdout(runs_text(a, b) + "\n" + ratio_text(best.second.operations / best.first.operations) +
               " in operations to loss " + format("%.4g", best.loss) + ", the best that both reached\n\n" + rates_text(levels) +
               "\n" + amounts_text(levels) + (options.why ? std::string("\n") + kWhy : ""));
  if (!options.plot.empty()) write_stderr("written to " + options.plot + "\n");
  return 0;
}

}  // namespace suanli::cli
