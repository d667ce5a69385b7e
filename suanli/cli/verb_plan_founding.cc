// suanli plan founding: the figures that founded the project.
#include "suanli/base/text.h"
#include "suanli/cli/plan_report.h"
#include "suanli/cli/table.h"
#include "suanli/cli/verb.h"
#include "suanli/plan/founding.h"

namespace suanli::cli {
namespace {

struct Options {
  bool json = false, why = false;
};

std::string shown(double value, const std::string& unit) {
  if (unit == "day") return format("%.4g days", value);
  if (unit == "EUR") return format("%.4g million EUR", value / 1e6);
  if (unit == "s") return format("%.4g s", value);
  if (unit == "1/s") return format("%.4g /s", value);
  if (unit == "J") return format("%.4g GWh", value / 3.6e12);
  if (unit == "FLOP" || unit == "FLOP/s") return format("%.4g ", value) + unit;
  return value_text(value, unit);
}

std::string founding_text(const plan::Founding& founding, bool why) {
  Table table({{"figure", Align::left},
               {"stated", Align::right},
               {"computed", Align::right},
               {"", Align::left},
               {"convention", Align::left}});
  for (const plan::FoundingFigure& each : founding.figures)
    table.add_row({each.what, shown(each.stated, each.unit), each.computed ? shown(*each.computed, each.unit) : "-",
                   plan::name_of(each.relation), each.convention});
  std::string text = table.to_string();
  text += "\nWhere the missing time goes: 405e9 parameters, 15.6e12 tokens, 16,000 H100\n";
  Table steps({{"with", Align::left}, {"days", Align::right}, {"more", Align::right}, {"", Align::left}});
  double before = 0;
  for (const plan::TimeStep& each : founding.missing_time) {
    steps.add_row(
        {each.what, format("%.1f", each.days), before > 0 ? format("x %.2f", each.days / before) : "", why ? each.why : ""});
    before = each.days;
  }
  text += steps.to_string(2);
  if (!why) return text + "--why tells where the figures err, and by how much.\n";
  text += "\nWhy\n";
  for (const plan::FoundingFigure& each : founding.figures)
    if (!each.why.empty()) text += "  " + each.what + " (" + plan::name_of(each.relation) + "): " + each.why + "\n";
  return text;
}

Json founding_json(const plan::Founding& founding) {
  Json figures = Json::array(), steps = Json::array();
  for (const plan::FoundingFigure& each : founding.figures) {
    Json entry = {{"key", each.key}, {"what", each.what}, {"unit", each.unit}, {"stated", each.stated}};
    entry["computed"] = each.computed ? Json(*each.computed) : Json(nullptr);
    entry["relation"] = plan::name_of(each.relation);
    entry["convention"] = each.convention;
    entry["why"] = each.why;
    figures.push_back(std::move(entry));
  }
  for (const plan::TimeStep& each : founding.missing_time)
    steps.push_back({{"what", each.what}, {"days", each.days}, {"why", each.why}});
  return {{"figures", figures}, {"missing_time", steps}};
}

Result<int> run_founding(const Options& options, const Context&) {
  SUANLI_ASSIGN_OR_RETURN(const plan::Founding founding, plan::founding());
  if (options.json)
    emit("plan founding", founding_json(founding));
  else
    write_stdout(founding_text(founding, options.why));
  return 0;
}

}  // namespace

void add_plan_founding(Verb plan, Request& request) {
  auto options = std::make_shared<Options>();
  Verb verb = plan.verb("founding", "The figures of the documents that founded the project, computed anew",
                        "Three documents founded the project: the arithmetic of training a 405-billion-parameter model on 16,000 "
                        "devices, that of a cluster of 100,000, and "
                        "the rate of exchange between two computing systems. Each of their figures is computed here by the "
                        "functions of `suanli plan llm`, `solve` and "
                        "`cluster`, with the convention that makes it come out, and whether it agrees, was rounded, or errs.",
                        {{"plan founding", "all figures"},
                         {"plan founding --why", "also where they err"},
                         {"plan founding --json", "for programs"}});
  verb.flag("--why", options->why, "Tell where the figures err, and what is right");
  verb.json_flag(options->json);
  on_chosen(verb, request, options, run_founding);
}

}  // namespace suanli::cli
