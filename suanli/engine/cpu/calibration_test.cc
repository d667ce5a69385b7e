#include "suanli/engine/cpu/calibration.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <thread>


namespace suanli::engine {
namespace {

constexpr Seconds kShort(0.002);

TEST(Calibration, RatesAreThoseOfAMachine) {
  CalibrationLoops loops(2);
  const double clock = loops.clock_hz(Seconds(0.01));
  EXPECT_GT(clock, 1e7);
  EXPECT_LT(clock, 1e10);
  EXPECT_GT(loops.read(kShort).value(), 1e6);
  EXPECT_GT(loops.copy(kShort).value(), 1e6);
  EXPECT_GT(loops.products(ProductLoop::f32_fma, kShort).value(), 1e6);
}

// The limits of the instructions hold whatever else the machine does: work counted twice, or left out by the compiler, breaks
// them. The factor is for a clock that rises between the two measurements.
TEST(Calibration, NoLoopIsFasterThanItsInstructions) {
  CalibrationLoops loops(1);
  for (const ProductLoop loop : {ProductLoop::f32_fma, ProductLoop::bf16_amx}) {
    if (!is_available(loop)) continue;
    const double rate = loops.products(loop, kShort).value();
    const double clock = loops.clock_hz(Seconds(0.05));
    EXPECT_GT(rate, 0);
    EXPECT_LT(rate, 2.5 * flops_per_cycle(loop) * clock) << name_of(loop);
  }
}

TEST(Calibration, EveryThreadTakesPart) {
  CalibrationLoops loops(3);  // more threads than cores is allowed
  EXPECT_LE(loops.threads(), 3);
  EXPECT_GT(loops.products(ProductLoop::f32_fma, kShort).value(), 0);
}

// Eight threads that take turns on one core do the work of one, also where a turn is longer than the loop.
TEST(Calibration, ThreadsThatShareACoreAreNotCountedAsCores) {
  bool is_pinned = false;
  double rate = 0, clock = 0;
  int cores = 0;
  std::thread([&] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    is_pinned = sched_setaffinity(0, sizeof one, &one) == 0;
    if (!is_pinned) return;
    CalibrationLoops loops(8), alone(1);
    cores = loops.cores();
    rate = loops.products(ProductLoop::f32_fma, kShort).value();
    clock = alone.clock_hz(Seconds(0.05));
  }).join();
  if (!is_pinned) GTEST_SKIP() << "threads cannot be pinned here";
  EXPECT_EQ(cores, 1);
  EXPECT_GT(rate, 0);
  EXPECT_LT(rate, 2.5 * flops_per_cycle(ProductLoop::f32_fma) * clock);
}

TEST(Calibration, FlopsPerCycleAreWholeInstructions) {
  EXPECT_EQ(flops_per_cycle(ProductLoop::bf16_amx), 1024);
  const double f32 = flops_per_cycle(ProductLoop::f32_fma);
  EXPECT_TRUE(f32 == 64 || f32 == 32 || f32 == 16 || f32 == 4) << f32;
}

}  // namespace
}  // namespace suanli::engine
