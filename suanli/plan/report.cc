#include "suanli/plan/report.h"

#include <algorithm>
#include <cmath>

#include "suanli/base/text.h"

namespace suanli::plan {
namespace {

// The largest first; what is below 1 % is not worth a word.
constexpr double kLeastShare = 0.01;

// How far a figure moves, above 0 up: by its logarithm if it keeps its sign, else as it is.
struct Move {
  bool logarithmic = true;
  double of(double expected, double moved) const {
    return logarithmic ? std::log(moved / expected) : moved - expected;
  }
  double apply(double expected, double deviation) const {
    return logarithmic ? expected * std::exp(deviation) : expected + deviation;
  }
};

bool keeps_its_sign(double a, double b) { return (a > 0 && b > 0) || (a < 0 && b < 0); }

struct Deviations {
  double up = 0, down = 0;              // sums of squares
  std::vector<double> by_assumption;    // squares of both sides
};

Interval interval_of(double expected, const Move& move, const Deviations& deviations) {
  const double a = move.apply(expected, std::sqrt(deviations.up));
  const double b = move.apply(expected, -std::sqrt(deviations.down));
  // The logarithm of a negative figure grows downwards.
  return {std::min({a, b, expected}), expected, std::max({a, b, expected})};
}

std::vector<Influence> influences_of(const Deviations& deviations, std::span<const Assumption> assumptions) {
  double total = 0;
  for (const double each : deviations.by_assumption) total += each;
  std::vector<Influence> influences;
  for (std::size_t i = 0; i < assumptions.size(); ++i)
    if (total > 0 && deviations.by_assumption[i] / total >= kLeastShare)
      influences.push_back({assumptions[i].key, deviations.by_assumption[i] / total});
  std::ranges::stable_sort(influences, std::ranges::greater(), &Influence::share);
  return influences;
}

}  // namespace

const FigureKind& figure_kind(std::string_view key) {
  const auto kinds = figure_kinds();
  const auto found = std::ranges::find(kinds, key, &FigureKind::key);
  SUANLI_CHECK(found != kinds.end());
  return *found;
}

std::string plan_reference_markdown() {
  std::string page =
      "# Figures of plans\n\n"
      "Every `suanli plan` verb answers with figures of this table; with `--json` each is an object with `low`, `expected` and\n"
      "`high` (the interval holds four of five), `unit`, `why` and `influences`.\n\n"
      "This page is printed from `suanli/plan/figures.cc`.\n\n"
      "| field | title | unit | meaning |\n| --- | --- | --- | --- |\n";
  for (const FigureKind& kind : figure_kinds()) {
    page += "| `" + std::string(kind.key) + "` | " + std::string(kind.title) + " | " + std::string(kind.unit) + " | " +
            std::string(kind.meaning) + " |\n";
  }
  return page;
}

const Figure* Report::find(std::string_view key) const {
  const auto found = std::ranges::find(figures, key, &Figure::key);
  return found == figures.end() ? nullptr : &*found;
}

Values::Values(std::span<const Assumption> assumptions) : assumptions_(assumptions) {
  for (const Assumption& each : assumptions) values_.push_back(each.value.expected);
}

double Values::operator[](std::string_view key) const {
  const auto found = std::ranges::find(assumptions_, key, &Assumption::key);
  SUANLI_CHECK(found != assumptions_.end());
  return values_[static_cast<std::size_t>(found - assumptions_.begin())];
}

Report estimate(std::vector<Assumption> assumptions, const std::function<Figures(const Values&)>& model) {
  for (Assumption& each : assumptions) {
    Interval& value = each.value;
    value = {std::min({value.low, value.expected, value.high}), value.expected,
             std::max({value.low, value.expected, value.high})};
  }
  const Figures expected = model(Values(assumptions));
  std::vector<Figures> moved;  // two for each assumption that is not exact
  std::vector<std::size_t> mover;
  for (std::size_t i = 0; i < assumptions.size(); ++i) {
    if (assumptions[i].value.is_exact()) continue;
    for (const double end : {assumptions[i].value.low, assumptions[i].value.high}) {
      Values values(assumptions);
      values.set(i, end);
      moved.push_back(model(values));
      mover.push_back(i);
      SUANLI_CHECK(moved.back().size() == expected.size());
    }
  }
  Report report;
  for (std::size_t f = 0; f < expected.size(); ++f) {
    const double value = expected[f].value;
    const Move move{std::ranges::all_of(moved, [&](const Figures& each) { return keeps_its_sign(value, each[f].value); })};
    Deviations deviations;
    deviations.by_assumption.resize(assumptions.size());
    for (std::size_t i = 0; i < moved.size(); ++i) {
      SUANLI_CHECK(moved[i][f].key == expected[f].key);
      const double deviation = move.of(value, moved[i][f].value);
      (deviation > 0 ? deviations.up : deviations.down) += deviation * deviation;
      deviations.by_assumption[mover[i]] += deviation * deviation;
    }
    const FigureKind& kind = figure_kind(expected[f].key);
    Interval interval = interval_of(value, move, deviations);
    // A fraction that is a part of the whole at every end is one for all of them together.
    const bool is_part = kind.unit == "fraction" && value <= 1 &&
                         std::ranges::all_of(moved, [&](const Figures& each) { return each[f].value <= 1; });
    if (is_part) interval.high = std::min(interval.high, 1.0);
    report.figures.push_back({expected[f].key, interval, expected[f].why, influences_of(deviations, assumptions)});
  }
  report.assumptions = std::move(assumptions);
  return report;
}

}  // namespace suanli::plan
