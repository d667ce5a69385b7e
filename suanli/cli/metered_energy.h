// Energy and money of a run: counted by the machine where it counts, else estimated from a power.
#pragma once

#include "suanli/cli/meter_report.h"

namespace suanli::cli {

struct MeteredEnergy {
  bool is_measured = false;  // by the counters of the machine, over all of the time
  plan::Report report;       // energy, electricity, money
};
MeteredEnergy metered_energy(const meter::Totals& totals, const MeterTerms& terms, const train::RunRecords& records);

}  // namespace suanli::cli
