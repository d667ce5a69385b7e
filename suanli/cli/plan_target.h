// Where a job is to run, as `suanli plan JOB --on X` names it: this machine, a profile, an accelerator or a fleet of these.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "suanli/cli/verb.h"
#include "suanli/engine/target.h"
#include "suanli/plan/fleet.h"
#include "suanli/plan/job_host.h"
#include "suanli/train/memory.h"

namespace suanli::cli {

struct PlanTarget {
  std::string name;                         // for people: "this machine", the file, the device
  std::vector<plan::FleetMember> members;   // one, unless a fleet
  std::optional<plan::Fleet> fleet;
  plan::AcceleratorTable devices;           // all that are known
  bool is_here = false;                     // this machine, whose free memory is the limit
  std::vector<Error> warnings;              // about profiles
};

struct TargetQuestion {
  std::string on;            // --on
  std::string devices_file;  // more accelerators; may be empty
  int threads = 0;           // that the job states; 0: none
  bool quiet = false;        // no progress
};
// `on` is empty, a profile (*.json), a fleet (*.toml) or the name of an accelerator. Without it the profile that `suanli
// calibrate` left is taken; if there is none, a quick calibration makes it, which takes 20 s and is told on stderr. Errors: of
// the files; usage if it is no device either, with the nearest names.
Result<PlanTarget> find_target(const TargetQuestion& question, const Context& context);

// What "auto" means there: bf16 where every machine has matrix units for it.
engine::Arithmetic usual_arithmetic(const PlanTarget& target);

// The most memory that the job may use on this member: what the fleet file or the job says, else what is free here, else what
// the machine has. 0 bytes: unknown.
train::MemoryLimit member_limit(const PlanTarget& target, const plan::FleetMember& member, const train::JobConfig& job);

// The plan's host for these of the target's members, which fit. Alone and without a fleet file: as it is.
Result<plan::FleetHost> host_of(const PlanTarget& target, const std::vector<plan::FleetMember>& members,
                                const plan::JobPrograms& programs);

}  // namespace suanli::cli
