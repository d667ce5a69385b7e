#include "suanli/cli/curves.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "suanli/base/file.h"
#include "suanli/cli/svg.h"
#include "suanli/train/run_folder.h"

namespace suanli::cli {
namespace {

using json = nlohmann::json;

constexpr Bytes kMostMetrics{std::int64_t{1} << 34};

// Far beyond any step or loss; keeps sums and ranges finite.
constexpr double kLargest = 1e30;

std::optional<double> number_in(const json& line, const char* key) {
  const auto found = line.find(key);
  if (found == line.end() || !found->is_number()) return std::nullopt;
  const double value = found->get<double>();
  if (!(std::abs(value) <= kLargest)) return std::nullopt;
  return value;
}

// Appends in order of steps: a line that goes back is of an earlier session and stale.
void append(std::vector<Point>& points, const json& line, const char* key) {
  const auto step = number_in(line, "step"), loss = number_in(line, key);
  if (!step || !loss) return;
  while (!points.empty() && points.back().x >= *step) points.pop_back();
  points.push_back({*step, *loss});
}

}  // namespace

Result<Curves> parse_curves(std::string_view text, const std::string& place) {
  Curves curves;
  std::int64_t lines = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view one = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const json line = json::parse(one, nullptr, /*allow_exceptions=*/false);
    const auto kind = line.is_object() ? line.find("kind") : line.end();
    if (!line.is_object() || kind == line.end() || !kind->is_string()) {
      ++curves.damaged;
      continue;
    }
    ++lines;
    if (*kind == "step") append(curves.train, line, "loss");
    if (*kind == "eval") append(curves.valid, line, "valid_loss");
  }
  if (lines == 0 && curves.damaged > 0)
    return fail(ErrorCode::foreign, "no line of the file is a metric", place,
                "name the folder of a run");
  if (curves.train.empty() && curves.valid.empty())
    return fail(ErrorCode::empty, "the run has no loss yet", place, "train at least one step");
  return curves;
}

Result<Curves> read_curves(const std::string& run_folder) {
  const std::string path = train::RunPaths{run_folder}.metrics();
  SUANLI_ASSIGN_OR_RETURN(const std::string text, read_file(path, kMostMetrics));
  return parse_curves(text, path);
}

Chart loss_chart(const Curves& curves, const std::string& title) {
  Chart chart{title, "step", "loss (nats per token)", {{"training", curves.train, false}}};
  if (!curves.valid.empty()) chart.series.push_back({"validation", curves.valid, true});
  return chart;
}

Status write_loss_svg(const Chart& chart, const std::string& path) {
  return write_file_atomic(path, as_bytes(line_chart_svg(chart)));
}

}  // namespace suanli::cli
