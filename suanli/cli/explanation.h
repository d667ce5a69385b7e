// What a job's program is and costs, from compiling it; nothing is run.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "suanli/base/sha256.h"
#include "suanli/cli/output.h"
#include "suanli/engine/program.h"
#include "suanli/graph/cut.h"
#include "suanli/graph/graph.h"
#include "suanli/train/job.h"
#include "suanli/train/memory.h"

namespace suanli::cli {

// One of the three phases; FLOPs and bytes are per step.
struct PhaseUse {
  graph::Phase phase = graph::Phase::forward;
  std::int64_t runs = 1;  // per step
  std::size_t nodes = 0;  // of the graph, per run
  std::size_t calls = 0;  // of kernels, per run
  double flops = 0;
  double bytes_before = 0;  // moved if every node ran by itself
  double bytes_after = 0;   // by the calls
};

// All calls of one phase that run the same code.
struct KernelUse {
  graph::Phase phase = graph::Phase::forward;
  std::string kernel, implementation;
  std::size_t calls = 0;        // per run
  double flops = 0, bytes = 0;  // per step
};

struct Explanation {
  train::JobConfig job;  // settled
  graph::Graph graph;
  engine::Program program;
  train::BytesBeside beside;  // in memory
  Digest digest;
  std::int64_t parameters = 0, step_tokens = 0;
  std::array<PhaseUse, 3> phases;
  std::vector<KernelUse> kernels;
  std::vector<graph::CutPoint> cuts;
  std::array<std::vector<std::string>, 3> implementations;  // parallel to the program's calls
};

// `job` is settled; `evaluates`: its dataset has a validation split, whose evaluation needs memory too. Errors: of the graph or
// the compiler; no_memory if the job's memory limit cannot be kept.
Result<Explanation> explain(const train::JobConfig& job, bool evaluates);

std::string explanation_text(const Explanation& explanation);
std::string calls_text(const Explanation& explanation);
// `measured` is null if nothing was run.
Json explanation_json(const Explanation& explanation, const Json& measured);

}  // namespace suanli::cli
