#include "suanli/plan/step_fit.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <vector>

namespace suanli::plan {
namespace {

using Point = std::vector<double>;

constexpr double kSmooth = 0.05;       // error below which the sum is quadratic
constexpr double kPriorWeight = 0.1;

StepConstants constants_at(const Point& logarithms) {
  StepConstants constants;
  std::size_t i = 0;
  for (const ConstantKind& kind : constant_kinds()) constants.*kind.member = std::exp(logarithms[i++]);
  return constants;
}

class Objective {
 public:
  Objective(std::span<const FitRow> rows, const std::string& left_out) {
    std::map<std::string, int> count;
    for (const FitRow& row : rows) ++count[row.group];
    for (const FitRow& row : rows)
      if (row.group != left_out) rows_.push_back({&row, 1 / std::sqrt(count[row.group])});
  }

  double operator()(const Point& logarithms) const {
    const StepConstants constants = constants_at(logarithms);
    double sum = 0;
    for (const auto& [row, weight] : rows_) {
      const double error = std::log(step_seconds(row->inputs, constants).total() / row->seconds);
      sum += weight * std::sqrt(error * error + kSmooth * kSmooth);
    }
    std::size_t i = 0;
    for (const ConstantKind& kind : constant_kinds()) {
      const double distance = (logarithms[i++] - std::log(kind.prior)) / kind.spread;
      sum += kPriorWeight * distance * distance;
    }
    return sum;
  }

 private:
  struct Weighted {
    const FitRow* row;
    double weight;
  };
  std::vector<Weighted> rows_;
};

// A simplex that walks downhill.
class Simplex {
 public:
  Simplex(const std::function<double(const Point&)>& objective, const Point& start, double step)
      : objective_(objective), corners_(start.size() + 1, start) {
    for (std::size_t i = 0; i < start.size(); ++i) corners_[i + 1][i] += step;
    for (const Point& corner : corners_) values_.push_back(objective_(corner));
  }

  Point descend(int most_steps, double tolerance) {
    for (int step = 0; step < most_steps; ++step) {
      sort();
      if (values_.back() - values_.front() < tolerance) break;
      move_worst();
    }
    sort();
    return corners_.front();
  }

 private:
  void sort() {
    std::vector<std::size_t> order(corners_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [this](std::size_t a, std::size_t b) { return values_[a] < values_[b]; });
    std::vector<Point> corners;
    std::vector<double> values;
    for (const std::size_t i : order) {
      corners.push_back(corners_[i]);
      values.push_back(values_[i]);
    }
    corners_ = std::move(corners);
    values_ = std::move(values);
  }

  // From the middle of all but the worst corner, `by` times the way away from the worst.
  Point beyond_middle(double by) const {
    const std::size_t n = corners_.size() - 1;
    Point point(n);
    for (std::size_t j = 0; j < n; ++j) {
      double middle = 0;
      for (std::size_t i = 0; i < n; ++i) middle += corners_[i][j] / static_cast<double>(n);
      point[j] = middle + by * (middle - corners_.back()[j]);
    }
    return point;
  }

  void replace_worst(Point point, double value) {
    corners_.back() = std::move(point);
    values_.back() = value;
  }

  void move_worst() {
    Point reflected = beyond_middle(1);
    const double value = objective_(reflected);
    if (value < values_.front()) {
      Point expanded = beyond_middle(2);
      const double further = objective_(expanded);
      if (further < value) return replace_worst(std::move(expanded), further);
      return replace_worst(std::move(reflected), value);
    }
    if (value < values_[values_.size() - 2]) return replace_worst(std::move(reflected), value);
    Point contracted = beyond_middle(value < values_.back() ? 0.5 : -0.5);
    const double nearer = objective_(contracted);
    if (nearer < std::min(value, values_.back())) return replace_worst(std::move(contracted), nearer);
    for (std::size_t i = 1; i < corners_.size(); ++i) {
      for (std::size_t j = 0; j < corners_[i].size(); ++j) corners_[i][j] = (corners_[i][j] + corners_.front()[j]) / 2;
      values_[i] = objective_(corners_[i]);
    }
  }

  const std::function<double(const Point&)>& objective_;
  std::vector<Point> corners_;
  std::vector<double> values_;
};

}  // namespace

StepConstants fit_constants(std::span<const FitRow> rows, const std::string& left_out) {
  const std::function<double(const Point&)> objective = Objective(rows, left_out);
  Point best;
  for (const ConstantKind& kind : constant_kinds()) best.push_back(std::log(kind.prior));
  constexpr double kSteps[] = {0.2, 0.1, 0.05};  // a simplex that has grown flat starts again
  constexpr int kMostSteps = 1000;
  constexpr double kTolerance = 1e-8;
  for (const double step : kSteps) best = Simplex(objective, best, step).descend(kMostSteps, kTolerance);
  return constants_at(best);
}

}  // namespace suanli::plan
