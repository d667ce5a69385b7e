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

bool is_available(ProductLoop loop) { return loop == ProductLoop::f32_fma || amx::available(); }

CalibrationLoops::CalibrationLoops(int threads) : pool_(threads), cores_(std::min(pool_.size(), available_cores())) {}

// Runs burst(thread), which returns its amount of work, on every thread until `duration` is over; the amount per second of
// all. The threads wait for one another first, which also gives each of them exactly one task.
template <typename Burst>
double CalibrationLoops::rate(Seconds duration, const Burst& burst) {
  struct Stretch {
    Seconds start, end;
    double work = 0;
  };
  const int threads = pool_.size();
  std::vector<Stretch> stretches(static_cast<std::size_t>(threads));
  std::atomic<int> arrived{0};
  pool_.parallel_for(threads, [&](std::int64_t thread, int) {
    arrived.fetch_add(1);
    while (arrived.load() < threads) std::this_thread::yield();
    Stretch mine{.start = real_clock().now(), .end = {}};
    do {
      mine.work += burst(static_cast<int>(thread));
      mine.end = real_clock().now();
    } while (mine.end - mine.start < duration || mine.end <= mine.start);
    stretches[static_cast<std::size_t>(thread)] = mine;
  });
  Stretch all = stretches.front();
  for (std::size_t i = 1; i < stretches.size(); ++i) {
    all.start = std::min(all.start, stretches[i].start);
    all.end = std::max(all.end, stretches[i].end);
    all.work += stretches[i].work;
  }
  return all.work / (all.end - all.start).value();
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
  SUANLI_CHECK(is_available(loop));
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

// Of an array that is passed over piece by piece; a thread looks at the time after each.
constexpr std::int64_t kPiece = std::int64_t{1} << 20;

void CalibrationLoops::make_memory() {
  if (from_) return;
  constexpr std::int64_t kUsual = std::int64_t{256} << 20;
  const std::int64_t beyond_caches = 4 * cpu_info().l3.value(), available = memory_info().available.value();
  std::int64_t array = std::max(kUsual, beyond_caches);
  if (available > 0) array = std::min(array, available / 8);
  slice_ = std::max<std::int64_t>(1, array / pool_.size() / kPiece) * kPiece;
  positions_.assign(static_cast<std::size_t>(pool_.size()), 0);
  const auto size = static_cast<std::size_t>(slice_ * pool_.size());
  from_ = std::make_unique_for_overwrite<std::byte[]>(size);
  to_ = std::make_unique_for_overwrite<std::byte[]>(size);
  pool_.parallel_for(pool_.size(), [&](std::int64_t thread, int) {
    std::memset(from_.get() + thread * slice_, 1, static_cast<std::size_t>(slice_));
    std::memset(to_.get() + thread * slice_, 1, static_cast<std::size_t>(slice_));
  });
}

// Where the thread's next piece lies in both arrays.
std::int64_t CalibrationLoops::next_piece(int thread) {
  std::int64_t& position = positions_[static_cast<std::size_t>(thread)];
  const std::int64_t at = thread * slice_ + position;
  position = (position + kPiece) % slice_;
  return at;
}

BytesPerSecond CalibrationLoops::read(Seconds duration) {
  make_memory();
  return BytesPerSecond(rate(duration, [&](int thread) {
    const auto* from = reinterpret_cast<const float*>(from_.get() + next_piece(thread));
    keep(HWY_DYNAMIC_DISPATCH(ReadAll)(from, kPiece / static_cast<std::int64_t>(sizeof(float))));
    return static_cast<double>(kPiece);
  }));
}

BytesPerSecond CalibrationLoops::copy(Seconds duration) {
  make_memory();
  return BytesPerSecond(rate(duration, [&](int thread) {
    const std::int64_t at = next_piece(thread);
    std::memcpy(to_.get() + at, from_.get() + at, static_cast<std::size_t>(kPiece));
    return 2.0 * static_cast<double>(kPiece);
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
  return best / cores_;
}

}  // namespace suanli::engine
#endif
