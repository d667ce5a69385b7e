#include <algorithm>

#include "suanli/engine/cpu/kernel_support.h"
#include "suanli/engine/cpu/region_kernel.h"

namespace suanli::engine {
namespace {

bool is_real(graph::DType dtype) {
  return dtype == graph::DType::f32 || dtype == graph::DType::bf16;
}

Result<std::unique_ptr<Kernel>> make(const KernelSpec& spec) {
  SUANLI_CHECK(spec.region != nullptr);
  const Region& region = *spec.region;
  const bool known = std::all_of(region.inputs.begin(), region.inputs.end(),
                                 [](const RegionInput& input) { return is_real(input.dtype); }) &&
                     std::all_of(region.outputs.begin(), region.outputs.end(),
                                 [](const RegionOutput& output) { return is_real(output.dtype); });
  const bool by_row = std::any_of(region.code.begin(), region.code.end(),
                                  [](const RegionInstruction& step) { return is_row_op(step.op); });
  if (!known || (by_row && !region.shape.empty() && region.shape.back() > kLongestRow))
    return unsupported(spec);
  return make_region_kernel(region);
}

}  // namespace

void register_region(KernelTable& table) { table.add("region", make); }

}  // namespace suanli::engine
