// What the terminal plot and the SVG have in common: series of points and where axes have ticks.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace suanli::cli {

struct Point {
  double x = 0, y = 0;
};

struct Series {
  std::string name;
  std::vector<Point> points;  // ascending x; those that are not finite are left out
  bool markers = false;       // few points, each shown
  bool line = true;           // drawn through the points; a scatter of markers has none
};

struct Chart {
  std::string title, x_label, y_label;
  std::vector<Series> series{};
  // Logarithmic axes, of pictures only (the terminal's plot is linear): points that are not above 0 are left out.
  bool log_x = false, log_y = false;
};

struct Range {
  double low = 0, high = 1;
  double size() const { return high - low; }
};
// What the finite points span, made wider where it has no width; 0 to 1 if there are none.
Range x_range(const Chart& chart);
Range y_range(const Chart& chart);

// About `count` (at least 2) round numbers in the range: multiples of 1, 2 or 5 times a power of
// ten, ascending.
std::vector<double> ticks(const Range& range, int count);
// Of a logarithmic axis: powers of ten, with 2 and 5 times them where the range (above 0) holds fewer than three
// decades, and only every other or less where it holds many.
std::vector<double> log_ticks(const Range& range);
std::vector<std::string> log_tick_labels(std::span<const double> ticks);
// All with as many digits as tell neighbours apart.
std::vector<std::string> tick_labels(std::span<const double> ticks);

// At most `count` points: means of neighbours, by equal parts of the range of x. Finite points
// only.
std::vector<Point> thinned(std::span<const Point> points, const Range& range, std::size_t count);

}  // namespace suanli::cli
