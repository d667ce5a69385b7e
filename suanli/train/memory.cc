#include "suanli/train/memory.h"

#include <limits>

#include "suanli/base/system.h"
#include "suanli/base/text.h"
#include "suanli/engine/compile.h"
#include "suanli/train/setup.h"

namespace suanli::train {
namespace {

Result<Bytes> beside_state(const Result<graph::Graph>& graph, engine::Arithmetic arithmetic) {
  if (!graph) return tl::unexpected(graph.error());
  SUANLI_ASSIGN_OR_RETURN(const engine::Program program, engine::compile(*graph, {.arithmetic = arithmetic}));
  return program.memory.total(1) - program.memory.state;
}

Bytes size_of(const engine::Program& program) { return program.memory.total(1); }

// Of `program` and the one that recomputes all blocks.
Result<engine::Program> smallest(const graph::Graph& graph, engine::Program program) {
  engine::Target target = program.target;
  target.recompute.blocks = std::numeric_limits<int>::max();
  SUANLI_ASSIGN_OR_RETURN(engine::Program other, engine::compile(graph, target));
  return size_of(other) < size_of(program) ? std::move(other) : std::move(program);
}

// With the least recomputation that keeps `limit`, or else the smallest.
Result<engine::Program> program_within(const graph::Graph& graph, engine::Program program, Bytes limit) {
  if (limit > Bytes(0)) {
    auto smaller = engine::compile(graph, {.arithmetic = program.target.arithmetic, .memory_limit = limit});
    if (smaller || smaller.error().code != ErrorCode::no_memory) return smaller;
  }
  return smallest(graph, std::move(program));
}

}  // namespace

Bytes snapshot_bytes(const engine::MemoryPlan& memory) { return memory.state * std::int64_t{2}; }

Result<Bytes> evaluation_bytes(const JobConfig& job, bool evaluates) {
  const model::GptConfig model = model_of(job);
  SUANLI_ASSIGN_OR_RETURN(const engine::Arithmetic arithmetic, arithmetic_of(job));
  Bytes bytes;
  if (evaluates) {
    SUANLI_ASSIGN_OR_RETURN(bytes, beside_state(model::gpt_eval_graph(model, job.train.batch), arithmetic));
  }
  if (job.sample.every == 0) return bytes;
  SUANLI_ASSIGN_OR_RETURN(const Bytes samples, beside_state(model::gpt_logits_graph(model, 1), arithmetic));
  const Bytes logits(model.context * model.vocab * static_cast<std::int64_t>(sizeof(float)));
  return bytes + samples + logits;
}

Result<TrainingPlan> training_plan(const JobConfig& job, const graph::Graph& graph, Bytes evaluation, Bytes limit) {
  SUANLI_ASSIGN_OR_RETURN(const engine::Arithmetic arithmetic, arithmetic_of(job));
  TrainingPlan plan;
  SUANLI_ASSIGN_OR_RETURN(plan.program, engine::compile(graph, {.arithmetic = arithmetic}));
  plan.beside = {.snapshots = snapshot_bytes(plan.program.memory), .evaluation = evaluation};
  if (limit == Bytes(0) || plan.total() <= limit) return plan;
  const Bytes left = limit > plan.beside.total() ? limit - plan.beside.total() : Bytes(0);
  SUANLI_ASSIGN_OR_RETURN(plan.program, program_within(graph, std::move(plan.program), left));
  return plan;
}

MemoryLimit MemoryLimit::of_job(const JobConfig& job) {
  return {Bytes(static_cast<std::int64_t>(job.run.memory_limit)), "'run.memory_limit' is "};
}

MemoryLimit MemoryLimit::of_job_or_machine(const JobConfig& job) {
  if (job.run.memory_limit > 0) return of_job(job);
  return {memory_info().available, "the machine has free "};
}

Status check_memory(const TrainingPlan& plan, const MemoryLimit& limit) {
  if (limit.bytes == Bytes(0) || plan.total() <= limit.bytes) return {};
  const std::string beside = plan.beside.evaluation > Bytes(0) ? " for snapshots and evaluation" : " for snapshots";
  return fail(ErrorCode::no_memory,
              "the job needs " + format_bytes(plan.total()) + " (" + format_bytes(plan.beside.total()) + beside +
                  ") even with everything recomputed that can be, but " + limit.source + format_bytes(limit.bytes),
              "memory", "lower 'train.batch' (and raise 'train.micro_batches'), or make the model smaller");
}

}  // namespace suanli::train
