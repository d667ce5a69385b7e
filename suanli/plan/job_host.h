// Where a job can run, from what is known of it: a machine by its profile, an accelerator by its entry in the table, a fleet of
// both.
//
// A machine's step is the time of its very program (program_time.h). An accelerator's is a roofline over the same calls, since
// nothing of ours has run on it: rough, and said so. A fleet trains data parallel and synchronously, each machine with a share
// of the micro-batches (fleet_step.h); joint placement of stages, replicas and shares comes with the pool.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/base/units.h"
#include "suanli/engine/program.h"
#include "suanli/plan/accelerators.h"
#include "suanli/plan/fleet.h"
#include "suanli/plan/fleet_step.h"
#include "suanli/plan/job_plan.h"
#include "suanli/plan/profile.h"

namespace suanli::plan {

// The programs of a job, as training compiles them. Null: the job has none.
struct JobPrograms {
  const engine::Program* step = nullptr;
  const engine::Program* evaluation = nullptr;  // one batch
  const engine::Program* sample = nullptr;      // one token
  std::int64_t parameters = 0;
  Bytes dataset;  // that is read and digested before the first step; 0: unknown
};

// `source` says where the profile comes from; `power` overrules what was measured. Error usage if the profile lacks the
// program's arithmetic.
Result<JobHost> profile_host(const Profile& profile, const std::string& source, const JobPrograms& programs,
                             std::optional<Watts> power);
// One accelerator. Error unsupported if nothing is known of it in the program's arithmetic.
Result<JobHost> device_host(const Accelerator& device, const JobPrograms& programs, std::optional<Watts> power);
// What products reach on it in this arithmetic, measured or a usual part of the peak; and what of it the dense peak is.
struct DeviceRate {
  FlopsPerSecond matmul, dense_peak;
  std::string source;
};
Result<DeviceRate> device_rate(const Accelerator& device, engine::Arithmetic arithmetic);

// A machine of a fleet with what its name stands for: one of both.
struct FleetMember {
  Machine machine;
  std::optional<Profile> profile;
  std::optional<Accelerator> device;
};

struct MemberShare {
  std::string name;
  std::int64_t count = 1;
  std::int64_t least = 0, most = 0;  // micro-batches of a step that each takes
  Interval micro_batch;              // seconds
  double watts = 0;                  // of all of them
};

struct FleetHost {
  JobHost host;
  std::vector<FleetMember> members;  // those with something to do, and how many of each
  std::vector<MemberShare> shares;   // parallel to them; empty: one machine that is no fleet's
  Seconds all_reduce;
  std::string slowest_link;          // "a - b: 1 Gbit/s, 2 ms"; empty: one machine
};
// Members must fit (memory is the caller's to check). Errors: those of the hosts; config if two machines have no link.
Result<FleetHost> fleet_host(const Fleet& fleet, const std::vector<FleetMember>& members, const JobPrograms& programs);

}  // namespace suanli::plan
