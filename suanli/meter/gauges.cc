#include "suanli/meter/gauges.h"

#include <algorithm>
#include <utility>

#include "suanli/base/system.h"

namespace suanli::meter {
namespace {

constexpr Seconds kEnergyEvery(0.02);

}  // namespace

Gauges::Gauges(Clock& clock, const std::string& powercap)
    : clock_(clock), cpu_(process_cpu_time()), energy_at_(clock.now()), memory_at_(energy_at_) {
  if (auto counter = EnergyCounter::open(powercap)) energy_ = std::move(*counter);
}

void Gauges::read(Totals& totals) {
  constexpr Seconds kMemoryEvery(1);
  const Seconds cpu = process_cpu_time(), now = clock_.now();
  totals.cpu += cpu - std::exchange(cpu_, cpu);
  if (now - energy_at_ >= kEnergyEvery) add_energy(totals, now);
  if (has_memory_ && now - memory_at_ < kMemoryEvery) return;
  totals.peak_resident = std::max(totals.peak_resident, peak_resident());
  memory_at_ = now;
  has_memory_ = true;
}

void Gauges::read_now(Totals& totals) {
  has_memory_ = false;
  add_energy(totals, clock_.now());
  read(totals);
}

void Gauges::read_energy(Totals& totals) {
  if (!energy_) return;
  if (const Seconds now = clock_.now(); now - energy_at_ >= kEnergyEvery) add_energy(totals, now);
}

void Gauges::add_energy(Totals& totals, Seconds now) {
  if (!energy_) return;
  const Joules joules = energy_->read();
  totals.joules += joules - std::exchange(joules_, joules);
  totals.joules_over += now - std::exchange(energy_at_, now);
}

}  // namespace suanli::meter
