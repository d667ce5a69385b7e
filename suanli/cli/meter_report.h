// What a run really used, and how that compares with what it was to take.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/cli/output.h"
#include "suanli/cli/terminal.h"
#include "suanli/meter/ledger.h"
#include "suanli/plan/profile.h"
#include "suanli/plan/report.h"
#include "suanli/train/run_folder.h"
#include "suanli/train/run_plan.h"
#include "suanli/train/run_records.h"

namespace suanli::cli {

// What a run cost is judged by. Nothing stated: the usual price of electricity, and the machine's own counters.
struct MeterTerms {
  std::optional<double> price_per_hour;  // USD, of the machine
  plan::Assumption electricity;          // "usd_per_kwh", as electricity_price() makes it
  bool electricity_is_given = false;     // else a price of the machine has the electricity in it, as for `suanli plan`
  std::optional<Watts> watts;            // of the machine under load
  const plan::Profile* profile = nullptr;  // of the machine, for its watts and a plan; null: none is known
  bool profile_is_given = false;         // then it replaces the plan that the run keeps
};

// One thing that was planned.
struct Deviation {
  std::string item;        // "step time", "time", "FLOPs", "memory"
  std::string unit;        // as plan::Assumption::unit
  plan::Interval planned;
  double actual = 0;
  std::string why;                   // of the interval; may be empty
  std::vector<std::string> reasons;  // if the actual value is outside the interval

  double relative() const { return actual / planned.expected - 1; }
  bool is_inside() const { return actual >= planned.low && actual <= planned.high; }
};

struct Planned {
  std::string source;      // "plan.json of the run, from the profile of ..."
  std::vector<Deviation> items;
};

struct MeterReport {
  std::string run;
  train::RunDescription description;
  train::RunRecords records;
  meter::Usage usage;                     // of the run; operations by op as far as they are known by name
  Flops unnamed;                          // the rest of them
  bool causes_are_known = true;           // false: nothing tells where the seconds went
  plan::Interval step_seconds;            // 10th percentile, median, 90th percentile of the steps
  bool energy_is_measured = false;
  std::optional<Planned> planned;
  plan::Report report;                    // figures, assumptions, warnings, notes
};

// Errors: those of describe_run and read_run_records; empty if no step was done.
Result<MeterReport> meter_run(const std::string& run, const MeterTerms& terms);

// meter_plan.cc: what `plan` says beside what the run took.
Planned planned_against_actual(const MeterReport& meter, const train::RunPlan& plan, std::string source);

// meter_text.cc. `why` explains each figure.
std::string meter_text(const MeterReport& meter, const Terminal& terminal, bool why);
Json meter_json(const MeterReport& meter);

}  // namespace suanli::cli
