#include "suanli/engine/cpu/op_test_util.h"
#include "suanli/engine/cpu/simd_targets.h"
#include "suanli/engine/cpu/tile_ops.h"

// After simd_targets.h, which says what it is compiled for.
#include <hwy/highway.h>

namespace suanli::engine {
namespace {

KernelSpec normals(std::int64_t n, std::int64_t step) {
  return {.name = "normal",
          .inputs = {},
          .outputs = {graph::f32({n})},
          .attrs = {{"mean", 0.125},
                    {"std", 0.02},
                    {"seed", std::int64_t{-3}},
                    {"stream", static_cast<std::int64_t>(Stream::test)},
                    {"step", step}}};
}

// The bits of the definition in base, on all instruction sets that run here.
TEST(Normal, IsPhiloxsOnEveryInstructionSet) {
  int sets = 0;
  for (const std::int64_t target : {HWY_SCALAR, HWY_SSE4, HWY_AVX2, HWY_AVX3, HWY_NEON}) {
    hwy::SetSupportedTargetsForTest(0);
    if ((hwy::SupportedTargets() & target) == 0) continue;
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    ++sets;
    for (const std::int64_t n : {1, 7, 33, 100'003})
      for (const std::int64_t step : {std::int64_t{5}, -(std::int64_t{1} << 40) + 9}) {
        SCOPED_TRACE(simd_name() + " " + std::to_string(n) + " step " + std::to_string(step));
        const KernelSpec spec = normals(n, step);
        const auto kernel = kernel_for(spec);
        const auto one = run_op(*kernel, spec, {});
        EXPECT_EQ(run_op(*kernel, spec, {}, {.threads = 3}), one);
        const Philox random(static_cast<std::uint64_t>(-3), Stream::test,
                            static_cast<std::uint64_t>(step));
        const std::vector<float> values = values_of<float>(one[0]);
        for (std::size_t i = 0; i < values.size(); ++i)
          ASSERT_EQ(values[i], static_cast<float>(0.125 + 0.02 * random.normal(i))) << i;
      }
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  EXPECT_GE(sets, 2);
}

}  // namespace
}  // namespace suanli::engine
