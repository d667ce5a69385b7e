#include "suanli/plan/calibrate_limits.h"

#include <algorithm>

#include "suanli/meter/peak.h"
#include "suanli/plan/core_wait.h"

namespace suanli::plan {
namespace {

// So wide that four of five calibrations within an hour of a shared virtual machine agree (docs/benchmarks.md, "Calibration").
constexpr double kFloorClock = 0.10, kFloorMultiplyAdds = 0.08, kFloorTiles = 0.45, kFloorMemory = 0.15;

}  // namespace

LimitSampler::LimitSampler(const std::vector<engine::Arithmetic>& arithmetics, int threads) : loops_(threads) {
  for (const engine::Arithmetic each : arithmetics)
    peaks_.push_back({each, meter::product_loop(each, engine::is_available(engine::ProductLoop::bf16_amx))});
}

void LimitSampler::sample(Seconds each) {
  Disturbance others;
  const auto add = [&](Samples& samples, double value) { samples.add(value, others.was_disturbed()); };
  add(fma_, loops_.products(engine::ProductLoop::f32_fma, each).value());
  if (std::ranges::any_of(peaks_, [](const Peak& peak) { return peak.loop == engine::ProductLoop::bf16_amx; }))
    add(tiles_, loops_.products(engine::ProductLoop::bf16_amx, each).value());
  add(read_, loops_.read(each).value());
  add(copy_, loops_.copy(each).value());
  add(clock_, loops_.clock_hz(each));
}

void LimitSampler::describe(Profile& profile) const {
  profile.threads = loops_.threads();
  profile.clock_hz = clock_.interval(kFloorClock);
  profile.read = read_.interval(kFloorMemory);
  profile.copy = copy_.interval(kFloorMemory);
  profile.elementwise = fma_.interval(kFloorMultiplyAdds);
  for (const Peak& each : peaks_) {
    const bool tiles = each.loop == engine::ProductLoop::bf16_amx;
    profile.peaks.push_back({.arithmetic = each.arithmetic,
                             .loop = engine::name_of(each.loop),
                             .flops_per_second = tiles ? tiles_.interval(kFloorTiles) : profile.elementwise,
                             .nominal = engine::flops_per_cycle(each.loop) * profile.clock_hz.expected * loops_.cores()});
  }
}

}  // namespace suanli::plan
