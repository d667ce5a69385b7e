// The constants of the step-time model (step_model.h): few, each of one mechanism, fitted over all published runs at once
// (step_fit.h, docs/decisions/0009-step-time-model.md).
#pragma once

#include <span>
#include <string_view>

namespace suanli::plan {

struct StepConstants {
  double product_efficiency = 0;    // of the device's measured matmul rate, by large products inside a step
  double balance_exponent = 0;      // that share falls with FLOP/s per byte/s of the device, by this power
  double size_penalty = 0;          // products take 1 + this * (1 / (width / tensor) + 1 / tokens) times as long
  double traffic = 0;               // bytes moved per byte of activations that Korthikanti's forms count
  double attention_efficiency = 0;  // of the matmul rate, by a flash attention, its causal half counted
  double attention_balance = 0;     // that share falls with the same balance: exponentials do not run on matrix units
  double gather_exposed = 0;        // of the gathering of sharded weights that computation could hide
  double reduce_exposed = 0;        // of the exchange of gradients and weights once per step
  double fp8_gain = 0;              // of products, over bf16
  double overlapped_exposed = 0;    // of tensor-parallel exchange, by software that overlaps it

  bool operator==(const StepConstants&) const = default;
};

struct ConstantKind {
  std::string_view key;
  double StepConstants::*member;
  double prior;      // what one would take without any published run
  double spread;     // of the natural logarithm of what one would believe
  double fitted;     // over data/published-runs.csv
  std::string_view meaning;
};
std::span<const ConstantKind> constant_kinds();

StepConstants prior_constants();
StepConstants fitted_constants();

// What is not fitted.
inline constexpr double kUnmeasuredMatmulShare = 0.80;  // of the dense peak, where nothing was measured: H100 0.80, B200 0.78
inline constexpr double kSystolicMatmulShare = 0.95;    // the same of TPUs: no clock that falls under load; assumed
inline constexpr double kReferenceBalance = 150;        // FLOP/s per byte/s at which product_efficiency holds: near an A100
inline constexpr double kMixtureEfficiency = 0.6;       // of the products of experts: smaller products, all-to-all; assumed

}  // namespace suanli::plan
