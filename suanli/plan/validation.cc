#include "suanli/plan/validation.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "suanli/plan/published_figure.h"
#include "suanli/plan/step_fit.h"
#include "suanli/plan/whole_run.h"

namespace suanli::plan {
namespace {

constexpr double kLow = 0.1, kMiddle = 0.5, kHigh = 0.9;

struct Prepared {
  SettledSetup settled;
  StepInputs inputs;
};

Result<Prepared> prepare(const PublishedRun& run, const AcceleratorTable& table, const std::string& place) {
  SUANLI_ASSIGN_OR_RETURN(const SetupFacts facts, facts_of(run, table, place));
  const auto at_line = [&](Error error) { return std::move(error).within(place + ":" + std::to_string(run.line)); };
  auto settled = settle(facts);
  if (!settled) return tl::unexpected(at_line(settled.error()));
  auto inputs = step_inputs(settled->setup);
  if (!inputs) return tl::unexpected(at_line(inputs.error()));
  return Prepared{*std::move(settled), *inputs};
}

// The step time that a published figure implies: figures are in proportion to it, or to its inverse.
Result<double> implied_seconds(const PublishedRun& run, const Prepared& prepared) {
  SUANLI_ASSIGN_OR_RETURN(const double of_one_second, figure_of(run, prepared.settled, 1));
  return is_rate(run.quantity) ? of_one_second / run.value : run.value / of_one_second;
}

// What the model was fitted over, and fits of it without one publication each, made when asked for.
class Fits {
 public:
  static Result<Fits> create(const AcceleratorTable& table) {
    Fits fits;
    for (const PublishedRun& run : built_in_runs()) {
      if (!why_left_out(run).empty()) continue;
      const auto level = level_of(run.quantity);
      if (level != Level::step && level != Level::run) continue;
      SUANLI_ASSIGN_OR_RETURN(const Prepared prepared, prepare(run, table, "published-runs.csv"));
      SUANLI_ASSIGN_OR_RETURN(const double seconds, implied_seconds(run, prepared));
      (level == Level::step ? fits.step_rows_ : fits.run_rows_).push_back({prepared.inputs, seconds, run.group});
      fits.groups_[publication_of(run.source)] = run.group;
    }
    return fits;
  }

  // The group of the built-in rows that are of the same publication. Empty if there are none.
  std::string group_of(const PublishedRun& run) const {
    const auto found = groups_.find(publication_of(run.source));
    return found == groups_.end() ? std::string() : found->second;
  }

  // With an empty `left_out`: those in use.
  const StepConstants& constants(const std::string& left_out) {
    auto [at, is_new] = constants_.try_emplace(left_out);
    if (is_new) at->second = left_out.empty() ? fitted_constants() : fit_constants(step_rows_, left_out);
    return at->second;
  }

  const Interval& run_factor(const std::string& left_out) {
    auto [at, is_new] = factors_.try_emplace(left_out);
    if (is_new) at->second = left_out.empty() ? whole_run_factor(true) : factor_without(left_out, constants(left_out));
    return at->second;
  }

  Refit all_in() const {
    const StepConstants constants = fit_constants(step_rows_);
    return {constants, factor_without({}, constants)};
  }

 private:
  Interval factor_without(const std::string& left_out, const StepConstants& constants) const {
    std::map<std::string, int> count;
    for (const FitRow& row : run_rows_) ++count[row.group];
    std::vector<Weighted> factors;
    for (const FitRow& row : run_rows_)
      if (row.group != left_out)
        factors.push_back({row.seconds / step_seconds(row.inputs, constants).total(), 1 / std::sqrt(count[row.group])});
    return {weighted_quantile(factors, kLow), weighted_quantile(factors, kMiddle), weighted_quantile(factors, kHigh)};
  }

  std::vector<FitRow> step_rows_, run_rows_;
  std::map<std::string, std::string> groups_;
  std::map<std::string, StepConstants> constants_;
  std::map<std::string, Interval> factors_;
};

Interval scaled(double expected, const Interval& time, bool falls_with_time) {
  if (falls_with_time) return {expected / time.high, expected / time.expected, expected / time.low};
  return {expected * time.low, expected * time.expected, expected * time.high};
}

// Of a run's time: as known setups, wider where the setup is assumed.
Interval widened(Interval factor, bool is_known) {
  const Interval usual = whole_run_factor(true), here = whole_run_factor(is_known);
  return {factor.low * here.low / usual.low, factor.expected, factor.high * here.high / usual.high};
}

std::vector<Weighted> evenly(const std::vector<double>& values) {
  std::vector<Weighted> weighted;
  for (const double value : values) weighted.push_back({value, 1});
  return weighted;
}

ErrorSummary summary(std::string quantity, const std::vector<double>& errors) {
  std::vector<double> sizes;
  for (const double error : errors) sizes.push_back(std::fabs(error));
  return {std::move(quantity), sizes.size(), weighted_quantile(evenly(sizes), kMiddle), weighted_quantile(evenly(sizes), kHigh)};
}

// One run in several figures stands in rows of one name.
ErrorSummary mfu_from_throughput(const std::vector<PublishedRun>& runs) {
  std::vector<double> errors;
  std::set<std::string> seen;
  for (const PublishedRun& given_mfu : runs) {
    const PublishedRun mfu = completed(given_mfu);
    if (mfu.quantity != "mfu" || !mfu.left_out.empty() || seen.contains(mfu.name)) continue;
    for (const PublishedRun& other : runs) {
      if (other.name != mfu.name || other.source != mfu.source) continue;
      const auto computed = mfu_of_throughput(completed(other));
      if (!computed) continue;
      errors.push_back(in_unit_of(mfu, *computed) / mfu.value - 1);
      seen.insert(mfu.name);
      break;
    }
  }
  return summary("mfu from throughput", errors);
}

class Validator {
 public:
  Validator(Fits fits, const AcceleratorTable& table, const std::string& place)
      : fits_(std::move(fits)), table_(table), place_(place) {}

  Status add(const PublishedRun& as_given) {
    const PublishedRun run = completed(as_given);
    if (std::string reason = why_left_out(run); !reason.empty()) {
      result_.left_out.push_back({run, std::move(reason)});
      return {};
    }
    SUANLI_ASSIGN_OR_RETURN(const Prepared prepared, prepare(run, table_, place_));
    const std::string group = fits_.group_of(run);
    ValidatedRow row;
    row.run = run;
    row.level = *level_of(run.quantity);
    row.assumed = prepared.settled.assumed;
    row.leaves_source_out = !group.empty() && (row.level == Level::step || row.level == Level::run);
    const std::string left_out = row.leaves_source_out ? group : std::string();
    const double seconds = step_seconds(prepared.inputs, fits_.constants(left_out)).total();
    SUANLI_ASSIGN_OR_RETURN(const double figure, figure_of(run, prepared.settled, seconds));
    row.predicted = Interval::exactly(figure);
    if (row.level == Level::step) {
      row.predicted = scaled(figure, step_time_error(prepared.settled.is_known), is_rate(run.quantity));
      const double in_sample = step_seconds(prepared.inputs, fits_.constants({})).total();
      const double error = figure / run.value * (is_rate(run.quantity) ? seconds / in_sample : in_sample / seconds) - 1;
      in_sample_.push_back(error);
      spread_.push_back(is_rate(run.quantity) ? figure / run.value : run.value / figure);
    } else if (row.level == Level::run) {
      row.predicted = scaled(figure, widened(fits_.run_factor(left_out), prepared.settled.is_known), false);
      factors_[run.group].push_back(run.value / figure);
    }
    row.error = row.predicted.expected / run.value - 1;
    row.is_within = row.predicted.low <= run.value && run.value <= row.predicted.high;
    result_.rows.push_back(std::move(row));
    return {};
  }

  Validation finish(const std::vector<PublishedRun>& runs) {
    summarise();
    result_.step_in_sample = summary("step, nothing left out", in_sample_);
    result_.mfu_from_throughput = mfu_from_throughput(runs);
    result_.constants = fits_.constants({});
    const auto quantiles = [](const std::vector<Weighted>& values) {
      return Interval{weighted_quantile(values, kLow), weighted_quantile(values, kMiddle), weighted_quantile(values, kHigh)};
    };
    result_.step_spread = quantiles(evenly(spread_));
    std::vector<Weighted> factors;
    for (const auto& [group, values] : factors_)
      for (const double value : values) factors.push_back({value, 1 / std::sqrt(static_cast<double>(values.size()))});
    result_.run_factor = quantiles(factors);
    return std::move(result_);
  }

 private:
  void summarise() {
    std::vector<std::string> order;
    std::map<std::string, std::vector<double>> errors;
    std::vector<double> step;
    for (const ValidatedRow& row : result_.rows) {
      if (!errors.contains(row.run.quantity)) order.push_back(row.run.quantity);
      errors[row.run.quantity].push_back(row.error);
      if (row.level == Level::step) step.push_back(row.error);
      if (row.level != Level::step && row.level != Level::run) continue;
      const auto count = [&row](Coverage& coverage) {
        ++coverage.rows;
        coverage.within += row.is_within ? 1 : 0;
      };
      count(row.level == Level::step ? result_.step_coverage : result_.run_coverage);
      if (row.level == Level::run && !row.run.note.starts_with("projection")) count(result_.measured_run_coverage);
    }
    for (const std::string& quantity : order) result_.quantities.push_back(summary(quantity, errors[quantity]));
    result_.step = summary("step", step);
  }

  Fits fits_;
  const AcceleratorTable& table_;
  const std::string& place_;
  Validation result_;
  std::vector<double> in_sample_, spread_;
  std::map<std::string, std::vector<double>> factors_;
};

}  // namespace

Result<Validation> validate(const std::vector<PublishedRun>& runs, const AcceleratorTable& table, const std::string& place) {
  SUANLI_ASSIGN_OR_RETURN(Fits fits, Fits::create(AcceleratorTable::built_in()));
  Validator validator(std::move(fits), table, place);
  for (const PublishedRun& run : runs) SUANLI_RETURN_IF_ERROR(validator.add(run));
  return validator.finish(runs);
}

Result<Refit> refit() {
  SUANLI_ASSIGN_OR_RETURN(const Fits fits, Fits::create(AcceleratorTable::built_in()));
  return fits.all_in();
}

}  // namespace suanli::plan
