#include "suanli/cli/plan_report.h"

#include <array>
#include <cmath>

#include "suanli/base/text.h"
#include "suanli/base/units.h"
#include "suanli/cli/progress.h"
#include "suanli/cli/table.h"

namespace suanli::cli {
namespace {

constexpr double kJoulesPerWattHour = 3600;

// "405 billion": counts and money are read in words, not in SI prefixes.
std::string counted(double value, const std::string& unit) {
  static constexpr std::array kWords = {"", " thousand", " million", " billion", " trillion"};
  const std::string tail = unit.empty() ? "" : " " + unit;
  if (value < 0) return "-" + counted(-value, unit);
  std::size_t word = 0;
  double scaled = value;
  while (scaled >= 999.5 && word + 1 < kWords.size()) {
    scaled /= 1000;
    ++word;
  }
  if (!(scaled < 1e6)) return format("%.3g", value) + tail;
  if (value < 1e5) return (value == std::floor(value) || value >= 1000 ? format("%.0f", value) : format("%.4g", value)) + tail;
  return format("%.4g", scaled) + kWords[word] + tail;
}

std::string energy(double joules) {
  return std::abs(joules) < 1000 * kJoulesPerWattHour ? format_si(joules, "J") : format_si(joules / kJoulesPerWattHour, "Wh");
}

std::string influences_text(const plan::Figure& figure) {
  std::string text;
  for (const plan::Influence& each : figure.influences)
    text += (text.empty() ? "uncertain because of " : ", ") + each.assumption + format(" (%.0f %%)", 100 * each.share);
  return text;
}

std::string figures_text(const plan::Report& report) {
  Table table({{"", Align::left}, {"expected", Align::right}, {"low", Align::right}, {"high", Align::right}});
  for (const plan::Figure& figure : report.figures) {
    const plan::FigureKind& kind = plan::figure_kind(figure.key);
    const plan::Interval& value = figure.value;
    if (value.is_exact())
      table.add_row({std::string(kind.title), value_text(value.expected, kind.unit)});
    else
      table.add_row({std::string(kind.title), value_text(value.expected, kind.unit), value_text(value.low, kind.unit),
                     value_text(value.high, kind.unit)});
  }
  return table.to_string();
}

std::string reasons_text(const plan::Report& report) {
  std::string text = "\nWhy\n";
  for (const plan::Figure& figure : report.figures) {
    const plan::FigureKind& kind = plan::figure_kind(figure.key);
    text += "  " + std::string(kind.title) + ": " + std::string(kind.meaning) + "\n";
    if (!figure.why.empty()) text += "    = " + figure.why + "\n";
    if (const std::string influences = influences_text(figure); !influences.empty()) text += "    " + influences + "\n";
  }
  text += "\nAssumptions\n";
  Table table({{"", Align::left}, {"", Align::left}, {"value", Align::right}, {"source", Align::left}});
  for (const plan::Assumption& each : report.assumptions)
    table.add_row({each.key, each.text, interval_text(each.value, each.unit), each.source});
  text += table.to_string(2);
  if (!report.notes.empty()) text += "\nNotes\n";
  for (const std::string& note : report.notes) text += "  " + note + "\n";
  return text;
}

}  // namespace

Json json_of(const plan::Interval& interval) {
  return {{"low", interval.low}, {"expected", interval.expected}, {"high", interval.high}};
}

std::string value_text(double value, std::string_view unit) {
  if (!std::isfinite(value)) return "unknown";
  if (unit == "s") return format_duration(Seconds(value));
  if (unit == "B") return std::abs(value) < 9e18 ? format_bytes(Bytes(std::llround(value))) : format("%.3g B", value);
  if (unit == "J") return energy(value);
  if (unit == "fraction") return format("%.*f %%", std::abs(value) < 0.0995 ? 2 : 1, 100 * value);
  if (unit == "1") return counted(value, "");
  if (unit == "USD" || unit == "token") return counted(value, std::string(unit) + (unit == "token" ? "s" : ""));
  const bool has_prefix = unit == "FLOP" || unit == "FLOP/s" || unit == "B/s" || unit == "W" || unit == "Hz" || unit == "bit/s";
  if (has_prefix && std::abs(value) >= 1e21) return format("%.4g ", value) + std::string(unit);  // few know zetta and yotta
  return has_prefix ? format_si(value, unit) : counted(value, std::string(unit));
}

std::string interval_text(const plan::Interval& interval, std::string_view unit) {
  const std::string expected = value_text(interval.expected, unit);
  if (interval.is_exact()) return expected;
  return expected + " (" + value_text(interval.low, unit) + " to " + value_text(interval.high, unit) + ")";
}

std::string plan_text(const plan::Report& report, bool why) {
  return figures_text(report) + (why ? reasons_text(report) : "");
}

Json plan_json(const plan::Report& report) {
  Json figures = Json::object(), assumptions = Json::array(), warnings = Json::array();
  for (const plan::Figure& figure : report.figures) {
    Json entry = json_of(figure.value);
    entry["unit"] = plan::figure_kind(figure.key).unit;
    entry["why"] = figure.why;
    entry["influences"] = Json::array();
    for (const plan::Influence& each : figure.influences)
      entry["influences"].push_back({{"assumption", each.assumption}, {"share", each.share}});
    figures[figure.key] = std::move(entry);
  }
  for (const plan::Assumption& each : report.assumptions) {
    Json entry = {{"key", each.key}, {"text", each.text}};
    entry.update(json_of(each.value));
    entry["unit"] = each.unit;
    entry["source"] = each.source;
    assumptions.push_back(std::move(entry));
  }
  for (const Error& warning : report.warnings) warnings.push_back(json_of(warning));
  return {{"figures", figures}, {"assumptions", assumptions}, {"warnings", warnings}, {"notes", report.notes}};
}

void print_plan(std::string_view record, const plan::Report& report, bool json, bool why, Json head) {
  for (const Error& warning : report.warnings) write_stderr(warning_text(warning) + "\n");
  if (!json) {
    write_stdout(plan_text(report, why));
    return;
  }
  head.update(plan_json(report));
  emit(record, head);
}

}  // namespace suanli::cli
