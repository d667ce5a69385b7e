#include "suanli/cli/svg.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "suanli/base/text.h"

namespace suanli::cli {
namespace {

// More points than pixels only make the file large.
constexpr std::size_t kMostPoints = 800;

// Blue, orange, green, violet, brown, grey: apart for the colour-blind, and with contrast on white and on black.
constexpr std::array kColours = {"#3b82c4", "#e07b39", "#4a9f58", "#a05fb4", "#8c6d46", "#808890"};

// Text and axes in a grey that suits the page.
constexpr const char* kStyle =
    "<style>"
    "text{font-family:system-ui,sans-serif;font-size:13px;fill:#444}"
    ".title{font-size:16px;font-weight:600}"
    ".axis{stroke:#888}.grid{stroke:#888;stroke-opacity:.25}"
    "@media (prefers-color-scheme:dark){text{fill:#ccc}}"
    "</style>\n";

// Logarithms of what lies on a logarithmic axis; log10 of what is not above 0 is not finite, and left out.
Chart scaled(Chart chart) {
  for (Series& series : chart.series)
    for (Point& point : series.points) {
      if (chart.log_x) point.x = std::log10(point.x);
      if (chart.log_y) point.y = std::log10(point.y);
    }
  return chart;
}

// Where an axis has its ticks, in the scale that is drawn.
struct Axis {
  std::vector<double> at;
  std::vector<std::string> labels;

  Axis(const Range& range, bool is_log, int count) {
    if (is_log) {
      const std::vector<double> ticks = log_ticks({std::pow(10, range.low), std::pow(10, range.high)});
      labels = log_tick_labels(ticks);
      for (const double tick : ticks) at.push_back(std::log10(tick));
    } else {
      at = ticks(range, count);
      labels = tick_labels(at);
    }
  }
};

class Drawing {
 public:
  Drawing(const Chart& chart, const SvgSize& size)
      : chart_(scaled(chart)), size_(size), x_(x_range(chart_)), y_(y_range(chart_)) {}

  std::string draw() const {
    std::string svg = format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
        "viewBox=\"0 0 %d %d\" role=\"img\">\n",
        size_.width, size_.height, size_.width, size_.height);
    svg += "<title>" + xml_escaped(chart_.title) + "</title>\n" + kStyle;
    svg += text(size_.width / 2.0, 24, "middle", chart_.title, " class=\"title\"");
    svg += y_axis() + x_axis();
    for (std::size_t i = 0; i < chart_.series.size(); ++i) svg += series(i) + legend(i);
    return svg + "</svg>\n";
  }

 private:
  static constexpr double kLeft = 72, kRight = 24, kTop = 44, kBottom = 52;
  double right() const { return size_.width - kRight; }
  double bottom() const { return size_.height - kBottom; }
  double x_of(double value) const {
    return kLeft + (value - x_.low) / x_.size() * (right() - kLeft);
  }
  double y_of(double value) const {
    return bottom() - (value - y_.low) / y_.size() * (bottom() - kTop);
  }

  static std::string text(double x, double y, const char* anchor, std::string_view content,
                          const std::string& more = "") {
    return format("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\"%s>", x, y, anchor, more.c_str()) +
           xml_escaped(content) + "</text>\n";
  }
  static std::string rule(double x1, double y1, double x2, double y2, const char* kind) {
    return format("<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"%s\"/>\n", x1, y1,
                  x2, y2, kind);
  }

  std::string y_axis() const {
    std::string svg = rule(kLeft, kTop, kLeft, bottom(), "axis");
    const auto& [at, labels] = Axis(y_, chart_.log_y, 6);
    for (std::size_t i = 0; i < at.size(); ++i) {
      svg += rule(kLeft, y_of(at[i]), right(), y_of(at[i]), "grid");
      svg += text(kLeft - 8, y_of(at[i]) + 4, "end", labels[i]);
    }
    const double middle = (kTop + bottom()) / 2;
    return svg + text(14, middle, "middle", chart_.y_label,
                      format(" transform=\"rotate(-90 14 %.1f)\"", middle));
  }

  std::string x_axis() const {
    std::string svg = rule(kLeft, bottom(), right(), bottom(), "axis");
    const auto& [at, labels] = Axis(x_, chart_.log_x, 8);
    for (std::size_t i = 0; i < at.size(); ++i) {
      svg += rule(x_of(at[i]), bottom(), x_of(at[i]), bottom() + 5, "axis");
      svg += text(x_of(at[i]), bottom() + 20, "middle", labels[i]);
    }
    return svg + text((kLeft + right()) / 2, size_.height - 10, "middle", chart_.x_label);
  }

  std::string series(std::size_t index) const {
    const Series& series = chart_.series[index];
    const char* colour = kColours[index % kColours.size()];
    // Means of neighbours would move single points.
    const std::vector<Point> points =
        thinned(series.points, x_, series.line ? kMostPoints : std::max(kMostPoints, series.points.size()));
    if (points.empty()) return "";
    std::string svg = series.line ? line(points, colour) : "";
    if (!series.markers && series.line) return svg;
    for (const Point& point : points)
      svg += format("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n", x_of(point.x),
                    y_of(point.y), colour);
    return svg;
  }

  std::string line(const std::vector<Point>& points, const char* colour) const {
    std::string svg = "<polyline fill=\"none\" stroke-width=\"1.8\" stroke-linejoin=\"round\" ";
    svg += "stroke=\"" + std::string(colour) + "\" points=\"";
    for (std::size_t i = 0; i < points.size(); ++i)
      svg += format("%s%.1f,%.1f", i > 0 ? " " : "", x_of(points[i].x), y_of(points[i].y));
    return svg + "\"/>\n";
  }

  // In the corner where the fewest points lie; the upper right one if it is as good, where a falling loss leaves room.
  struct Corner {
    double x, y;  // of the first entry
  };
  static constexpr double kLegendWidth = 150, kLegendLine = 20;
  Corner legend_corner() const {
    const double height = kLegendLine * static_cast<double>(chart_.series.size());
    const double left = kLeft + 12, far = right() - kLegendWidth, top = kTop + 14, low = bottom() - height;
    Corner best{};
    std::size_t fewest = std::numeric_limits<std::size_t>::max();
    for (const Corner& corner : {Corner{far, top}, Corner{left, top}, Corner{far, low}, Corner{left, low}})
      if (const std::size_t covered = points_in(corner, height); covered < fewest) {
        fewest = covered;
        best = corner;
      }
    return best;
  }
  // A long line counts by its points.
  std::size_t points_in(const Corner& corner, double height) const {
    std::size_t count = 0;
    for (const Series& series : chart_.series)
      for (const Point& point : thinned(series.points, x_, kMostPoints)) {
        const double x = x_of(point.x) - corner.x, y = y_of(point.y) - corner.y;
        count += x > -4 && x < kLegendWidth && y > -kLegendLine && y < height;
      }
    return count;
  }
  std::string legend(std::size_t index) const {
    const double x = legend_.x, y = legend_.y + kLegendLine * static_cast<double>(index);
    return format("<rect x=\"%.1f\" y=\"%.1f\" width=\"18\" height=\"4\" fill=\"%s\"/>\n", x, y - 6,
                  kColours[index % kColours.size()]) +
           text(x + 26, y, "start", chart_.series[index].name);
  }

  const Chart chart_;
  const SvgSize size_;
  const Range x_, y_;
  const Corner legend_ = legend_corner();
};

}  // namespace

std::string xml_escaped(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      default: {
        const auto byte = static_cast<unsigned char>(c);
        const bool is_forbidden = byte < 0x20 && c != '\t' && c != '\n' && c != '\r';
        escaped += is_forbidden ? std::string("\xEF\xBF\xBD") : std::string(1, c);
      }
    }
  }
  return escaped;
}

std::string line_chart_svg(const Chart& chart, const SvgSize& size) {
  return Drawing(chart, size).draw();
}

}  // namespace suanli::cli
