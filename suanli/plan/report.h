// What every estimate answers with: figures with intervals, what each rests on, and why. One shape for all verbs of `suanli
// plan`, as text, as JSON and with --why.
//
// An estimate is a pure function from assumptions (numbers with an interval and a source) to figures. Its intervals come from
// the assumptions, one at a time: each is put to its low and its high value with all others as expected, and the deviations of
// the figure's logarithm add up as squares, apart for each side (so assumptions are taken as independent). This also says which
// assumption makes a figure uncertain.
//
//   const std::vector<Assumption> assumptions = {
//       {"mfu", "model FLOPs utilisation", {0.33, 0.40, 0.46}, "fraction", "Llama 3, Table 4"}};
//   const Report report = estimate(assumptions, [&](const Values& v) {
//     return Figures{{"time_s", work / (peak * v["mfu"]), "FLOPs / (devices x peak x MFU)"}};
//   });
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/plan/interval.h"

namespace suanli::plan {

struct Assumption {
  std::string key;     // "mfu"
  std::string text;    // what it is, in words
  Interval value;      // in `unit`
  std::string unit;    // "1", "fraction" (shown as a percentage), "s", "FLOP/s", "B", "B/s", "J", "W", "USD", "USD/h", ...
  std::string source;  // who says so: "given", "measured: profile.json", "arXiv:2407.21783 Table 4"
};

// Every figure that a plan can hold, once: docs/reference/figures.md is printed from this table.
struct FigureKind {
  std::string_view key;      // field name in JSON, the unit in it: "time_s"
  std::string_view title;    // "time"
  std::string_view unit;     // as Assumption::unit
  std::string_view meaning;  // one line
};
std::span<const FigureKind> figure_kinds();
// An unknown key is a bug.
const FigureKind& figure_kind(std::string_view key);
std::string plan_reference_markdown();

// How much of a figure's uncertainty comes from one assumption: a share of the squared deviations, 0 to 1.
struct Influence {
  std::string assumption;
  double share = 0;
};

struct Figure {
  std::string key;                     // of figure_kinds()
  Interval value;
  std::string why;                     // the formula in words
  std::vector<Influence> influences;   // largest first, those above 1 %
};

struct Report {
  std::vector<Figure> figures;          // in the order in which they are shown
  std::vector<Assumption> assumptions;
  std::vector<Error> warnings;          // what a person should know that does not stop the estimate
  std::vector<std::string> notes;       // explanations that belong to no single figure; shown with --why

  // Null if there is none.
  const Figure* find(std::string_view key) const;
};

// Assumptions by key while an estimate is computed. An unknown key is a bug.
class Values {
 public:
  explicit Values(std::span<const Assumption> assumptions);
  double operator[](std::string_view key) const;
  void set(std::size_t index, double value) { values_[index] = value; }

 private:
  std::span<const Assumption> assumptions_;
  std::vector<double> values_;
};

struct ComputedFigure {
  std::string key;
  double value = 0;
  std::string why;
};
using Figures = std::vector<ComputedFigure>;

// `model` is called several times and must give the same keys in the same order. A figure that is 0 or changes its sign has its
// deviations added up as they are, not as logarithms. The interval always holds the expected value.
Report estimate(std::vector<Assumption> assumptions, const std::function<Figures(const Values&)>& model);

}  // namespace suanli::plan
