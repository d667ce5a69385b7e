#include "suanli/engine/cpu/calibration.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "suanli/base/clock.h"
#include "suanli/base/error.h"
#include "suanli/base/system.h"
#include "suanli/engine/cpu/amx.h"
#include "suanli/engine/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "suanli/engine/cpu/calibration.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "suanli/engine/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace suanli::engine::HWY_NAMESPACE {

// Enough chains for two ports of a latency of four to six cycles, and few enough for 16 registers.
constexpr int kChains = 12;

// Returns a sum so that nothing can be left out; `x` is 0.5, not known to the compiler.
float FmaRounds(std::int64_t rounds, float x) {
  const Vec factor = splat(x), term = splat(x);
  Vec chain[kChains];
  for (int k = 0; k < kChains; ++k) chain[k] = splat(static_cast<float>(k));
  for (std::int64_t r = 0; r < rounds; ++r)
    for (int k = 0; k < kChains; ++k) chain[k] = hn::MulAdd(chain[k], factor, term);
  Vec sum = chain[0];
  for (int k = 1; k < kChains; ++k) sum = hn::Add(sum, chain[k]);
  return hn::GetLane(sum);
}

double FmaFlops(std::int64_t rounds) {
  return 2.0 * static_cast<double>(kLanes) * kChains * static_cast<double>(rounds);
}

double FlopsPerCycle() { return 2.0 * 2.0 * static_cast<double>(kLanes); }

// count is a multiple of 256.
float ReadAll(const float* from, std::int64_t count) {
  Vec sum[4] = {splat(0), splat(0), splat(0), splat(0)};
  for (std::int64_t i = 0; i < count; i += 4 * static_cast<std::int64_t>(kLanes))
    for (std::size_t k = 0; k < 4; ++k) sum[k] = hn::Add(sum[k], load(from + i + k * kLanes, Whole()));
  return hn::GetLane(hn::Add(hn::Add(sum[0], sum[1]), hn::Add(sum[2], sum[3])));
}

}  // namespace suanli::engine::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace suanli::engine {

HWY_EXPORT(FmaRounds);
HWY_EXPORT(FmaFlops);
HWY_EXPORT(FlopsPerCycle);
HWY_EXPORT(ReadAll);

namespace {

void keep(float value) { asm volatile("" : : "r"(value)); }

// One loop's panels and result: 36 KiB.
struct alignas(64) Panels {
  static constexpr std::int64_t kK = 256;
  std::byte a[amx::panel_bytes(kK)], b[amx::panel_bytes(kK)];
  float c[amx::kPanel * amx::kPanel];
};

// x += y, `count` times one after the other. Both are registers and y is not known to the compiler or, being a register, to
// a renamer that folds constants: each addition takes a cycle.
void dependent_additions(std::int64_t count) {
  std::uint64_t x = 0, y = 1;
  const auto add = [&] {
    x += y;
    asm volatile("" : "+r"(x), "+r"(y));
  };
  for (std::int64_t i = 0; i < count; i += 16) {
    add(), add(), add(), add(), add(), add(), add(), add();
    add(), add(), add(), add(), add(), add(), add(), add();
  }
}

}  // namespace

const char* name_of(ProductLoop loop) {
  return loop == ProductLoop::bf16_amx ? "bf16 AMX tiles fed from L1" : "f32 FMA in registers";
}

double flops_per_cycle(ProductLoop loop) {
  return loop == ProductLoop::bf16_amx ? 1024 : HWY_DYNAMIC_DISPATCH(FlopsPerCycle)();
}

CalibrationLoops::CalibrationLoops(int threads) : pool_(threads) {}

// Runs burst(thread), which returns its amount of work, on every thread until `duration` is over; the amounts per second.
// The threads wait for one another first, which also gives each of them exactly one task.
template <typename Burst>
double CalibrationLoops::rate(Seconds duration, const Burst& burst) {
  const int threads = pool_.size();
  std::vector<double> rates(static_cast<std::size_t>(threads));
  std::atomic<int> arrived{0};
  pool_.parallel_for(threads, [&](std::int64_t thread, int) {
    arrived.fetch_add(1);
    while (arrived.load() < threads) std::this_thread::yield();
    const Seconds start = real_clock().now();
    double work = 0;
    Seconds took;
    do {
      work += burst(static_cast<int>(thread));
      took = real_clock().now() - start;
    } while (took < duration || took <= Seconds(0));
    rates[static_cast<std::size_t>(thread)] = work / took.value();
  });
  double sum = 0;
  for (const double each : rates) sum += each;
  return sum;
}

FlopsPerSecond CalibrationLoops::products(ProductLoop loop, Seconds duration) {
  if (loop == ProductLoop::f32_fma) {
    constexpr std::int64_t kRounds = 4096;
    return FlopsPerSecond(rate(duration, [](int) {
      float half = 0.5F;
      asm volatile("" : "+r"(half));
      keep(HWY_DYNAMIC_DISPATCH(FmaRounds)(kRounds, half));
      return HWY_DYNAMIC_DISPATCH(FmaFlops)(kRounds);
    }));
  }
  SUANLI_CHECK(amx::available());
  std::vector<Panels> panels(static_cast<std::size_t>(pool_.size()));
  for (Panels& each : panels) {  // small numbers: all bits 0x3c00 are 2^-7
    for (std::size_t i = 0; i < sizeof each.a; i += 2)
      each.a[i] = each.b[i] = std::byte{0x00}, each.a[i + 1] = each.b[i + 1] = std::byte{0x3c};
  }
  return FlopsPerSecond(rate(duration, [&](int thread) {
    constexpr int kProducts = 64;
    Panels& mine = panels[static_cast<std::size_t>(thread)];
    const amx::Tiles tiles;
    for (int i = 0; i < kProducts; ++i)
      amx::multiply(mine.a, mine.b, amx::steps_of(Panels::kK), mine.c, amx::kPanel, false);
    return 2.0 * amx::kPanel * amx::kPanel * Panels::kK * kProducts;
  }));
}

void CalibrationLoops::make_memory() {
  if (from_) return;
  constexpr std::int64_t kMost = std::int64_t{512} << 20, kLeast = std::int64_t{1} << 20;
  const std::int64_t available = memory_info().available.value();
  const std::int64_t total = available > 0 ? std::min(kMost, available / 4) : kMost;
  slice_ = std::max(kLeast, total / (2 * pool_.size()) / 4096 * 4096);
  const auto size = static_cast<std::size_t>(slice_ * pool_.size());
  from_ = std::make_unique_for_overwrite<std::byte[]>(size);
  to_ = std::make_unique_for_overwrite<std::byte[]>(size);
  std::memset(from_.get(), 1, size);
  std::memset(to_.get(), 1, size);
}

BytesPerSecond CalibrationLoops::read(Seconds duration) {
  make_memory();
  return BytesPerSecond(rate(duration, [&](int thread) {
    const auto* from = reinterpret_cast<const float*>(from_.get() + thread * slice_);
    keep(HWY_DYNAMIC_DISPATCH(ReadAll)(from, slice_ / 4));
    return static_cast<double>(slice_);
  }));
}

BytesPerSecond CalibrationLoops::copy(Seconds duration) {
  make_memory();
  return BytesPerSecond(rate(duration, [&](int thread) {
    std::memcpy(to_.get() + thread * slice_, from_.get() + thread * slice_, static_cast<std::size_t>(slice_));
    return 2.0 * static_cast<double>(slice_);
  }));
}

double CalibrationLoops::clock_hz(Seconds duration) {
  constexpr int kStretches = 5;
  double best = 0;
  for (int i = 0; i < kStretches; ++i)
    best = std::max(best, rate(duration / double{kStretches}, [](int) {
      constexpr std::int64_t kAdditions = 1 << 16;
      dependent_additions(kAdditions);
      return static_cast<double>(kAdditions);
    }));
  return best / pool_.size();
}

}  // namespace suanli::engine
#endif
