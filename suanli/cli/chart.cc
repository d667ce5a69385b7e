#include "suanli/cli/chart.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "suanli/base/error.h"
#include "suanli/base/text.h"

namespace suanli::cli {
namespace {

bool is_finite(const Point& point) { return std::isfinite(point.x) && std::isfinite(point.y); }

Range range_of(const Chart& chart, double Point::*value) {
  Range range{std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()};
  for (const Series& series : chart.series) {
    for (const Point& point : series.points) {
      if (!is_finite(point)) continue;
      range.low = std::min(range.low, point.*value);
      range.high = std::max(range.high, point.*value);
    }
  }
  if (range.low > range.high) return {};
  // Too narrow for ticks that differ.
  const double least = 1e-9 * std::max({std::abs(range.low), std::abs(range.high), 1e-9});
  if (range.size() > least) return range;
  const double margin = std::max(std::abs(range.low) / 2, 0.5);
  return {range.low - margin, range.high + margin};
}

}  // namespace

Range x_range(const Chart& chart) { return range_of(chart, &Point::x); }
Range y_range(const Chart& chart) { return range_of(chart, &Point::y); }

std::vector<double> ticks(const Range& range, int count) {
  SUANLI_CHECK(count >= 2 && range.size() > 0);
  const double rough = range.size() / count;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double factor : {5.0, 2.0, 1.0})
    if (factor * power >= rough * 0.999) step = factor * power;
  std::vector<double> found;
  const double first = std::ceil(range.low / step - 1e-9);
  for (int i = 0; (first + i) * step <= range.high + step * 1e-9; ++i)
    found.push_back((first + i) * step);
  return found;
}

std::vector<double> log_ticks(const Range& range) {
  SUANLI_CHECK(range.low > 0 && range.high > range.low);
  const double decades = std::log10(range.high / range.low);
  const bool is_wide = decades >= 3;
  const int every = std::max(1, static_cast<int>(std::ceil(decades / 8)));  // decades from one tick to the next
  std::vector<double> found;
  for (int power = static_cast<int>(std::floor(std::log10(range.low))); std::pow(10, power) <= range.high * (1 + 1e-9); ++power)
    for (const double factor : {1.0, 2.0, 5.0}) {
      if (is_wide && (factor > 1 || power % every != 0)) continue;
      const double tick = factor * std::pow(10, power);
      if (tick >= range.low * (1 - 1e-9) && tick <= range.high * (1 + 1e-9)) found.push_back(tick);
    }
  return found;
}

std::vector<std::string> log_tick_labels(std::span<const double> ticks) {
  std::vector<std::string> labels;
  for (const double tick : ticks) labels.push_back(tick >= 1e-3 && tick < 1e5 ? format("%g", tick) : format("%.0e", tick));
  return labels;
}

std::vector<std::string> tick_labels(std::span<const double> ticks) {
  if (ticks.empty()) return {};
  const double step = ticks.size() > 1 ? ticks[1] - ticks[0] : std::max(1.0, std::abs(ticks[0]));
  const double largest = std::max(std::abs(ticks.front()), std::abs(ticks.back()));
  std::vector<std::string> labels;
  for (const double tick : ticks) {
    if (largest >= 1e6 || step < 1e-6) {
      labels.push_back(format("%.4g", tick));
    } else {
      const int digits = std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
      // No minus before a zero.
      labels.push_back(format("%.*f", digits, std::abs(tick) < step / 2 ? 0.0 : tick));
    }
  }
  return labels;
}

std::vector<Point> thinned(std::span<const Point> points, const Range& range, std::size_t count) {
  std::vector<Point> finite;
  std::ranges::copy_if(points, std::back_inserter(finite), is_finite);
  if (finite.size() <= count || count == 0) return finite;
  struct Sum {
    Point total;
    double number = 0;
  };
  std::vector<Sum> parts(count);
  for (const Point& point : finite) {
    const double at = (point.x - range.low) / range.size() * static_cast<double>(count);
    Sum& part =
        parts[static_cast<std::size_t>(std::clamp(at, 0.0, static_cast<double>(count - 1)))];
    part.total.x += point.x;
    part.total.y += point.y;
    ++part.number;
  }
  std::vector<Point> means;
  for (const Sum& part : parts)
    if (part.number > 0) means.push_back({part.total.x / part.number, part.total.y / part.number});
  return means;
}

}  // namespace suanli::cli
