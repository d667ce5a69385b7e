// What a job's plan takes as given beside the machines: prices and faults, from flags or from what is usual.
#pragma once

#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/plan/job_host.h"
#include "suanli/plan/job_plan.h"

namespace suanli::cli {

// As given; empty: the usual ones (plan_options.h).
struct TermFlags {
  std::string price_per_hour, electricity, mtbf, fault_preset;
};

// `members` are those of `host`. Errors (usage) name the flag, also one that contradicts another or the fleet's file.
Result<plan::JobTerms> terms_of(const TermFlags& flags, const plan::FleetHost& host,
                                const std::vector<plan::FleetMember>& members);

}  // namespace suanli::cli
