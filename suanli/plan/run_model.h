// The forward model of a large run: from assumptions, parameters, tokens and devices to time, energy and money. Plans evaluate it
// once, inverse questions search in it.
#pragma once

#include <string>
#include <vector>

#include "suanli/plan/large_run_setup.h"
#include "suanli/plan/report.h"

namespace suanli::plan {

// What the model is asked about; the rest are assumptions.
struct RunSize {
  double parameters = 0, tokens = 0, devices = 0;
};

struct RunOutcome {
  double flops = 0, hardware_flops = 0, peak = 0, sustained = 0;
  double ideal_s = 0, compute_s = 0, time_s = 0;
  double steps = 0, step_s = 0;
  double faults = 0, mean_time_s = 0, stall_s = 0, interval_s = 0, goodput = 0;
  double joules = 0, watts = 0, electricity = 0, depreciation = 0, renting = 0;  // 0 where unknown
};

class RunModel {
 public:
  // `settled` outlives the model. The assumptions of faults are of the run's devices.
  RunModel(const LargeRun& run, const SettledRun& settled);

  // Error usage: no peak.
  Result<std::vector<Assumption>> assumptions() const;
  RunOutcome evaluate(const Values& values, const RunSize& size) const;

  bool knows_renting() const { return knows_renting_; }
  bool knows_owning() const { return knows_price(run_.cluster) && knows_power(run_.cluster); }
  bool knows_energy() const { return knows_power(run_.cluster); }
  // Whose money a budget is of: rented if a price per hour is given, owned if a price of a device is, else rented if it can be.
  bool is_rented() const;
  double money(const RunOutcome& outcome) const {
    return is_rented() ? outcome.renting : outcome.electricity + outcome.depreciation;
  }
  bool knows_money() const { return knows_renting_ || knows_owning(); }

 private:
  const LargeRun& run_;
  const SettledRun& settled_;
  bool knows_renting_ = false;
};

}  // namespace suanli::plan
