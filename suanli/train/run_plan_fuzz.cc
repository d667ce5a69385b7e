#include <cstdint>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/train/run_plan.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace suanli::train;
  const auto plan = parse_run_plan({reinterpret_cast<const char*>(data), size}, "plan.json");
  if (!plan) {
    SUANLI_CHECK(plan.error().place.starts_with("plan.json"));
    return 0;
  }
  SUANLI_CHECK(plan->step.low <= plan->step.expected && plan->step.expected <= plan->step.high);
  const std::string text = print_run_plan(*plan);
  const auto again = parse_run_plan(text, "plan.json");
  SUANLI_CHECK(again && print_run_plan(*again) == text);
  return 0;
}

std::vector<std::string> suanli_fuzz_seeds() {
  suanli::train::RunPlan plan;
  plan.step = {0.1, 0.2, 0.3};
  plan.step_flops = suanli::Flops(1e9);
  plan.unmeasured = {"matmul forward", "adamw"};
  return {suanli::train::print_run_plan(plan)};
}
