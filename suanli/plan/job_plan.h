// What a job will take where it is to run: time, operations, memory, energy, money, snapshots and faults, each with an interval.
//
// The job is known exactly (its graph is counted, its program planned); where it runs is known as well as it was measured
// (job_host.h). What the job says comes from train, which is above this room: the caller fills JobWork.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "suanli/base/units.h"
#include "suanli/engine/program.h"
#include "suanli/graph/graph.h"
#include "suanli/plan/interval.h"
#include "suanli/plan/report.h"
#include "suanli/plan/snapshot_time.h"
#include "suanli/plan/transformer.h"

namespace suanli::plan {

// Operations of one step. `forward`, `backward` and `update` are those of graph::step_cost, to the last one.
struct StepFlops {
  double forward = 0, backward = 0, update = 0;
  double attention = 0;   // of forward and backward, as executed: the half of the square below the diagonal
  double recomputed = 0;  // that the program makes a second time
  double total() const { return forward + backward + update; }
};
StepFlops step_flops(const graph::Graph& graph, const engine::Program& program);

// What training holds in memory, by part.
struct JobMemory {
  Bytes weights, optimizer;     // the state
  Bytes gradients;              // accumulators over micro-batches; with one micro-batch they lie among the activations
  Bytes activations;            // of forward, kept for backward, and what lives within a phase: stash and arena
  Bytes inputs;
  Bytes snapshots, evaluation;  // beside the program
  // Activations of programs that keep everything, make again what is cheap, and make all blocks again.
  Bytes kept, cheap, recomputed;
  Bytes total() const {
    return weights + optimizer + gradients + activations + inputs + snapshots + evaluation;
  }
};
// From the engine's plan; `parameters` of f32.
JobMemory job_memory(const engine::MemoryPlan& plan, std::int64_t parameters, Bytes snapshots, Bytes evaluation);
// Forward values and work of a program: what recomputing changes.
Bytes activation_bytes(const engine::Program& program);

struct JobWork {
  Transformer shape;                 // for the conventions; parameters and active ones as the graph has them
  StepFlops flops;
  std::int64_t steps = 0, step_tokens = 0;
  std::int64_t evaluations = 0, evaluation_batches = 0;  // of the run; of each evaluation
  double evaluation_batch_flops = 0;
  std::int64_t samples = 0, sample_tokens = 0;           // of the run; of each sample
  double sample_token_flops = 0;
  std::int64_t checkpoint_every = 0;  // steps; 0: only after the last
  double cap = 0;                     // FLOP/s that the job may use; 0: no limit
  double budget = 0;                  // FLOPs that the run may use; 0: no limit
  JobMemory memory;
};

// Where it runs. Times are seconds.
struct JobHost {
  std::string name;
  Interval compute;                   // a step's kernels: forward, backward, update
  double update_share = 0;            // of it: what is done once in a step, not for each micro-batch
  double backward_share = 2.0 / 3;    // of a micro-batch
  std::string compute_source;
  double communication = 0;           // of a step, if nothing hides it
  double hideable = 0;                // of that, beside the last backward pass at most
  std::string communication_source;
  Interval evaluation_batch, sample_token;
  Interval start;                     // until the first step
  std::string start_source;
  SnapshotTime snapshot;
  std::string snapshot_source;
  double dense_peak = 0;              // FLOP/s of the program's arithmetic, all devices; 0: unknown
  std::string peak_source;
  Interval watts;                     // of all machines, under load
  std::string watts_source;
  double nodes = 1;
  int devices_per_node = 8;           // as fault rates count them: a machine of one's own is a node
  std::vector<Error> warnings;
  std::vector<std::string> notes;
};

struct JobTerms {
  std::vector<Assumption> faults;     // fault_assumptions() or given_fault_assumptions()
  Assumption electricity;             // USD/kWh
  Assumption overhead;                // power of the building over power of the machines
  std::optional<double> price_per_hour;  // of all machines
  std::optional<Assumption> rent;        // USD/h of all machines by a published price, where none is given
  double electricity_share = 1;          // of the power that is paid for; the price of an hour has the rest in it
};

// Of the steps that the budget pays for, with a warning if these are not all.
Report plan_job(const JobWork& work, const JobHost& host, const JobTerms& terms);

}  // namespace suanli::plan
