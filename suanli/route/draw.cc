#include "suanli/route/draw.h"

#include <algorithm>
#include <cmath>

#include "suanli/base/text.h"
#include "suanli/route/step_simulation.h"

namespace suanli::route {
namespace {

std::string line_of(const std::vector<Work>& order, const std::vector<Span>& spans, double scale, std::size_t width) {
  std::string line(width, '.');
  const auto column = [&](Seconds time) {
    return std::min(width, static_cast<std::size_t>(std::llround(time.value() * scale)));
  };
  for (std::size_t i = 0; i < spans.size(); ++i) {
    const std::size_t begin = column(spans[i].begin), room = column(spans[i].end) - begin;
    const std::string label = to_string(order[i]);
    line.replace(begin, room, room, order[i].phase == graph::Phase::forward ? 'f' : 'b');
    if (label.size() <= room) line.replace(begin, label.size(), label);
  }
  return line;
}

}  // namespace

std::string draw(const RouteTable& table, const Speeds& speeds, int columns) {
  const PlayedStep step = play_step(table, &speeds);
  SUANLI_CHECK(step.ended);
  const double length = step.length().value();
  const std::string last_worker = std::to_string(table.orders.size() - 1), last_stage = std::to_string(table.stage_count() - 1);
  const int worker_width = static_cast<int>(last_worker.size()), stage_width = static_cast<int>(last_stage.size());
  const int head = worker_width + stage_width + static_cast<int>(std::string("worker  stage  ").size());
  const auto width = static_cast<std::size_t>(std::max(columns, 40) - head);
  std::string text = format_count(static_cast<std::int64_t>(table.routes.size())) + " micro-batches in " +
                     format_duration(step.length()) + "; one column is " +
                     format_duration(Seconds(length / static_cast<double>(width))) + "\n";
  for (std::size_t w = 0; w < table.orders.size(); ++w) {
    const std::size_t stage = table.stage_of(static_cast<WorkerIndex>(w));
    if (stage == kNoStage) {
      text += format("worker %*zu stands by\n", worker_width, w);
      continue;
    }
    text += format("worker %*zu stage %*zu ", worker_width, w, stage_width, stage) +
            line_of(table.orders[w].work, step.spans[w], length > 0 ? static_cast<double>(width) / length : 0, width) + "\n";
  }
  return text;
}

}  // namespace suanli::route
