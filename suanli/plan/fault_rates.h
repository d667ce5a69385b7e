// How often a run is interrupted: published rates per node-day, and the faults that no hardware causes.
//
// Hardware faults grow with the number of nodes. Faults of software and of people's own code do not: a job of one node dies of
// them about as often per node as one of a hundred, but jobs that run on thousands of nodes were debugged before
// (software_faults_per_day). Without that term small jobs are promised several times the life they have: Meta measured 7.9 h
// between faults of jobs on 128 nodes, where the rate of the nodes alone gives 28.8 h.
//
//   SUANLI_ASSIGN_OR_RETURN(const FaultPreset preset, fault_preset("llama3"));
//   const std::vector<Assumption> assumptions = fault_assumptions(preset, nodes);
//   ... estimate(assumptions, [&](const Values& v) { const double mtbf = mean_time_between_faults(v, nodes); ... });
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/base/units.h"
#include "suanli/plan/interval.h"
#include "suanli/plan/report.h"

namespace suanli::plan {

struct FaultPreset {
  std::string_view name;       // "llama3"
  std::string_view text;       // whose machines
  Interval per_node_day;       // interruptions of one node in a day
  int devices_per_node = 8;    // of the nodes that were counted
  bool has_software = false;   // the count has the faults of software in it
  std::string_view source;
};

// "typical" first, which is the default.
std::span<const FaultPreset> fault_presets();
// Error usage with the nearest names.
Result<FaultPreset> fault_preset(std::string_view name);

// Interruptions per day of a job on this many nodes by software, its own code and unknown causes.
Interval software_faults_per_day(double nodes);

// "faults_per_node_day" and "software_faults_per_day" of a job on `nodes` nodes of `devices_per_node` devices: the rate is
// carried over per device if the counted nodes had another number of them.
std::vector<Assumption> fault_assumptions(const FaultPreset& preset, double nodes, int devices_per_node = 8);
// The same from a mean time between faults of the whole job that someone states.
std::vector<Assumption> given_fault_assumptions(Seconds mean_time_between_faults, double nodes);
// Seconds, from these two assumptions; infinite if nothing ever fails.
double mean_time_between_faults(const Values& values, double nodes);

// Seconds until a fault is noticed, and until the job runs again from its snapshot: "detection_s", "restart_s".
std::vector<Assumption> recovery_assumptions();

}  // namespace suanli::plan
