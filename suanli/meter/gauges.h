// What only the system can tell of a session: processor time, energy, memory.
#pragma once

#include <optional>
#include <string>

#include "suanli/base/clock.h"
#include "suanli/meter/energy.h"
#include "suanli/meter/ledger.h"

namespace suanli::meter {

// One thread.
class Gauges {
 public:
  // Counts from now on. `powercap` is another folder in tests.
  explicit Gauges(Clock& clock, const std::string& powercap = kPowercapFolder);

  // Adds what passed since the last call. Cheap enough for every step: processor time is read each time, energy at most every
  // 20 ms (a system call for each package), memory at most once a second (a file of the kernel to be parsed).
  void read(Totals& totals);
  // Energy alone, at most every 20 ms: between the phases of a step, which may take longer than its counters take to wrap.
  void read_energy(Totals& totals);
  // Reads all of it, however short ago the last time was.
  void read_now(Totals& totals);

 private:
  void add_energy(Totals& totals, Seconds now);
  Clock& clock_;
  std::optional<EnergyCounter> energy_;
  Seconds cpu_, energy_at_, memory_at_;
  Joules joules_;
  bool has_memory_ = false;
};

}  // namespace suanli::meter
