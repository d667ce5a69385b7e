#include "suanli/meter/peak.h"

#include <gtest/gtest.h>

#include "suanli/base/thread_pool.h"
#include "suanli/base/ticking_clock.h"

namespace suanli::meter {
namespace {

TEST(Peak, IsARateOfThisMachine) {
  const auto device = engine::make_cpu_device(1);
  for (const auto arithmetic : {engine::Arithmetic::f32, engine::Arithmetic::bf16}) {
    const auto peak = measure_peak(*device, arithmetic, real_clock(),
                                   {.size = 128, .products = 2, .duration = Seconds(0)});
    if (!peak && peak.error().code == ErrorCode::unsupported) continue;
    ASSERT_TRUE(peak) << peak.error().to_string();
    EXPECT_GT(peak->value(), 1e6);
    EXPECT_LT(peak->value(), 1e18);
  }
}

TEST(Peak, IsWorkOverTimeOnTheClockGiven) {
  TickingClock clock;
  const auto device = engine::make_cpu_device(1);
  const auto peak =
      measure_peak(*device, engine::Arithmetic::f32, clock, {.size = 64, .products = 3});
  ASSERT_TRUE(peak) << peak.error().to_string();
  EXPECT_EQ(*peak, FlopsPerSecond(3 * 2.0 * 64 * 64 * 64));
}

TEST(Peak, WithoutTilesBf16IsHeldAgainstF32) {
  using engine::Arithmetic, engine::ProductLoop;
  EXPECT_EQ(product_loop(Arithmetic::bf16, true), ProductLoop::bf16_amx);
  EXPECT_EQ(product_loop(Arithmetic::bf16, false), ProductLoop::f32_fma);
  EXPECT_EQ(product_loop(Arithmetic::f32, true), ProductLoop::f32_fma);
}

TEST(Peak, CalibrationIsTheMedianOfItsSamples) {
  Calibrator calibrator(engine::Arithmetic::f32, 1);
  for (int i = 0; i < 3; ++i) calibrator.sample(Seconds(0.002));
  const Calibration rates = calibrator.result();
  EXPECT_EQ(rates.loop, engine::ProductLoop::f32_fma);
  EXPECT_GT(rates.products.value(), 0);
  EXPECT_EQ(rates.nominal.value(), engine::flops_per_cycle(rates.loop) * rates.clock_hz);
  EXPECT_EQ(rates.threads, 1);
  EXPECT_EQ(rates.cores, 1);
  EXPECT_EQ(rates.memory.value(), 0) << "was not sampled";
  calibrator.sample_elementwise_and_memory(Seconds(0.002));
  EXPECT_GT(calibrator.result().memory.value(), 0);
  EXPECT_GT(calibrator.result().elementwise.value(), 0);
}

TEST(Peak, NominalCountsCoresNotThreads) {
  const int cores = available_cores();
  Calibrator calibrator(engine::Arithmetic::f32, 2 * cores);
  calibrator.sample(Seconds(0.002));
  const Calibration rates = calibrator.result();
  EXPECT_EQ(rates.cores, cores);
  EXPECT_EQ(rates.nominal.value(), engine::flops_per_cycle(rates.loop) * rates.clock_hz * cores);
}

}  // namespace
}  // namespace suanli::meter
