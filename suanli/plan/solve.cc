#include "suanli/plan/solve.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>
#include <vector>

#include "suanli/base/text.h"
#include "suanli/plan/run_model.h"

namespace suanli::plan {
namespace {

struct Given {
  const char* name;
  const char* flag;
  bool is_given;
};

std::vector<Given> givens(const SolveQuestion& question) {
  return {{"parameters", "--params", question.run.model.parameters > 0},
          {"tokens", "--tokens", question.run.tokens > 0},
          {"devices", "--count", question.run.cluster.devices > 0},
          {"days", "--days", question.days.has_value()},
          {"money", "--money", question.money.has_value()},
          {"FLOPs", "--flops", question.flops.has_value()}};
}

// What has to be given: one of these sets, nothing more and nothing less.
using Set = std::vector<std::string_view>;
std::vector<Set> sets_for(Unknown unknown) {
  switch (unknown) {
    case Unknown::parameters: return {{"tokens", "devices", "days"}, {"tokens", "devices", "money"}};
    case Unknown::tokens: return {{"parameters", "devices", "days"}, {"parameters", "devices", "money"}};
    case Unknown::devices: return {{"parameters", "tokens", "days"}};
    case Unknown::days: return {{"parameters", "tokens", "devices"}};
    case Unknown::money: return {{"parameters", "tokens", "devices"}, {"parameters", "tokens", "days"}};
    case Unknown::split: return {{"FLOPs"}, {"devices", "days"}, {"devices", "money"}};
  }
  return {};
}

std::string joined(const std::vector<std::string>& words, const std::string& last = "and") {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const bool is_last = i + 1 == words.size();
    text += (i == 0 ? std::string() : is_last ? " " + last + " " : std::string(", ")) + words[i];
  }
  return text;
}

// Of a set: what is missing in it, what is given beside it.
struct Difference {
  std::vector<std::string> missing, beyond;
  std::size_t size() const { return missing.size() + beyond.size(); }
};

Status check_determined(const SolveQuestion& question) {
  std::optional<Difference> nearest;
  std::vector<std::string> ways;
  for (const Set& set : sets_for(question.unknown)) {
    Difference difference;
    std::vector<std::string> flags;
    for (const Given& each : givens(question)) {
      const bool is_needed = std::ranges::find(set, each.name) != set.end();
      if (is_needed) flags.emplace_back(each.flag);
      if (is_needed && !each.is_given) difference.missing.push_back(std::string(each.name) + " (" + each.flag + ")");
      if (!is_needed && each.is_given) difference.beyond.push_back(std::string(each.name) + " (" + each.flag + ")");
    }
    if (difference.size() == 0) return {};
    ways.push_back(joined(flags));
    if (!nearest || difference.size() < nearest->size()) nearest = difference;
  }
  std::string what = std::string("to find the ") + name_of(question.unknown) + ", ";
  if (!nearest->missing.empty()) what += "the " + joined(nearest->missing) + " must be given";
  if (!nearest->missing.empty() && !nearest->beyond.empty()) what += ", and ";
  if (!nearest->beyond.empty()) what += "the " + joined(nearest->beyond) + " follow from the rest and must not be given";
  std::string next_step = "give " + ways.front();
  for (std::size_t i = 1; i < ways.size(); ++i) next_step += "; or " + ways[i];
  return fail(ErrorCode::usage, what, "", next_step);
}

// The x in [low, high] where an increasing function reaches `target`; the nearer end if it never does.
double bisect(double low, double high, double target, const std::function<double(double)>& function) {
  for (int i = 0; i < 200; ++i) {
    const double middle = std::sqrt(low * high);
    (function(middle) < target ? low : high) = middle;
  }
  return std::sqrt(low * high);
}

constexpr double kLeast = 1, kMost = 1e24;
constexpr double kMostSolved = 1e9;

class Solver {
 public:
  Solver(const SolveQuestion& question, const RunModel& model, RunSize known)
      : question_(question), model_(model), known_(known) {}

  bool asks_for_devices() const { return known_.devices == 0 && question_.days.has_value(); }
  // Whether the days that are given are kept.
  bool is_in_time(const Values& v, const RunSize& size) const {
    constexpr double kRounding = 1.001;
    return model_.evaluate(v, size).time_s <= kRounding * *question_.days * kSecondsPerDay;
  }

  // The complete size at which the run takes what is given, by days or money.
  RunSize size(const Values& v) const {
    RunSize size = known_;
    switch (question_.unknown) {
      case Unknown::parameters:
        size.parameters = bisect(kLeast, kMost, target(), [&](double x) { return spent(v, {x, size.tokens, size.devices}); });
        break;
      case Unknown::tokens:
        size.tokens = bisect(kLeast, kMost, target(), [&](double x) { return spent(v, {size.parameters, x, size.devices}); });
        break;
      case Unknown::devices: size.devices = devices(v); break;
      case Unknown::days:
      case Unknown::money:
        if (size.devices == 0) size.devices = devices(v);
        break;
      case Unknown::split: {
        const double ratio = v["tokens_per_parameter"];
        const auto flops = [&](double x) { return model_.evaluate(v, {x, ratio * x, std::max(1.0, size.devices)}).flops; };
        const auto time = [&](double x) { return spent(v, {x, ratio * x, size.devices}); };
        size.parameters =
            question_.flops ? bisect(kLeast, kMost, *question_.flops, flops) : bisect(kLeast, kMost, target(), time);
        size.tokens = ratio * size.parameters;
        break;
      }
    }
    return size;
  }

 private:
  double target() const { return question_.money ? *question_.money : *question_.days * kSecondsPerDay; }
  double spent(const Values& v, const RunSize& size) const {
    const RunOutcome outcome = model_.evaluate(v, size);
    return question_.money ? model_.money(outcome) : outcome.time_s;
  }
  double time_of(const Values& v, double devices) const {
    return model_.evaluate(v, {known_.parameters, known_.tokens, devices}).time_s;
  }

  // More devices take less time until faults come faster than work is kept; from there more of them take longer.
  double fastest(const Values& v) const {
    constexpr double kFewest = 1e-6, kStep = 1.1;
    double best = kFewest, least = time_of(v, best);
    for (double devices = kFewest; devices <= kMostSolved; devices *= kStep) {
      const double time = time_of(v, devices);
      if (time < least) best = devices, least = time;
    }
    // Between the neighbours of the best one there is one minimum: the golden section finds it.
    const double golden = (std::sqrt(5.0) - 1) / 2;
    double low = std::log(best / kStep), high = std::log(std::min(best * kStep, kMostSolved));
    for (int i = 0; i < 40; ++i) {
      const double left = high - golden * (high - low), right = low + golden * (high - low);
      if (time_of(v, std::exp(left)) < time_of(v, std::exp(right)))
        high = right;
      else
        low = left;
    }
    const double found = std::exp((low + high) / 2);
    return time_of(v, found) < least ? found : best;
  }

  // The fewest that end in time; where none do, those that end first.
  double devices(const Values& v) const {
    const double most = fastest(v), seconds = *question_.days * kSecondsPerDay;
    if (time_of(v, most) > seconds) return most;
    return bisect(1e-6, most, -seconds, [&](double x) { return -time_of(v, x); });
  }

  const SolveQuestion& question_;
  const RunModel& model_;
  RunSize known_;
};

// A run that stands in for what is not known yet, to settle shape and assumptions with.
LargeRun stand_in(const SolveQuestion& question) {
  LargeRun run = question.run;
  if (run.model.parameters <= 0 && !(run.model.layers > 0 && run.model.width > 0)) run.model.parameters = 1e11;
  if (run.tokens <= 0) run.tokens = 1e12;
  if (run.cluster.devices < 1) run.cluster.devices = 1024;
  return run;
}

// A question is answered even where the answer does not fit its devices; a warning says so.
Result<SettledRun> settle_or_warn(LargeRun run) {
  Result<SettledRun> settled = settle_run(run);
  if (settled || settled.error().code != ErrorCode::no_memory) return settled;
  Error warning = settled.error();
  run.cluster.device.memory.reset();
  settled = settle_run(run);
  if (settled) settled->warnings = {std::move(warning)};
  return settled;
}

Figures figures_of(const SolveQuestion& question, const RunModel& model, const Values& v, const RunSize& size) {
  const RunOutcome outcome = model.evaluate(v, size);
  const bool has_fleet = size.devices > 0;
  const double days = has_fleet ? outcome.time_s / kSecondsPerDay : 0;
  const auto why = [&](Unknown unknown, const char* text) {
    return question.unknown == unknown ? std::string(text) : std::string("given");
  };
  const bool is_split = question.unknown == Unknown::split;
  Figures all = {
      {"parameters", size.parameters,
       is_split ? "FLOPs = (6 N + 12 L h s) x tokens, tokens = ratio x N"
                : why(Unknown::parameters, "the most that can be trained on the tokens")},
      {"tokens", size.tokens,
       is_split ? "tokens per parameter x parameters" : why(Unknown::tokens, "the most that the parameters can be trained on")},
      {"tokens_per_parameter", size.tokens / size.parameters,
       "tokens / parameters; about 20 is best for a given computing budget"},
      {"flops", question.flops.value_or(outcome.flops), question.flops ? "given" : "tokens x FLOPs of a token"}};
  if (!has_fleet) return all;
  all.push_back({"devices", size.devices, why(Unknown::devices, "the fewest that end in time")});
  all.push_back(
      {"days", question.days.value_or(days), question.days ? "given" : "model FLOPs / (devices x peak x MFU x goodput)"});
  all.push_back({"time_s", question.days ? *question.days * kSecondsPerDay : outcome.time_s, "the same in seconds"});
  all.push_back({"ideal_time_s", outcome.ideal_s, "model FLOPs / peak rate"});
  all.push_back({"peak_flops_per_s", outcome.peak, "devices x peak of one"});
  all.push_back({"sustained_flops_per_s", outcome.sustained, "peak rate x MFU"});
  all.push_back({"mfu", v["mfu"], "see the assumption"});
  all.push_back({"goodput", outcome.goodput, "useful share of the time"});
  all.push_back({"device_hours", outcome.time_s * size.devices / 3600, "devices x time"});
  if (model.knows_energy()) {
    all.push_back({"energy_j", outcome.joules, "power x time"});
    all.push_back({"electricity_usd", outcome.electricity, "energy x price"});
  }
  if (model.knows_money())
    all.push_back({"money_usd", question.money.value_or(model.money(outcome)),
                   question.money      ? "given"
                   : model.is_rented() ? "device-hours x rent"
                                       : "depreciation and electricity"});
  return all;
}

bool is_near(const RunSize& a, const RunSize& b) {
  constexpr double kNear = 0.01;
  const auto close = [](double x, double y) { return std::abs(x - y) <= kNear * std::max(x, y); };
  return close(a.parameters, b.parameters) && close(a.tokens, b.tokens) && close(a.devices, b.devices);
}

// The nearest number that can be laid out, as one would order them.
std::int64_t orderable(double count) {
  const double unit = count <= 8 ? 1 : count <= 512 ? 8 : count <= 8192 ? 64 : 512;
  return std::llround(std::max(1.0, std::round(count / unit)) * unit);
}

// Half the way, on a logarithmic scale, so that it does not swing.
void move_towards(const RunSize& size, const SolveQuestion& question, const SettledRun& settled, LargeRun& run) {
  const auto between = [](double old, double found, double least, double most) {
    return std::sqrt(old * std::clamp(found, least, most));
  };
  if (question.run.model.parameters <= 0 && !settled.has_given_shape)
    run.model.parameters = between(run.model.parameters, size.parameters, 1e3, 1e18);
  run.tokens = size.tokens;
  if (question.run.cluster.devices == 0 && size.devices > 0) {
    const double count = between(static_cast<double>(run.cluster.devices), size.devices, 1, 1e9);
    run.cluster.devices = orderable(count);
  }
}

// The layout of one number of devices may keep no time at all where another number, laid out for itself, does: looks for the
// fewest whose own layout ends in time, and leaves `run` and `settled` there. False, and nothing changed: there are none.
Result<bool> lay_out_for_time(const SolveQuestion& question, const RunSize& known, LargeRun& run, SettledRun& settled) {
  constexpr double kMostTried = 1e6, kFactor = 1.25;
  LargeRun tried = run;
  for (double count = 1; count <= kMostTried; count *= kFactor) {
    const std::int64_t before = std::exchange(tried.cluster.devices, orderable(count));
    if (tried.cluster.devices == before) continue;
    const Result<SettledRun> found = settle_run(tried);
    if (!found) continue;  // no layout of this number fits
    const RunModel model(tried, *found);
    SUANLI_ASSIGN_OR_RETURN(const std::vector<Assumption> assumptions, model.assumptions());
    RunSize size = known;
    size.devices = static_cast<double>(tried.cluster.devices);
    if (model.evaluate(Values(assumptions), size).time_s > *question.days * kSecondsPerDay) continue;
    run = tried;
    settled = *found;
    const std::string devices = std::to_string(run.cluster.devices);
    settled.warnings.push_back({ErrorCode::usage,
                                "of the numbers tried, each a quarter larger, " + devices + " devices are the fewest that end " +
                                    "in time when laid out for themselves: what is said here is of their layout",
                                "--days", "count on " + devices + " devices: `suanli plan llm --count " + devices + "`"});
    return true;
  }
  return false;
}

Status check_solvable(const SolveQuestion& question, const Report& report) {
  const auto impossible = [&](std::string message, std::string next_step) {
    return fail(ErrorCode::usage, std::move(message), "", std::move(next_step));
  };
  for (const char* key : {"parameters", "tokens"}) {
    const Figure* figure = report.find(key);
    if (!figure) continue;
    const double value = figure->value.expected;
    const bool is_asked = question.unknown == Unknown::split || std::string_view(key) == name_of(question.unknown);
    if (is_asked && (value < 2 * kLeast || value > kMost / 2))
      return impossible(format("no number of %s up to 1e24 fits what is given", key),
                        "change the time, the money or the devices");
  }
  return {};
}

// Where faults come so fast that more devices take longer, there may be no answer at all, or none at an end of an assumption.
Status check_devices(const SolveQuestion& question, const RunModel& model, const Solver& solver,
                     const std::vector<Assumption>& assumptions, std::vector<Error>& warnings) {
  if (!solver.asks_for_devices()) return {};
  const Values expected(assumptions);
  const RunSize size = solver.size(expected);
  if (!solver.is_in_time(expected, size))
    return fail(ErrorCode::usage,
                format("no number of devices ends this in %.4g days: about %.3g would end first, after %.3g days; with more, "
                       "faults come faster than work is kept",
                       *question.days, size.devices, model.evaluate(expected, size).time_s / kSecondsPerDay),
                "", "give more days, fewer tokens, or machines that fail less (--fault-preset, --mtbf)");
  std::vector<std::string> without;
  for (std::size_t i = 0; i < assumptions.size(); ++i) {
    const Interval& value = assumptions[i].value;
    if (value.is_exact()) continue;
    for (const double end : {value.low, value.high}) {
      Values moved(assumptions);
      moved.set(i, end);
      if (solver.is_in_time(moved, solver.size(moved))) continue;
      without.push_back(format("%s is %.3g", assumptions[i].key.c_str(), end));
    }
  }
  if (!without.empty())
    warnings.push_back({ErrorCode::usage,
                        format("no number of devices keeps %.4g days if ", *question.days) + joined(without, "or") +
                            "; there the devices that end first are counted, so that the high end is no promise",
                        "--days", "give more days, or state what is known of it"});
  return {};
}

}  // namespace

const char* name_of(Unknown unknown) {
  switch (unknown) {
    case Unknown::parameters: return "parameters";
    case Unknown::tokens: return "tokens";
    case Unknown::devices: return "devices";
    case Unknown::days: return "days";
    case Unknown::money: return "money";
    case Unknown::split: return "split";
  }
  return "";
}

Result<Report> solve(const SolveQuestion& question) {
  SUANLI_RETURN_IF_ERROR(check_determined(question));
  LargeRun run = stand_in(question);
  RunSize known{question.run.model.parameters, question.run.tokens, static_cast<double>(question.run.cluster.devices)};
  SettledRun settled;
  std::vector<Assumption> assumptions;
  RunSize last{};
  // What is assumed of layout, MFU and faults depends on the answer, and the answer on these: until both stand.
  constexpr int kMostRounds = 12;
  for (int round = 0; round < kMostRounds; ++round) {
    SUANLI_ASSIGN_OR_RETURN(settled, settle_or_warn(run));
    const RunModel model(run, settled);
    if ((question.money || question.unknown == Unknown::money) && !model.knows_money())
      return fail(ErrorCode::usage, "no price of " + run.cluster.device.name + " is known", "--price-per-hour",
                  "state --price-per-hour or --price-per-device");
    SUANLI_ASSIGN_OR_RETURN(assumptions, model.assumptions());
    if (question.unknown == Unknown::split)
      assumptions.push_back(
          {"tokens_per_parameter", "tokens for each parameter at the best split",
           question.tokens_per_parameter ? Interval::exactly(*question.tokens_per_parameter) : Interval{15, 20, 26}, "1",
           question.tokens_per_parameter
               ? "given"
               : "Hoffmann et al., arXiv:2203.15556, and its replication, Besiroglu et al., arXiv:2404.10102"});
    if (known.parameters == 0 && question.unknown != Unknown::parameters && question.unknown != Unknown::split)
      known.parameters = settled.setup.model.parameters;
    const RunSize size = Solver(question, model, known).size(Values(assumptions));
    if (round > 0 && is_near(size, last)) break;
    last = size;
    move_towards(size, question, settled, run);
  }
  if (question.unknown == Unknown::devices && question.days) {
    const RunModel model(run, settled);
    const Solver solver(question, model, known);
    const Values expected(assumptions);
    if (!solver.is_in_time(expected, solver.size(expected))) {
      SUANLI_ASSIGN_OR_RETURN(const bool found, lay_out_for_time(question, known, run, settled));
      if (found) {
        SUANLI_ASSIGN_OR_RETURN(assumptions, RunModel(run, settled).assumptions());
      }
    }
  }
  const RunModel model(run, settled);
  const Solver solver(question, model, known);
  std::vector<Error> warnings = settled.warnings;
  SUANLI_RETURN_IF_ERROR(check_devices(question, model, solver, assumptions, warnings));
  Report report =
      estimate(std::move(assumptions), [&](const Values& v) { return figures_of(question, model, v, solver.size(v)); });
  SUANLI_RETURN_IF_ERROR(check_solvable(question, report));
  report.warnings = std::move(warnings);
  for (Error& warning : peak_warnings(run.cluster)) report.warnings.push_back(std::move(warning));
  report.notes = settled.notes;
  return report;
}

}  // namespace suanli::plan
