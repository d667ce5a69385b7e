// suanli plan sweep: time against money.
#include <algorithm>

#include "suanli/base/file.h"
#include "suanli/base/text.h"
#include "suanli/cli/plan_options.h"
#include "suanli/cli/plan_report.h"
#include "suanli/cli/progress.h"
#include "suanli/cli/svg.h"
#include "suanli/cli/table.h"
#include "suanli/cli/verb.h"
#include "suanli/plan/sweep.h"

namespace suanli::cli {
namespace {

struct Options {
  bool json = false;
  std::string plot;
  LargeRunOptions run;
};

constexpr const char* kCountForm = "write for example 8..65536 (doubling), or 1024,1536,2048";

std::vector<std::string> parts_of(const std::string& text, char separator) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(separator, at), text.size());
    parts.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

// "8..65536" doubles from the first to the last; else a list.
Result<std::vector<std::int64_t>> counts_of(const std::string& text) {
  std::vector<std::int64_t> counts;
  const std::size_t dots = text.find("..");
  if (dots == std::string::npos) {
    for (const std::string& part : parts_of(text, ',')) {
      SUANLI_ASSIGN_OR_RETURN(const std::int64_t count, count_of(part, plan::QuantityKind::devices, "--count"));
      counts.push_back(count);
    }
    return counts;
  }
  SUANLI_ASSIGN_OR_RETURN(const std::int64_t first, count_of(text.substr(0, dots), plan::QuantityKind::devices, "--count"));
  SUANLI_ASSIGN_OR_RETURN(const std::int64_t last, count_of(text.substr(dots + 2), plan::QuantityKind::devices, "--count"));
  if (first > last)
    return fail(ErrorCode::usage, format("%lld is above %lld", static_cast<long long>(first), static_cast<long long>(last)),
                "--count", kCountForm);
  for (std::int64_t count = first; count <= last; count *= 2) counts.push_back(count);
  return counts;
}

Result<plan::SweepQuestion> question_of(const Options& options) {
  plan::SweepQuestion question;
  const ClusterOptions& cluster = options.run.cluster;
  SUANLI_ASSIGN_OR_RETURN(const plan::AcceleratorTable table, devices_of(cluster));
  if (cluster.device.empty())
    return fail(ErrorCode::usage, "no device is named", "--device", "state one or several, such as --device A100,H100");
  const std::vector<std::string> names = parts_of(cluster.device, ',');
  for (const std::string& name : names) {
    auto device = table.find(name);
    if (!device) {
      device.error().place = "--device";
      return tl::unexpected(std::move(device).error());
    }
    question.devices.push_back(*std::move(device));
  }
  if (cluster.count.empty()) return fail(ErrorCode::usage, "the numbers of devices are missing", "--count", kCountForm);
  SUANLI_ASSIGN_OR_RETURN(question.counts, counts_of(cluster.count));
  if (question.counts.size() * question.devices.size() > 1000)
    return fail(ErrorCode::usage, "more than 1000 points are too many to look at", "--count", kCountForm);
  LargeRunOptions rest = options.run;
  rest.cluster.device = names.front();
  rest.cluster.count.clear();
  SUANLI_ASSIGN_OR_RETURN(question.run, large_run_of(rest, false));
  return question;
}

Json sweep_json(const plan::Sweep& sweep) {
  Json points = Json::array(), left_out = Json::array(), warnings = Json::array();
  for (const plan::SweepPoint& each : sweep.points)
    points.push_back({{"device", each.device},
                      {"count", each.count},
                      {"time_s", json_of(each.time_s)},
                      {"money_usd", json_of(each.money_usd)},
                      {"mfu", json_of(each.mfu)},
                      {"on_frontier", each.is_on_frontier}});
  for (const auto& each : sweep.left_out)
    left_out.push_back({{"device", each.device}, {"count", each.count}, {"reason", json_of(each.reason)}});
  for (const Error& each : sweep.warnings) warnings.push_back(json_of(each));
  return {{"money_is", sweep.is_rented ? "rent" : "depreciation and electricity"},
          {"points", points},
          {"left_out", left_out},
          {"warnings", warnings}};
}

std::string sweep_text(const plan::Sweep& sweep) {
  Table table({{"device", Align::left},
               {"count", Align::right},
               {"time", Align::right},
               {"low", Align::right},
               {"high", Align::right},
               {"money", Align::right},
               {"low", Align::right},
               {"high", Align::right},
               {"MFU", Align::right},
               {"", Align::left}});
  for (const plan::SweepPoint& each : sweep.points)
    table.add_row({each.device, format_count(each.count), value_text(each.time_s.expected, "s"), value_text(each.time_s.low, "s"),
                   value_text(each.time_s.high, "s"), value_text(each.money_usd.expected, "USD"),
                   value_text(each.money_usd.low, "USD"), value_text(each.money_usd.high, "USD"),
                   value_text(each.mfu.expected, "fraction"), each.is_on_frontier ? "frontier" : ""});
  std::string text = table.to_string();
  text += std::string("Money is ") + (sweep.is_rented ? "rent" : "depreciation and electricity") +
          ". Frontier: nothing else here is both faster and cheaper.\n";
  for (const auto& each : sweep.left_out)
    text += "left out: " + format_count(each.count) + " " + each.device + ": " + each.reason.message + "\n";
  return text;
}

Chart sweep_chart(const plan::Sweep& sweep) {
  constexpr double kDay = 86400;
  Chart chart{.title = "Time against money",
              .x_label = "days",
              .y_label = sweep.is_rented ? "rent, USD" : "depreciation and electricity, USD"};
  chart.log_x = chart.log_y = true;
  Series frontier{.name = "frontier", .points = {}};
  for (const plan::SweepPoint& each : sweep.points) {
    if (chart.series.empty() || chart.series.back().name != each.device)
      chart.series.push_back({.name = each.device, .points = {}, .markers = true, .line = false});
    const Point point{each.time_s.expected / kDay, each.money_usd.expected};
    chart.series.back().points.push_back(point);
    if (each.is_on_frontier) frontier.points.push_back(point);
  }
  for (Series& series : chart.series) std::ranges::sort(series.points, {}, &Point::x);
  std::ranges::sort(frontier.points, {}, &Point::x);
  chart.series.push_back(std::move(frontier));
  return chart;
}

Result<int> run_sweep(const Options& options, const Context&) {
  SUANLI_ASSIGN_OR_RETURN(const plan::SweepQuestion question, question_of(options));
  SUANLI_ASSIGN_OR_RETURN(const plan::Sweep sweep, plan::sweep(question));
  for (const Error& warning : sweep.warnings) write_stderr(warning_text(warning) + "\n");
  if (!options.plot.empty())
    SUANLI_RETURN_IF_ERROR(write_file_atomic(options.plot, as_bytes(line_chart_svg(sweep_chart(sweep)))));
  if (options.json)
    emit("plan sweep", sweep_json(sweep));
  else
    write_stdout(sweep_text(sweep));
  return 0;
}

}  // namespace

void add_plan_sweep(Verb plan, Request& request) {
  auto options = std::make_shared<Options>();
  Verb verb = plan.verb(
      "sweep", "Time against money: one model on several devices, in several numbers",
      "Plans the run as `suanli plan llm` does for each device and each number of them, and marks the frontier: what nothing "
      "else beats in "
      "time and money both. What does not fit is left out with its reason.",
      {{"plan sweep --params 70B --tokens 2T --device A100,H100,B200 --count 64..16384 --price-per-hour 2",
        "three devices, at one rent"},
       {"plan sweep --params 7B --tokens 1T --device H100 --count 8..4096 --plot frontier.svg --json", "also a picture"}});
  add_large_run_flags(verb, options->run);
  verb.option("--plot", options->plot, "Also write the picture: days against money, both logarithmic", "FILE.svg");
  verb.json_flag(options->json);
  on_chosen(verb, request, options, run_sweep);
}

}  // namespace suanli::cli
