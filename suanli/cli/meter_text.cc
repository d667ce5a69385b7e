#include <algorithm>

#include "suanli/base/text.h"
#include "suanli/cli/meter_report.h"
#include "suanli/cli/plan_report.h"
#include "suanli/cli/table.h"

namespace suanli::cli {
namespace {

using meter::Cause;

std::string percent(double share) { return format("%.1f %%", 100 * share); }

std::string outcome_text(const MeterReport& meter, std::size_t session) {
  const train::SessionRecord& record = meter.records.sessions[session];
  if (!record.outcome.empty()) return printable(record.outcome);
  return session + 1 < meter.records.sessions.size() ? "killed" : "killed, or at work";
}

std::string head_text(const MeterReport& meter) {
  const auto& sessions = meter.records.sessions;
  const auto& model = meter.description.job.model;
  Table table({{"", Align::left}, {"", Align::left}});
  table.add_row({"run", meter.run});
  table.add_row({"model", format_count(meter.description.info.parameters) + " parameters: " + std::to_string(model.layers) +
                              " layers of width " + std::to_string(model.width) + ", context " + format_count(model.context)});
  table.add_row({"steps", format_count(meter.usage.steps) + " of " + format_count(meter.description.job.train.steps)});
  for (std::size_t i = 0; i < sessions.size(); ++i)
    table.add_row({sessions.size() == 1 ? "session" : "session " + std::to_string(i + 1),
                   "from step " + format_count(sessions[i].first_step) + ", " + printable(sessions[i].dtype) + ", " +
                       std::to_string(sessions[i].threads) + (sessions[i].threads == 1 ? " thread, " : " threads, ") +
                       outcome_text(meter, i)});
  return table.to_string();
}

std::string operations_text(const MeterReport& meter) {
  std::vector<std::pair<std::string, Flops>> ops(meter.usage.work.by_op.begin(), meter.usage.work.by_op.end());
  std::ranges::stable_sort(ops, std::ranges::greater(), &std::pair<std::string, Flops>::second);
  if (meter.unnamed.value() > 0) ops.emplace_back("(of older versions, not known by op)", meter.unnamed);
  Table table({{"op", Align::left}, {"FLOPs", Align::right}, {"share", Align::right}});
  for (const auto& [op, flops] : ops)
    table.add_row({printable(op), format_flops(flops), percent(flops / meter.usage.work.total)});
  table.add_row({"all", format_flops(meter.usage.work.total), ""});
  return table.to_string();
}

std::string parts_text(const MeterReport& meter) {
  const train::WorkByPart* work = meter.records.work();
  if (!work || !meter.records.spent.has_totals) return "";
  Table table({{"part", Align::left}, {"runs", Align::right}, {"FLOPs", Align::right}, {"share", Align::right},
               {"bytes moved", Align::right}});
  for (const meter::Part part : meter::kParts) {
    const auto i = static_cast<std::size_t>(part);
    const std::int64_t runs = meter.usage.runs[i];
    if (runs == 0) continue;
    const auto times = static_cast<double>(runs);
    table.add_row({std::string(name_of(part)), format_count(runs), format_flops((*work)[i].total * times),
                   percent((*work)[i].total * times / meter.usage.work.total),
                   format_bytes((*work)[i].moved * runs)});
  }
  return "\n" + table.to_string();
}

// Where seconds went, in few words: the three of computing stand together.
std::string seconds_text(const MeterReport& meter, const Terminal& terminal) {
  constexpr int kBarColumns = 30;
  const double total = meter.usage.total_seconds().value();
  Table table({{"seconds", Align::left}, {"", Align::right}, {"share", Align::right}, {"", Align::left}});
  const auto add = [&](const std::string& name, Seconds seconds, bool has_bar) {
    const double share = total > 0 ? seconds.value() / total : 0;
    const std::string drawn = has_bar ? bar(terminal, share, kBarColumns) : "";
    table.add_row({name, format("%.2f s", seconds.value()), percent(share), drawn});
  };
  const meter::Totals& totals = meter.usage;
  if (meter.causes_are_known) {
    add("compute", totals.of(Cause::forward) + totals.of(Cause::backward) + totals.of(Cause::update), true);
    for (const Cause cause : {Cause::forward, Cause::backward, Cause::update})
      add("  " + std::string(name_of(cause)), totals.of(cause), false);
    for (const Cause cause : meter::kCauses)
      if (cause != Cause::forward && cause != Cause::backward && cause != Cause::update)
        add(std::string(name_of(cause)), totals.of(cause), true);
  }
  add("all", meter.usage.total_seconds(), false);
  return table.to_string();
}

std::string planned_text(const Planned& planned) {
  Table table({{"planned against actual", Align::left}, {"planned", Align::right}, {"low", Align::right},
               {"high", Align::right}, {"actual", Align::right}, {"deviation", Align::right}});
  std::string reasons, notes;
  for (const Deviation& item : planned.items) {
    const bool is_exact = item.planned.is_exact();
    table.add_row({item.item, value_text(item.planned.expected, item.unit),
                   is_exact ? "" : value_text(item.planned.low, item.unit),
                   is_exact ? "" : value_text(item.planned.high, item.unit), value_text(item.actual, item.unit),
                   format("%+.1f %%", 100 * item.relative()) + (item.is_inside() ? "" : " *")});
    if (!item.why.empty()) notes += item.item + ": " + item.why + "\n";
    for (const std::string& reason : item.reasons) reasons += "* " + item.item + ": " + reason + "\n";
  }
  return table.to_string() + reasons + notes + "The plan was " + planned.source + ".\n";
}

Json planned_json(const Planned& planned) {
  Json items = Json::array();
  for (const Deviation& item : planned.items)
    items.push_back({{"item", item.item},
                     {"unit", item.unit},
                     {"planned", json_of(item.planned)},
                     {"actual", item.actual},
                     {"deviation", item.relative()},
                     {"inside", item.is_inside()},
                     {"why", item.why},
                     {"reasons", item.reasons}});
  return {{"source", planned.source}, {"items", items}};
}

Json sessions_json(const MeterReport& meter) {
  Json array = Json::array();
  for (std::size_t i = 0; i < meter.records.sessions.size(); ++i) {
    const train::SessionRecord& session = meter.records.sessions[i];
    array.push_back({{"first_step", session.first_step},
                     {"dtype", session.dtype},
                     {"threads", session.threads},
                     {"setup_seconds", session.setup.value()},
                     {"peak_flops_per_s", session.peak.value() > 0 ? Json(session.peak.value()) : Json(nullptr)},
                     {"outcome", session.outcome.empty() ? Json(nullptr) : Json(session.outcome)}});
  }
  return array;
}

Json parts_json(const MeterReport& meter) {
  Json array = Json::array();
  const train::WorkByPart* work = meter.records.work();
  if (!work || !meter.records.spent.has_totals) return array;
  for (const meter::Part part : meter::kParts) {
    const auto i = static_cast<std::size_t>(part);
    const auto runs = static_cast<double>(meter.usage.runs[i]);
    array.push_back({{"part", name_of(part)},
                     {"runs", meter.usage.runs[i]},
                     {"flops", (*work)[i].total.value() * runs},
                     {"bytes", static_cast<double>((*work)[i].moved.value()) * runs}});
  }
  return array;
}

}  // namespace

std::string meter_text(const MeterReport& meter, const Terminal& terminal, bool why) {
  std::string text = head_text(meter) + "\n" + operations_text(meter) + parts_text(meter) + "\n" +
                     seconds_text(meter, terminal) + "\n" + plan_text(meter.report, why);
  if (!meter.energy_is_measured)
    text += std::string("(energy and money are estimated, not counted") + (why ? ")\n" : ": see --why)\n");
  if (meter.planned)
    text += "\n" + planned_text(*meter.planned);
  else if (!why)
    for (const std::string& note : meter.report.notes)
      if (note.starts_with("Nothing to compare")) text += "\n" + note + "\n";
  return text;
}

Json meter_json(const MeterReport& meter) {
  Json by_op = Json::object(), seconds = Json::object();
  for (const auto& [op, flops] : meter.usage.work.by_op) by_op[op] = flops.value();
  for (const Cause cause : meter::kCauses) seconds[std::string(name_of(cause))] = meter.usage.of(cause).value();
  const meter::Totals& totals = meter.usage;
  Json json = {{"run", meter.run},
               {"steps", meter.usage.steps},
               {"steps_planned", meter.description.job.train.steps},
               {"sessions", sessions_json(meter)},
               {"flops", meter.usage.work.total.value()},
               {"flops_by_op", by_op},
               {"flops_unnamed", meter.unnamed.value()},
               {"parts", parts_json(meter)},
               {"bytes", meter.usage.work.moved.value() > 0 ? Json(meter.usage.work.moved.value()) : Json(nullptr)},
               {"seconds", meter.causes_are_known ? seconds : Json(nullptr)},
               {"compute_seconds", meter.causes_are_known ? Json((totals.of(Cause::forward) + totals.of(Cause::backward) +
                                                                  totals.of(Cause::update)).value())
                                                          : Json(nullptr)},
               {"joules_counted", totals.joules_over.value() > 0 ? Json(totals.joules.value()) : Json(nullptr)},
               {"joules_counted_seconds", totals.joules_over.value()},
               {"energy_is_measured", meter.energy_is_measured},
               {"planned", meter.planned ? planned_json(*meter.planned) : Json(nullptr)}};
  json.update(plan_json(meter.report));
  return json;
}

}  // namespace suanli::cli
