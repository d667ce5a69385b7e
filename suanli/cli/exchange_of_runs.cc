#include "suanli/cli/exchange_of_runs.h"

#include <algorithm>

#include "suanli/base/text.h"
#include "suanli/cli/chart.h"

namespace suanli::cli {
namespace {

constexpr int kLevels = 5;

// Mean over the steps that tell it; 0 if none does.
double mean_seconds(const train::RunRecords& records) {
  double sum = 0, count = 0;
  for (const train::StepTimeRecord& step : records.steps) {
    if (step.seconds.value() <= 0) continue;
    sum += step.seconds.value();
    ++count;
  }
  return count > 0 ? sum / count : 0;
}

// The session that did this step: the last one that began before it.
const train::SessionRecord* session_of(const train::RunRecords& records, std::int64_t step) {
  const train::SessionRecord* found = nullptr;
  for (const train::SessionRecord& session : records.sessions)
    if (session.first_step < step || found == nullptr) found = &session;
  return found;
}

// Adds up the steps, one after the other.
class Walk {
 public:
  explicit Walk(const train::RunRecords& records) : records_(records), mean_(mean_seconds(records)) {}

  const CostToQuality& to(std::int64_t step) {
    while (done_ < step) {
      const std::int64_t next = done_ + 1;
      while (at_ < records_.steps.size() && records_.steps[at_].step < next) ++at_;
      const bool is_told = at_ < records_.steps.size() && records_.steps[at_].step == next;
      // Lines are lost from here up to the next one that is there, or to the end.
      const std::int64_t until =
          is_told ? next : std::min(step, at_ < records_.steps.size() ? records_.steps[at_].step - 1 : step);
      add(next, until, is_told ? &records_.steps[at_] : nullptr);
    }
    return cost_;
  }

 private:
  // Steps `from` to `to`, all of one session; `told` is their line, if there is one.
  void add(std::int64_t from, std::int64_t to, const train::StepTimeRecord* told) {
    const auto count = static_cast<double>(to - from + 1);
    const train::SessionRecord* session = session_of(records_, from);
    done_ = to;
    cost_.step = static_cast<double>(to);
    if (session) cost_.operations += session->step_flops * count;
    const bool has_seconds = told && told->seconds.value() > 0;
    cost_.seconds += Seconds(has_seconds ? told->seconds.value() : mean_ * count);
    const bool has_tokens = told && told->tokens.value() > 0;
    if (has_tokens)
      cost_.tokens += static_cast<double>(told->tokens.value());
    else if (session)
      cost_.tokens += static_cast<double>(session->step_tokens.value()) * count;
    if (told && told->joules_total.value() > 0) cost_.joules = told->joules_total;
  }

  const train::RunRecords& records_;
  const double mean_;
  std::size_t at_ = 0;
  std::int64_t done_ = 0;
  CostToQuality cost_;
};

CostToQuality between(const CostToQuality& a, const CostToQuality& b, double share) {
  CostToQuality cost;
  const auto mix = [&](auto from, auto to) { return from + (to - from) * share; };
  cost.step = mix(a.step, b.step);
  cost.operations = mix(a.operations, b.operations);
  cost.seconds = mix(a.seconds, b.seconds);
  cost.tokens = mix(a.tokens, b.tokens);
  if (a.joules && b.joules) cost.joules = mix(*a.joules, *b.joules);
  return cost;
}

double best_of(const std::vector<QualityPoint>& points) {
  return std::ranges::min_element(points, {}, &QualityPoint::loss)->loss;
}

std::string span_text(const std::vector<QualityPoint>& points) {
  return format("%.3f to %.3f", points.front().loss, best_of(points));
}

}  // namespace

std::vector<QualityPoint> quality_points(const train::RunRecords& records) {
  std::vector<QualityPoint> points;
  Walk walk(records);
  // The last evaluations may be of steps whose lines are lost; a step far beyond all others is no step of this run.
  std::int64_t last = records.last_step();
  for (const train::SessionRecord& session : records.sessions) last = std::max(last, session.steps);
  for (const train::ValidLossRecord& eval : records.evals)
    if (eval.step <= last) points.push_back({eval.loss, walk.to(eval.step)});
  return points;
}

std::optional<CostToQuality> cost_to_loss(const std::vector<QualityPoint>& points, double loss) {
  const auto reached = std::ranges::find_if(points, [&](const QualityPoint& point) { return point.loss <= loss; });
  if (reached == points.end()) return std::nullopt;
  if (reached->loss == loss) return reached->cost;
  if (reached == points.begin()) return std::nullopt;
  const QualityPoint& before = *(reached - 1);
  return between(before.cost, reached->cost, (before.loss - loss) / (before.loss - reached->loss));
}

Result<std::vector<ExchangeLevel>> exchange_levels(const std::vector<QualityPoint>& first,
                                                   const std::vector<QualityPoint>& second) {
  SUANLI_CHECK(!first.empty() && !second.empty());
  const double high = std::min(first.front().loss, second.front().loss);
  const double low = std::max(best_of(first), best_of(second));
  if (low > high)
    return fail(ErrorCode::mismatch,
                "there is no validation loss that both runs passed: the first went from " + span_text(first) +
                    ", the second from " + span_text(second),
                "", "train the worse one on, or evaluate earlier (eval.every)");
  std::vector<double> losses;
  if (high > low) losses = ticks({low, high}, kLevels);
  std::ranges::sort(losses, std::ranges::greater());
  losses.push_back(low);
  std::vector<ExchangeLevel> levels;
  for (const double loss : losses) {
    const bool is_best = loss == low;
    if (loss < low || loss > high || (is_best && !levels.empty() && levels.back().is_best)) continue;
    const auto a = cost_to_loss(first, loss), b = cost_to_loss(second, loss);
    if (a && b) levels.push_back({loss, is_best, *a, *b});
  }
  return levels;
}

}  // namespace suanli::cli
