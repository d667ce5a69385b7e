#include "suanli/cli/plot.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "suanli/base/error.h"

namespace suanli::cli {
namespace {

// How the k-th series looks.
struct Look {
  Paint paint;
  const char* marker;        // UTF-8
  const char* ascii_marker;  // also the ASCII line
};
constexpr std::array kLooks = {Look{Paint::cyan, "●", "."}, Look{Paint::yellow, "●", "o"},
                               Look{Paint::green, "▲", "x"}};
const Look& look_of(std::size_t series) { return kLooks[std::min(series, kLooks.size() - 1)]; }

// The plotting area: characters, each with dots (braille) or one mark.
class Canvas {
 public:
  Canvas(int columns, int rows, const Terminal& terminal)
      : columns_(columns), rows_(rows), terminal_(terminal) {
    cells_.resize(static_cast<std::size_t>(columns * rows));
  }

  // Dots across and down.
  int width() const { return columns_ * (terminal_.utf8 ? 2 : 1); }
  int height() const { return rows_ * (terminal_.utf8 ? 4 : 1); }

  void dot(int x, int y, std::size_t series) {
    Cell& cell = cell_at(x, y);
    cell.series = series;
    if (!terminal_.utf8) {
      cell.mark = look_of(series).ascii_marker;
      return;
    }
    // Braille numbers its dots 1-2-3-7 down the left and 4-5-6-8 down the right column.
    static constexpr std::uint8_t kBits[4][2] = {
        {0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    cell.dots |= kBits[y % 4][x % 2];
  }

  void mark(int x, int y, std::size_t series) {
    Cell& cell = cell_at(x, y);
    cell.series = series;
    cell.mark = terminal_.utf8 ? look_of(series).marker : look_of(series).ascii_marker;
  }

  void line(int x0, int y0, int x1, int y1, std::size_t series) {
    const int steps = std::max({std::abs(x1 - x0), std::abs(y1 - y0), 1});
    for (int i = 0; i <= steps; ++i) {
      const double t = static_cast<double>(i) / steps;
      dot(static_cast<int>(std::lround(x0 + (x1 - x0) * t)),
          static_cast<int>(std::lround(y0 + (y1 - y0) * t)), series);
    }
  }

  // Neighbours of one colour are painted together.
  std::string row(int index) const {
    std::string text, run;
    std::size_t series = 0;
    const auto end_run = [&] {
      if (!run.empty()) text += paint(terminal_, look_of(series).paint, run);
      run.clear();
    };
    for (int column = 0; column < columns_; ++column) {
      const Cell& cell = cells_[static_cast<std::size_t>(index * columns_ + column)];
      const bool is_empty = cell.mark == nullptr && cell.dots == 0;
      if (is_empty || cell.series != series) end_run();
      series = cell.series;
      if (is_empty)
        text += ' ';
      else
        run += cell.mark != nullptr ? std::string(cell.mark) : braille(cell.dots);
    }
    end_run();
    return text;
  }

 private:
  struct Cell {
    std::uint8_t dots = 0;
    const char* mark = nullptr;
    std::size_t series = 0;
  };
  Cell& cell_at(int x, int y) {
    const int column = x / (terminal_.utf8 ? 2 : 1), row = y / (terminal_.utf8 ? 4 : 1);
    return cells_[static_cast<std::size_t>(row * columns_ + column)];
  }
  // U+2800 to U+28FF in UTF-8.
  static std::string braille(std::uint8_t dots) {
    return {'\xE2', static_cast<char>(0xA0 | dots >> 6), static_cast<char>(0x80 | (dots & 0x3F))};
  }

  int columns_, rows_;
  const Terminal& terminal_;
  std::vector<Cell> cells_;
};

struct Frame {
  Range x, y;

  int column(const Canvas& canvas, double value) const {
    return static_cast<int>(std::lround((value - x.low) / x.size() * (canvas.width() - 1)));
  }
  int row(const Canvas& canvas, double value) const {
    return static_cast<int>(std::lround((y.high - value) / y.size() * (canvas.height() - 1)));
  }
};

void draw(const Series& series, std::size_t index, const Frame& frame, Canvas& canvas) {
  const std::vector<Point>& points = series.points;
  for (std::size_t i = 0; i < points.size(); ++i) {
    const int x = frame.column(canvas, points[i].x), y = frame.row(canvas, points[i].y);
    if (series.markers) {
      canvas.mark(x, y, index);
    } else if (i == 0) {
      canvas.dot(x, y, index);
    } else {
      canvas.line(frame.column(canvas, points[i - 1].x), frame.row(canvas, points[i - 1].y), x, y,
                  index);
    }
  }
}

std::string legend(const Chart& chart, const Terminal& terminal) {
  std::string text;
  for (std::size_t i = 0; i < chart.series.size(); ++i) {
    const Look& look = look_of(i);
    const bool is_line = terminal.utf8 && !chart.series[i].markers;
    const char* sign = is_line ? "⠤⠤" : terminal.utf8 ? look.marker : look.ascii_marker;
    text += (i > 0 ? "   " : "") + paint(terminal, look.paint, sign) + " " + chart.series[i].name;
  }
  return text;
}

// Labels below the axis, each centred at its tick; one that would touch the last is left out.
std::string label_line(const std::vector<double>& at, const Frame& frame, const Canvas& canvas,
                       int columns) {
  const std::vector<std::string> labels = tick_labels(at);
  std::string line;
  for (std::size_t i = 0; i < at.size(); ++i) {
    const double share = frame.column(canvas, at[i]) / static_cast<double>(canvas.width());
    const int centre = static_cast<int>(share * columns);
    const int width = static_cast<int>(labels[i].size());
    const int start = std::clamp(centre - width / 2, 0, std::max(0, columns - width));
    if (!line.empty() && start <= static_cast<int>(line.size())) continue;
    line.resize(static_cast<std::size_t>(start), ' ');
    line += labels[i];
  }
  return line;
}

}  // namespace

std::string plot(const Chart& given, const Terminal& terminal, const PlotSize& size) {
  SUANLI_CHECK(size.columns >= 30 && size.rows >= 4);
  // One point a dot; the axis spans what is drawn, not the noise that is averaged away.
  Chart chart = given;
  bool has_points = false;
  for (Series& series : chart.series) {
    const int dots = size.columns * (terminal.utf8 ? 2 : 1);
    series.points = thinned(series.points, x_range(given), static_cast<std::size_t>(dots));
    has_points = has_points || !series.points.empty();
  }
  if (!has_points) return chart.title + ": nothing to plot yet\n";
  const Frame frame{x_range(chart), y_range(chart)};

  const std::vector<double> y_ticks = ticks(frame.y, std::max(2, size.rows / 3));
  const std::vector<std::string> y_labels = tick_labels(y_ticks);
  std::size_t margin = 0;
  for (const std::string& label : y_labels) margin = std::max(margin, label.size());
  const int columns = std::max(10, size.columns - static_cast<int>(margin) - 2);
  Canvas canvas(columns, size.rows, terminal);
  for (std::size_t i = 0; i < chart.series.size(); ++i) draw(chart.series[i], i, frame, canvas);

  const char* side = terminal.utf8 ? "│" : "|";
  const char* side_tick = terminal.utf8 ? "┤" : "+";
  std::string text =
      paint(terminal, Paint::bold, chart.title) + "   " + legend(chart, terminal) + "\n";
  for (int row = 0; row < size.rows; ++row) {
    std::string label;
    for (std::size_t i = 0; i < y_ticks.size(); ++i)
      if (frame.row(canvas, y_ticks[i]) * size.rows / canvas.height() == row) label = y_labels[i];
    text += std::string(margin - label.size(), ' ') + label + " " +
            (label.empty() ? side : side_tick) + canvas.row(row) + "\n";
  }
  const std::string indent(margin + 1, ' ');
  text += indent + (terminal.utf8 ? "└" : "+");
  for (int i = 0; i < columns; ++i) text += terminal.utf8 ? "─" : "-";
  text += "\n" + indent + " " +
          label_line(ticks(frame.x, std::max(2, columns / 12)), frame, canvas, columns);
  return text + "  " + chart.x_label + "\n";
}

}  // namespace suanli::cli
