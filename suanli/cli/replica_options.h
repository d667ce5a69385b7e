// Flags of verbs that compute a run again.
#pragma once

#include <memory>
#include <string>

#include "suanli/cli/verb.h"
#include "suanli/proof/replica.h"

namespace suanli::cli {

struct ReplicaFlags {
  std::string isa = "best", data;
  std::int64_t threads = 0;
};
void add_replica_flags(Verb& verb, ReplicaFlags& flags);

// Narrows the instruction set of the process, verifies the dataset and compiles the job. Errors: unsupported (the CPU lacks
// the instruction set), config (another arithmetic than exact with --isa), those of Replica::create.
Result<std::unique_ptr<proof::Replica>> make_replica(const std::string& run, const ReplicaFlags& flags);
// How a run with this train.dtype computes: "exact/1", "bf16" or "f32".
std::string arithmetic_of(const std::string& dtype);
// What its kernels use; empty where the job is not one of exact arithmetic.
std::string isa_of(const proof::Replica& replica);

}  // namespace suanli::cli
