#include "suanli/train/run_plan.h"

#include <algorithm>

#include "suanli/engine/compile.h"
#include "suanli/plan/program_time.h"
#include "suanli/train/memory.h"
#include "suanli/train/run_folder.h"

namespace suanli::train {
namespace {

// What `job` waits for a snapshot, which may begin only when the one before it is written.
plan::Interval snapshot_wait(const RunPlan& plan, const JobConfig& job) {
  const plan::Interval between = scaled(plan.step, static_cast<double>(job.checkpoint.every));
  const auto wait = [](double write, double until) { return std::max(0.0, write - until); };
  const plan::Interval& write = plan.snapshot.write;
  return sum(plan.snapshot.stall, {wait(write.low, between.high), wait(write.expected, between.expected),
                                   wait(write.high, between.low)});
}

// Adds up what the programs take.
class Planner {
 public:
  Planner(const JobConfig& job, const plan::Profile& profile) : job_(job), profile_(profile) {
    plan_.profile_machine = profile.machine;
    plan_.profile_time = profile.time;
    plan_.threads = profile.threads;
    plan_.dtype = job.train.dtype;
    plan_.made = utc_now();
  }

  Status add(const engine::Program& program, plan::Interval& seconds, Flops& flops) {
    SUANLI_ASSIGN_OR_RETURN(const plan::ProgramTime time, plan::program_time(program, profile_));
    flops = Flops(program.step_flops);
    seconds = plan::capped(time.step_seconds, program.step_flops, job_.run.cap);
    for (const std::string& kind : time.unmeasured)
      if (std::ranges::find(plan_.unmeasured, kind) == plan_.unmeasured.end()) plan_.unmeasured.push_back(kind);
    return {};
  }
  Status add(const Result<graph::Graph>& graph, engine::Arithmetic arithmetic, plan::Interval& seconds, Flops& flops) {
    if (!graph) return tl::unexpected(graph.error());
    SUANLI_ASSIGN_OR_RETURN(const engine::Program program, engine::compile(*graph, {.arithmetic = arithmetic}));
    return add(program, seconds, flops);
  }

  RunPlan& plan() { return plan_; }

 private:
  const JobConfig& job_;
  const plan::Profile& profile_;
  RunPlan plan_;
};

}  // namespace

Result<RunPlan> plan_run(const Setup& setup, const plan::Profile& profile) {
  Planner planner(setup.job, profile);
  RunPlan& plan = planner.plan();
  SUANLI_RETURN_IF_ERROR(planner.add(setup.executor->program(), plan.step, plan.step_flops));
  if (setup.evaluator) {
    SUANLI_RETURN_IF_ERROR(planner.add(setup.evaluator->program(), plan.evaluation, plan.evaluation_flops));
    plan.evaluation_batches = setup.evaluator->batch_count(*setup.valid_windows, setup.job.eval.batches);
  }
  if (setup.generator)
    SUANLI_RETURN_IF_ERROR(planner.add(setup.generator->program(), plan.sample, plan.sample_flops));
  plan.snapshot = plan::snapshot_time(profile, setup.executor->program().memory.state);
  plan.memory = setup.memory;
  return std::move(plan);
}

Result<RunPlan> plan_run(const JobConfig& job, std::int64_t evaluation_batches, const plan::Profile& profile) {
  SUANLI_ASSIGN_OR_RETURN(const engine::Arithmetic arithmetic, arithmetic_of(job));
  const model::GptConfig model = model_of(job);
  SUANLI_ASSIGN_OR_RETURN(const graph::Graph graph, training_graph(job));
  SUANLI_ASSIGN_OR_RETURN(const Bytes beside, evaluation_bytes(job, evaluation_batches > 0));
  SUANLI_ASSIGN_OR_RETURN(const TrainingPlan training,
                          training_plan(job, graph, beside, MemoryLimit::of_job(job).bytes));
  Planner planner(job, profile);
  RunPlan& plan = planner.plan();
  SUANLI_RETURN_IF_ERROR(planner.add(training.program, plan.step, plan.step_flops));
  if (evaluation_batches > 0)
    SUANLI_RETURN_IF_ERROR(planner.add(model::gpt_eval_graph(model, job.train.batch), arithmetic, plan.evaluation,
                                       plan.evaluation_flops));
  if (job.sample.every > 0)
    SUANLI_RETURN_IF_ERROR(planner.add(model::gpt_logits_graph(model, 1), arithmetic, plan.sample, plan.sample_flops));
  plan.snapshot = plan::snapshot_time(profile, training.program.memory.state);
  plan.evaluation_batches = evaluation_batches;
  plan.memory = training.total();
  return std::move(plan);
}

std::int64_t evaluations_until(const JobConfig& job, std::int64_t steps) {
  const std::int64_t every = job.eval.every, periodic = every > 0 ? steps / every : 0;
  const bool ends_between = every == 0 || steps % every != 0;
  return periodic + (steps > 0 && steps == job.train.steps && ends_between ? 1 : 0);
}

std::int64_t samples_until(const JobConfig& job, std::int64_t steps) {
  return job.sample.every > 0 ? steps / job.sample.every : 0;
}

std::int64_t snapshots_before(const JobConfig& job, std::int64_t steps) {
  const std::int64_t every = job.checkpoint.every;
  return every > 0 && steps > 0 ? (steps - 1) / every : 0;
}

PlannedRun planned_until(const RunPlan& plan, const JobConfig& job, std::int64_t steps) {
  const auto batches = static_cast<double>(evaluations_until(job, steps)) * static_cast<double>(plan.evaluation_batches);
  const double tokens = static_cast<double>(samples_until(job, steps)) * static_cast<double>(job.sample.tokens);
  PlannedRun run;
  run.seconds = sum(scaled(plan.step, static_cast<double>(steps)),
                    sum(scaled(plan.evaluation, batches), scaled(plan.sample, tokens)));
  if (steps > 0)
    run.seconds = sum(run.seconds, sum(scaled(snapshot_wait(plan, job), static_cast<double>(snapshots_before(job, steps))),
                                       plan.snapshot.last()));
  run.flops = plan.step_flops * static_cast<double>(steps) + plan.evaluation_flops * batches + plan.sample_flops * tokens;
  return run;
}

}  // namespace suanli::train
