// Reading single fields of metrics.jsonl: whatever is missing, of another type or beyond all bounds is simply not there.
#pragma once

#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>

#include "suanli/train/metrics.h"

namespace suanli::train {

// Far beyond anything a run can count; keeps sums and ratios finite.
inline constexpr double kLargestMetric = 1e30;

template <typename Json>
std::optional<double> number_in(const Json& line, const char* key) {
  if (!line.is_object()) return std::nullopt;
  const auto found = line.find(key);
  if (found == line.end() || !found->is_number()) return std::nullopt;
  const double value = found->template get<double>();
  if (!(std::abs(value) <= kLargestMetric)) return std::nullopt;
  return value;
}

// Not below 0.
template <typename Json>
std::optional<double> amount_in(const Json& line, const char* key) {
  const auto value = number_in(line, key);
  return value && *value >= 0 ? value : std::nullopt;
}

// A count below 2^62, so that a few of them still add up.
template <typename Json>
std::optional<std::int64_t> count_in(const Json& line, const char* key) {
  const auto value = amount_in(line, key);
  constexpr double kMost = 4611686018427387904.0;
  if (!value || *value >= kMost) return std::nullopt;
  return static_cast<std::int64_t>(*value);
}

template <typename Json>
const Json* object_in(const Json& line, const char* key) {
  if (!line.is_object()) return nullptr;
  const auto found = line.find(key);
  return found != line.end() && found->is_object() ? &*found : nullptr;
}

// What a line tells of the run's spending; nothing without flops_total.
template <typename Json>
std::optional<EarlierSpent> spent_in(const Json& line) {
  const auto flops = amount_in(line, "flops_total");
  if (!flops) return std::nullopt;
  EarlierSpent spent;
  spent.flops_total = Flops(*flops);
  spent.bytes_total = Bytes(count_in(line, "bytes_total").value_or(0));
  const Json* totals = object_in(line, "totals");
  if (!totals) return spent;
  const Json* runs = object_in(*totals, "runs");
  const Json* seconds = object_in(*totals, "seconds");
  if (!runs || !seconds) return spent;
  for (const meter::Part part : meter::kParts)
    spent.totals.runs_of(part) = count_in(*runs, std::string(name_of(part)).c_str()).value_or(0);
  for (const meter::Cause cause : meter::kCauses)
    spent.totals.of(cause) = Seconds(amount_in(*seconds, std::string(name_of(cause)).c_str()).value_or(0));
  spent.totals.cpu = Seconds(amount_in(*totals, "cpu_seconds").value_or(0));
  spent.totals.joules = Joules(amount_in(*totals, "joules").value_or(0));
  spent.totals.joules_over = Seconds(amount_in(*totals, "joules_seconds").value_or(0));
  spent.totals.peak_resident = Bytes(count_in(*totals, "peak_rss_bytes").value_or(0));
  spent.has_totals = true;
  return spent;
}

}  // namespace suanli::train
