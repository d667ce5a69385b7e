#include "suanli/cli/train_report.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "suanli/base/text.h"
#include "suanli/cli/plot.h"
#include "suanli/cli/table.h"

namespace suanli::cli {
namespace {

std::string title(const Context& context, std::string_view text) {
  return "\n" + paint(context.out, Paint::bold, text) + "\n";
}

std::string loss_text(double loss, bool tokens_are_bytes) {
  std::string text = format("%.4f  (perplexity %.2f", loss, std::exp(loss));
  if (tokens_are_bytes) text += format(", %.3f bits/byte", loss / std::numbers::ln2);
  return text + ")";
}

std::string outcome_text(const train::TrainReport& report) {
  const std::string steps =
      "step " + format_count(report.step) + " of " + format_count(report.steps);
  switch (report.outcome) {
    case train::Outcome::finished:
      return "finished " + steps;
    case train::Outcome::interrupted:
      return "stopped after " + steps + "; nothing is lost";
    case train::Outcome::budget_spent:
      return "the budget is spent after " + steps;
    case train::Outcome::grows:
      break;  // of a segment, not of a run
  }
  return steps;
}

std::string summary(const RunEnd& end) {
  const train::TrainReport& report = end.report;
  Table table({{"", Align::left}, {"", Align::left}});
  table.add_row({"outcome", outcome_text(report)});
  if (report.valid_loss)
    table.add_row({"validation loss", loss_text(*report.valid_loss, end.tokens_are_bytes)});
  if (report.best_valid_loss && report.best_valid_loss != report.valid_loss)
    table.add_row({"best of all", loss_text(*report.best_valid_loss, end.tokens_are_bytes)});
  if (report.loss) table.add_row({"training loss", format("%.4f  (last step)", *report.loss)});
  table.add_row({"trained on", format_count(report.usage.tokens.value()) + " tokens"});
  table.add_row({"spent", format_flops(report.usage.work.total)});
  table.add_row({"run folder", report.run_folder});
  if (!end.svg.empty()) table.add_row({"picture", end.svg});
  return table.to_string();
}

// Generated text, line by line, with what a terminal should not see escaped.
std::string indented(std::string_view text) {
  constexpr std::size_t kColumns = 92, kMostCharacters = 2000;
  std::string result;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string line = printable(text.substr(0, end), kMostCharacters);
    const bool fits = columns_of(line) <= kColumns;
    result += "  " + (fits ? line : wrapped(line, kColumns, 2)) + "\n";
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return result;
}

std::string next_text(const RunEnd& end, const Context& context) {
  const std::string program = shell_word(context.program), run = shell_word(end.report.run_folder);
  std::string text;
  if (end.report.outcome == train::Outcome::interrupted)
    text += "  " + program + " train " + run + " --resume\n";
  if (end.report.outcome == train::Outcome::budget_spent)
    text += "  " + program + " train " + run + " --resume --budget " +
            format("%.3g", 2 * end.job.run.budget) + "\n";
  if (end.report.step == 0) return text;
  if (end.tokens_are_bytes)
    text += "  " + program + " generate " + run + " --prompt 'In the beginning'\n";
  text += "  " + program + " eval " + run + "\n";
  text += "  " + program + " explain " + run + "\n";
  if (end.report.outcome == train::Outcome::finished)
    text += "  " + program + " train " + run +
            " --resume --set train.steps=" + std::to_string(2 * end.report.steps) + "\n";
  return text;
}

}  // namespace

std::string shell_word(std::string_view word) {
  const bool is_plain = !word.empty() && std::ranges::all_of(word, [](unsigned char c) {
    return std::isalnum(c) ||
           std::string_view("_-./+=:,@%").find(static_cast<char>(c)) != std::string_view::npos;
  });
  if (is_plain) return std::string(word);
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::string time_text(const meter::Usage& usage, const Terminal& terminal) {
  constexpr int kBarColumns = 30;
  const double total = usage.total_seconds().value();
  Table table({{"", Align::left}, {"", Align::right}, {"", Align::right}, {"", Align::left}});
  for (const meter::Cause cause : meter::kCauses) {
    if (cause == meter::Cause::communication && usage.of(cause) == Seconds(0)) continue;  // there is one machine
    const double share = total > 0 ? usage.of(cause).value() / total : 0;
    table.add_row({std::string(name_of(cause)), format("%.1f s", usage.of(cause).value()),
                   format("%.1f %%", 100 * share), bar(terminal, share, kBarColumns)});
  }
  table.add_row({"all", format("%.1f s", total), "", ""});
  return table.to_string();
}

std::string report_text(const RunEnd& end, const Context& context) {
  std::string text = title(context, "The run") + summary(end);
  if (end.chart) {
    const int columns = std::clamp(context.out.width - 2, 40, 100);
    text += "\n" + plot(*end.chart, context.out, {.columns = columns, .rows = 14});
  }
  if (!end.sample.empty())
    text += title(context, "What it writes") + indented(end.job.sample.prompt + end.sample);
  text += title(context, "Where time went") + time_text(end.report.usage, context.out);
  const std::string next = next_text(end, context);
  if (!next.empty()) text += title(context, "Try next") + next;
  return text;
}

}  // namespace suanli::cli
