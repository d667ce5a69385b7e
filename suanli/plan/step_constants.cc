#include "suanli/plan/step_constants.h"

namespace suanli::plan {
namespace {

using C = StepConstants;

// `fitted` is what fit_constants() finds; a test holds both equal, and prints the new values when the data has changed.
constexpr ConstantKind kKinds[] = {
    {"product_efficiency", &C::product_efficiency, 0.85, 0.2, 0.8697,
     "share of the device's measured matmul rate that large products reach inside a step"},
    {"balance_exponent", &C::balance_exponent, 0.15, 0.5, 0.1414,
     "that share falls with the device's FLOP/s per byte/s, by this power"},
    {"size_penalty", &C::size_penalty, 150, 0.8, 163.9,
     "products take 1 + this * (1 / (width / tensor degree) + 1 / tokens) times as long"},
    {"traffic", &C::traffic, 3, 0.5, 3.397, "bytes moved per byte of kept activations"},
    {"attention_efficiency", &C::attention_efficiency, 0.36, 0.25, 0.4329,
     "share of the matmul rate that flash attention reaches, causal half counted"},
    {"attention_balance", &C::attention_balance, 0.9, 0.3, 0.7669, "that share falls with the device's balance, by this power"},
    {"gather_exposed", &C::gather_exposed, 0.3, 0.7, 0.3859,
     "share of the gathering of sharded weights that is not hidden although computation would last long enough"},
    {"reduce_exposed", &C::reduce_exposed, 0.5, 0.7, 0.5341,
     "share of the once-per-step exchange of gradients and weights that is not hidden"},
    {"fp8_gain", &C::fp8_gain, 1.5, 0.1, 1.609, "speed of fp8 products over bf16"},
    {"overlapped_exposed", &C::overlapped_exposed, 0.3, 0.7, 0.2417,
     "share of tensor-parallel exchange that is not hidden by software that overlaps it"},
};

}  // namespace

std::span<const ConstantKind> constant_kinds() { return kKinds; }

StepConstants prior_constants() {
  StepConstants constants;
  for (const ConstantKind& kind : kKinds) constants.*kind.member = kind.prior;
  return constants;
}

StepConstants fitted_constants() {
  StepConstants constants;
  for (const ConstantKind& kind : kKinds) constants.*kind.member = kind.fitted;
  return constants;
}

}  // namespace suanli::plan
