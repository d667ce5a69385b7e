#include "suanli/plan/rate_table.h"

#include <algorithm>
#include <cmath>

namespace suanli::plan {
namespace {

// Sizes apart by this factor of e say little about one another: about 12 times as large.
constexpr double kRange = 2.5;
// Of a measured logarithm, so that two calls of nearly the same size that were measured differently bend nothing.
constexpr double kNoise = 0.02;
// A class of which nothing was measured, nor of its relatives: as far above the limits as kernels usually are, give or take.
constexpr double kUsualExcess = 2.0, kUsualSpread = 2.0;
// What is unsure about a size far from all that were measured, and about a kind that is told from another, as factors.
constexpr double kFarSpread = 1.3, kRelativeSpread = 1.5;

double correlation(const std::vector<double>& a, const std::vector<double>& b) {
  double squares = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) squares += std::pow(std::log(a[i] / b[i]), 2);
  return std::exp(-std::sqrt(squares) / kRange);
}

// Of a symmetric positive definite matrix, by Gauss and Jordan; the diagonal is the largest of its row and column here, so that
// no pivoting is needed.
std::vector<double> inverse_of(std::vector<double> a, std::size_t n) {
  std::vector<double> inverse(n * n, 0);
  for (std::size_t i = 0; i < n; ++i) inverse[i * n + i] = 1;
  for (std::size_t k = 0; k < n; ++k) {
    const double pivot = a[k * n + k];
    for (std::size_t j = 0; j < n; ++j) a[k * n + j] /= pivot, inverse[k * n + j] /= pivot;
    for (std::size_t i = 0; i < n; ++i) {
      const double factor = a[i * n + k];
      if (i == k || factor == 0) continue;
      for (std::size_t j = 0; j < n; ++j) {
        a[i * n + j] -= factor * a[k * n + j];
        inverse[i * n + j] -= factor * inverse[k * n + j];
      }
    }
  }
  return inverse;
}

bool same_sizes(const KernelRate& rate, std::size_t count) { return rate.sizes.size() == count; }

}  // namespace

RateTable::RateTable(const Profile& profile, engine::Arithmetic arithmetic) : profile_(profile) {
  const Profile::Peak* peak = profile.peak(arithmetic);
  product_rate_ = peak != nullptr ? peak->flops_per_second : profile.elementwise;
  std::vector<std::pair<std::string, std::vector<const KernelRate*>>> by_kind;
  for (const KernelRate& rate : profile.kernels) {
    if (rate.arithmetic != arithmetic || rate.sizes.empty()) continue;
    auto found = std::ranges::find(by_kind, rate.kind, &decltype(by_kind)::value_type::first);
    if (found == by_kind.end()) found = by_kind.insert(by_kind.end(), {rate.kind, {}});
    // A hand-made profile may count sizes otherwise: only those that agree with the first are comparable.
    if (found->second.empty() || same_sizes(rate, found->second.front()->sizes.size())) found->second.push_back(&rate);
  }
  for (auto& [name, rates] : by_kind) kinds_.push_back(make_kind(name, std::move(rates)));
}

Interval RateTable::roofline(double flops, double bytes, bool is_product) const {
  const Interval& rate = is_product ? product_rate_ : profile_.elementwise;
  const Interval &memory = profile_.copy, &launch = profile_.launch_seconds;
  return {flops / rate.high + bytes / memory.high + launch.low, flops / rate.expected + bytes / memory.expected + launch.expected,
          flops / rate.low + bytes / memory.low + launch.high};
}

double RateTable::expected_roofline(const KernelRate& rate) const {
  return roofline(rate.flops, rate.bytes, is_product_kind(rate.kind)).expected;
}

RateTable::Kind RateTable::make_kind(const std::string& name, std::vector<const KernelRate*> rates) const {
  Kind kind{.name = name, .rates = std::move(rates), .inverse = {}, .excess = {}, .weighted = {}};
  const std::size_t n = kind.rates.size();
  std::vector<double> correlations(n * n);
  for (std::size_t i = 0; i < n; ++i) {
    kind.excess.push_back(std::log(kind.rates[i]->seconds.expected / expected_roofline(*kind.rates[i])));
    for (std::size_t j = 0; j < n; ++j) correlations[i * n + j] = correlation(kind.rates[i]->sizes, kind.rates[j]->sizes);
    correlations[i * n + i] += kNoise;
  }
  kind.inverse = inverse_of(std::move(correlations), n);
  // The best estimate of a common mean: each point counts for as much as it says on its own.
  double weights = 0;
  for (std::size_t i = 0; i < n; ++i) {
    double weight = 0;
    for (std::size_t j = 0; j < n; ++j) weight += kind.inverse[i * n + j];
    weights += weight;
    kind.mean += weight * kind.excess[i];
  }
  kind.mean /= weights;
  kind.weighted.resize(n);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j) kind.weighted[i] += kind.inverse[i * n + j] * (kind.excess[j] - kind.mean);
  return kind;
}

const RateTable::Kind* RateTable::find(const std::string& name) const {
  const auto found = std::ranges::find(kinds_, name, &Kind::name);
  return found == kinds_.end() ? nullptr : &*found;
}

RateTable::Estimate RateTable::estimate(const CallClass& call) const {
  const Interval limit = roofline(call.flops, call.bytes, call.is_product);
  const double rate = (call.is_product ? product_rate_ : profile_.elementwise).expected;
  Estimate found;
  found.is_memory_bound = call.bytes / profile_.copy.expected > call.flops / rate;
  const Kind* kind = find(call.kind);
  if (kind == nullptr) {
    found.is_measured = false;
    for (const std::string& each : related_kinds(call.kind))
      if (kind = find(each); kind != nullptr && same_sizes(*kind->rates.front(), call.sizes.size())) break;
      else kind = nullptr;
  }
  if (kind == nullptr) {
    const double expected = limit.expected * kUsualExcess;
    found.seconds = {std::min(limit.expected, expected / kUsualSpread), expected, expected * kUsualSpread};
    return found;
  }
  const std::size_t n = kind->rates.size();
  std::vector<double> near(n);
  for (std::size_t i = 0; i < n; ++i) near[i] = correlation(call.sizes, kind->rates[i]->sizes);
  double excess = kind->mean, known = 0, low = 0, high = 0, total = 0;
  for (std::size_t i = 0; i < n; ++i) {
    double weight = 0;
    for (std::size_t j = 0; j < n; ++j) weight += kind->inverse[i * n + j] * near[j];
    excess += near[i] * kind->weighted[i];
    known += weight * near[i];
    // The spread of what was measured nearby.
    const Interval& seconds = kind->rates[i]->seconds;
    low += near[i] * std::log(seconds.expected / seconds.low);
    high += near[i] * std::log(seconds.high / seconds.expected);
    total += near[i];
  }
  const double expected = limit.expected * std::exp(excess);
  const double far = found.is_measured ? std::sqrt(std::max(0.0, 1 - known)) * std::log(kFarSpread) : std::log(kRelativeSpread);
  found.seconds = {expected * std::exp(-std::hypot(low / total, far)), expected,
                   expected * std::exp(std::hypot(high / total, far))};
  return found;
}

}  // namespace suanli::plan
