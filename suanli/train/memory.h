// What a training session holds in memory, and the program that keeps it under a limit. Explaining a job and training it ask
// the same functions, so that a limit means the same to both.
#pragma once

#include <string>

#include "suanli/base/error.h"
#include "suanli/base/units.h"
#include "suanli/engine/program.h"
#include "suanli/graph/graph.h"
#include "suanli/train/job.h"

namespace suanli::train {

// What lies in memory beside a training program.
struct BytesBeside {
  Bytes snapshots;   // state being copied and state being written, while checkpoints are made
  Bytes evaluation;  // programs that share the state: of evaluation, and of samples if the job wants any

  Bytes total() const { return snapshots + evaluation; }
};

// Two copies of the state.
Bytes snapshot_bytes(const engine::MemoryPlan& memory);
// Of programs of evaluation (if the job `evaluates`) and samples, without the state they share. `job` is settled.
Result<Bytes> evaluation_bytes(const JobConfig& job, bool evaluates);

struct TrainingPlan {
  engine::Program program;
  BytesBeside beside;

  Bytes total() const { return program.memory.total(1) + beside.total(); }
};

// `graph` is training_graph(job) of a settled job. The plan that recomputes as little as keeps total() within `limit` (0: no
// limit); if none does, the smallest that recomputing reaches, which check_memory() refuses.
Result<TrainingPlan> training_plan(const JobConfig& job, const graph::Graph& graph, Bytes evaluation, Bytes limit);

// The most a job may use.
struct MemoryLimit {
  Bytes bytes;         // 0: unknown, or none
  std::string source;  // "'run.memory_limit' is "

  // What the job says; 0 if it says nothing.
  static MemoryLimit of_job(const JobConfig& job);
  // What the job says, or else what the machine has free. To be asked before anything is used.
  static MemoryLimit of_job_or_machine(const JobConfig& job);
};

// Error no_memory, with what the plan needs and the limit.
Status check_memory(const TrainingPlan& plan, const MemoryLimit& limit);

}  // namespace suanli::train
