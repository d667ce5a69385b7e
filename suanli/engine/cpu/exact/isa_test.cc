#include "suanli/engine/cpu/exact/isa.h"

#include <gtest/gtest.h>
#include <hwy/targets.h>

namespace suanli::engine::exact {
namespace {

TEST(ExactIsa, NamesAreTwoWay) {
  for (const Isa isa : kAllIsas) EXPECT_EQ(isa_from_name(name_of(isa)), isa);
  EXPECT_FALSE(isa_from_name("sse9"));
}

TEST(ExactIsa, LimitNarrowsOursAndHighways) {
  const Isa best = best_isa();
  const std::int64_t all = hwy::SupportedTargets();
  set_isa_limit(Isa::scalar);
  EXPECT_EQ(best_isa(), Isa::scalar);
  EXPECT_EQ(hwy::SupportedTargets() & ~std::int64_t{HWY_EMU128 | HWY_SCALAR}, 0);
#if defined(__x86_64__)
  set_isa_limit(Isa::avx2);
  EXPECT_LE(best_isa(), Isa::avx2);
  EXPECT_EQ(hwy::SupportedTargets() & HWY_AVX3, 0);
  EXPECT_EQ((hwy::SupportedTargets() & HWY_AVX2) != 0, best >= Isa::avx2);
#endif
  clear_isa_limit();
  EXPECT_EQ(best_isa(), best);
  EXPECT_EQ(hwy::SupportedTargets(), all);
}

}  // namespace
}  // namespace suanli::engine::exact
