#include "suanli/cli/validation_report.h"

#include <algorithm>
#include <cmath>

#include "suanli/base/text.h"
#include "suanli/cli/plan_report.h"
#include "suanli/cli/table.h"

namespace suanli::cli {
namespace {

using plan::Level;

constexpr std::size_t kLongestName = 60, kLongestQuantity = 40, kLongestReason = 120;

std::string percent(double share) { return format("%.2f %%", 100 * share); }
std::string signed_percent(double share) { return format("%+.1f %%", 100 * share); }
std::string number(double value) { return format("%.4g", value); }

bool has_interval(Level level) { return level == Level::step || level == Level::run; }

std::string rows_text(const plan::Validation& validation) {
  Table table({{"run", Align::left},
               {"quantity", Align::left},
               {"published", Align::right},
               {"predicted", Align::right},
               {"four of five", Align::right},
               {"error", Align::right},
               {"", Align::left}});
  for (const plan::ValidatedRow& row : validation.rows) {
    const bool shows = has_interval(row.level);
    std::string remark = shows && !row.is_within ? "outside" : "";
    if (shows && !row.leaves_source_out) remark += remark.empty() ? "not fitted over" : ", not fitted over";
    const std::string interval = shows ? number(row.predicted.low) + " to " + number(row.predicted.high) : "exact";
    table.add_row({printable(row.run.name, kLongestName), printable(row.run.quantity, kLongestQuantity), number(row.run.value),
                   number(row.predicted.expected), interval, signed_percent(row.error), remark});
  }
  return table.to_string();
}

std::string left_out_text(const plan::Validation& validation) {
  if (validation.left_out.empty()) return "";
  Table table({{"left out", Align::left}, {"quantity", Align::left}, {"published", Align::right}, {"why", Align::left}});
  for (const plan::LeftOutRow& row : validation.left_out)
    table.add_row({printable(row.run.name, kLongestName), printable(row.run.quantity, kLongestQuantity), number(row.run.value),
                   printable(row.reason, kLongestReason)});
  return "\n" + table.to_string();
}

std::string summary_text(const plan::Validation& validation) {
  Table table({{"quantity", Align::left},
               {"rows", Align::right},
               {"median error", Align::right},
               {"90th percentile", Align::right}});
  const auto add = [&](const plan::ErrorSummary& each, const std::string& title) {
    table.add_row({title, std::to_string(each.rows), percent(each.median), percent(each.p90)});
  };
  for (const plan::ErrorSummary& each : validation.quantities) add(each, printable(each.quantity, kLongestQuantity));
  table.add_rule();
  if (validation.step.rows > 0) {
    add(validation.step, "all of a step, not told the MFU");
    add(validation.step_in_sample, "the same, no source left out");
  }
  if (validation.mfu_from_throughput.rows > 0) add(validation.mfu_from_throughput, "MFU from throughput, 6 N + 12 L h s");
  std::string text = "\n" + table.to_string();
  const auto coverage = [](const plan::Coverage& each, const char* what) {
    if (each.rows == 0) return std::string();
    return format("intervals of four in five hold %zu of %zu %s (%.0f %%)\n", each.within, each.rows, what, 100 * each.share());
  };
  return text + "\n" + coverage(validation.step_coverage, "figures of steps, whose width is that of these very rows") +
         coverage(validation.run_coverage, "whole runs") +
         coverage(validation.measured_run_coverage, "whole runs without those that their authors projected");
}

std::string why_text(const plan::Validation& validation) {
  Table table({{"constant", Align::left}, {"fitted", Align::right}, {"prior", Align::right}, {"meaning", Align::left}});
  for (const plan::ConstantKind& kind : plan::constant_kinds())
    table.add_row({std::string(kind.key), number(validation.constants.*kind.member), number(kind.prior),
                   std::string(kind.meaning)});
  std::string text =
      "\nWhy\n"
      "A step is products at a share of the device's measured matmul rate, attention, memory traffic, exchange between\n"
      "devices, pipeline bubble and update; a whole run is its steps times the factor of published runs. A row of a\n"
      "publication that the constants were fitted over is predicted with constants fitted without it.\n\n" +
      table.to_string() +
      format("\ntrue over expected step time of these rows: 10th percentile %.3f, median %.3f, 90th percentile %.3f\n",
             validation.step_spread.low, validation.step_spread.expected, validation.step_spread.high) +
      format("whole runs over their steady steps: 10th percentile %.3f, median %.3f, 90th percentile %.3f\n",
             validation.run_factor.low, validation.run_factor.expected, validation.run_factor.high);
  std::string assumed;
  for (const plan::ValidatedRow& row : validation.rows) {
    if (row.assumed.empty() || !has_interval(row.level)) continue;
    assumed += "  " + printable(row.run.name, kLongestName) + " (" + printable(row.run.quantity, kLongestQuantity) + "): ";
    for (std::size_t i = 0; i < row.assumed.size(); ++i) assumed += (i == 0 ? "" : ", ") + row.assumed[i];
    assumed += "\n";
  }
  return assumed.empty() ? text : text + "\nassumed, for want of a column:\n" + assumed;
}

Json json_of_summary(const plan::ErrorSummary& summary) {
  return {{"quantity", summary.quantity}, {"rows", summary.rows}, {"median_error", summary.median}, {"p90_error", summary.p90}};
}

Json json_of_coverage(const plan::Coverage& coverage) {
  const Json share = coverage.rows == 0 ? Json(nullptr) : Json(coverage.share());
  return {{"within", coverage.within}, {"rows", coverage.rows}, {"share", share}};
}

// The series that a quantity belongs to: of one unit.
std::string kind_of(const std::string& quantity) {
  if (quantity == "mfu" || quantity == "hfu") return "MFU and HFU, %";
  if (quantity.ends_with("tflops_per_gpu")) return "TFLOP/s per device";
  if (quantity == "tokens_per_s") return "tokens/s";
  if (quantity == "tokens_per_s_per_gpu") return "tokens/s per device";
  if (quantity == "iteration_time") return "step time, s";
  if (quantity.starts_with("days")) return "days";
  if (quantity.starts_with("gpu_hours")) return "device-hours";
  if (quantity.starts_with("mem_")) return "memory, GiB";
  return "EFLOP of a run";
}

}  // namespace

std::string validation_text(const plan::Validation& validation, bool why) {
  std::string text = rows_text(validation) + left_out_text(validation) + summary_text(validation);
  return why ? text + why_text(validation) : text;
}

Json validation_json(const std::string& file, const plan::Validation& validation) {
  Json rows = Json::array();
  for (const plan::ValidatedRow& row : validation.rows)
    rows.push_back({{"line", row.run.line},
                    {"name", row.run.name},
                    {"quantity", row.run.quantity},
                    {"unit", row.run.unit},
                    {"level", plan::name_of(row.level)},
                    {"published", row.run.value},
                    {"predicted", json_of(row.predicted)},
                    {"error", row.error},
                    {"within", has_interval(row.level) ? Json(row.is_within) : Json(nullptr)},
                    {"source_left_out", row.leaves_source_out},
                    {"source", row.run.source},
                    {"assumed", row.assumed}});
  Json left_out = Json::array();
  for (const plan::LeftOutRow& row : validation.left_out)
    left_out.push_back({{"line", row.run.line},
                        {"name", row.run.name},
                        {"quantity", row.run.quantity},
                        {"published", row.run.value},
                        {"reason", row.reason},
                        {"source", row.run.source}});
  Json quantities = Json::array();
  for (const plan::ErrorSummary& each : validation.quantities) quantities.push_back(json_of_summary(each));
  Json constants = Json::array();
  for (const plan::ConstantKind& kind : plan::constant_kinds())
    constants.push_back({{"key", kind.key},
                         {"value", validation.constants.*kind.member},
                         {"prior", kind.prior},
                         {"spread", kind.spread},
                         {"meaning", kind.meaning}});
  return {{"file", file},
          {"rows", std::move(rows)},
          {"left_out", std::move(left_out)},
          {"quantities", std::move(quantities)},
          {"step", json_of_summary(validation.step)},
          {"step_in_sample", json_of_summary(validation.step_in_sample)},
          {"mfu_from_throughput", json_of_summary(validation.mfu_from_throughput)},
          {"step_coverage", json_of_coverage(validation.step_coverage)},
          {"run_coverage", json_of_coverage(validation.run_coverage)},
          {"measured_run_coverage", json_of_coverage(validation.measured_run_coverage)},
          {"step_spread", json_of(validation.step_spread)},
          {"run_factor", json_of(validation.run_factor)},
          {"constants", std::move(constants)}};
}

Chart validation_chart(const plan::Validation& validation) {
  Chart chart{.title = "Predicted over published", .x_label = "published", .y_label = "predicted", .log_x = true, .log_y = true};
  double low = INFINITY, high = 0;
  for (const plan::ValidatedRow& row : validation.rows) {
    const std::string kind = kind_of(row.run.quantity);
    auto series = std::find_if(chart.series.begin(), chart.series.end(), [&](const Series& each) { return each.name == kind; });
    if (series == chart.series.end())
      series = chart.series.insert(chart.series.end(), Series{.name = kind, .points = {}, .markers = true, .line = false});
    // The FLOPs of runs in a unit that leaves the other quantities room.
    const double unit = row.run.quantity == "total_flops" ? 1e18 : 1;
    series->points.push_back({row.run.value / unit, row.predicted.expected / unit});
    low = std::min(low, row.run.value / unit);
    high = std::max(high, row.run.value / unit);
  }
  for (Series& series : chart.series)
    std::stable_sort(series.points.begin(), series.points.end(), [](const Point& a, const Point& b) { return a.x < b.x; });
  if (low < high) chart.series.push_back({.name = "equal", .points = {{low, low}, {high, high}}});
  return chart;
}

}  // namespace suanli::cli
