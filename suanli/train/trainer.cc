#include "suanli/train/trainer.h"

#include <algorithm>
#include <utility>

#include "suanli/base/system.h"
#include "suanli/base/text.h"
#include "suanli/checkpoint/local_tier.h"
#include "suanli/graph/digest.h"
#include "suanli/meter/budget.h"
#include "suanli/meter/peak.h"
#include "suanli/model/gpt_growth.h"
#include "suanli/train/growth.h"
#include "suanli/train/initial_weights.h"
#include "suanli/train/job_schema.h"
#include "suanli/train/memory.h"
#include "suanli/train/metrics.h"
#include "suanli/train/run_folder.h"
#include "suanli/train/run_plan.h"
#include "suanli/train/session.h"
#include "suanli/train/setup.h"
#include "suanli/train/snapshots.h"

namespace suanli::train {
namespace {

constexpr const char* kKeepJob =
    "resume with the job that began the run, or start a new run in another folder";

// What the job leaves open takes the values the run began with.
JobConfig with_settled_values(JobConfig job, const JobConfig& saved) {
  if (job.model.vocab == 0) job.model.vocab = saved.model.vocab;
  if (job.train.dtype == "auto") job.train.dtype = saved.train.dtype;
  // A job file says what a run that grows began with.
  const bool grows = !job.grow.to.empty() && job.grow.to == saved.grow.to;
  const model::GptConfig given = model_of(job), there = model_of(saved);
  if (grows && (model::check_growth(given, there) || model::check_growth(there, given))) job.model = saved.model;
  return job;
}

Status check_same_run(const JobConfig& job, const RunDescription& run, const Digest& dataset,
                      const Digest& graph) {
  if (dataset != run.info.dataset)
    return fail(ErrorCode::mismatch,
                "'data.path' holds a dataset of digest " + dataset.hex().substr(0, 12) +
                    " but the run began with " + run.info.dataset.hex().substr(0, 12),
                job.data.path, kKeepJob);
  if (const auto changed = changed_fixed_keys(job, run.job); !changed.empty()) {
    const Key& key = *changed.front();
    return fail(ErrorCode::mismatch,
                "'" + key.full_name() + "' is " + print_value(key, job) +
                    " but the run began with " + print_value(key, run.job),
                job.run.dir, kKeepJob);
  }
  if (graph != run.info.graph)
    return fail(ErrorCode::mismatch,
                "this build makes another graph of the job (digest " + graph.hex().substr(0, 12) +
                    ", the run's is " + run.info.graph.hex().substr(0, 12) + ")",
                job.run.dir,
                "resume with suanli " + printable(run.info.suanli) + ", which began the run");
  return {};
}

// A run that grows would otherwise find out in the middle.
Status check_largest_size(JobConfig job, bool has_validation) {
  SUANLI_ASSIGN_OR_RETURN(const GrowthPlan growth, growth_plan_of(job));
  while (const auto next = next_size(job, growth)) {
    job.model.layers = next->layers;
    job.model.heads = next->heads;
    job.model.width = next->width;
  }
  SUANLI_ASSIGN_OR_RETURN(const graph::Graph graph, training_graph(job));
  SUANLI_ASSIGN_OR_RETURN(const Bytes evaluation, evaluation_bytes(job, has_validation));
  const MemoryLimit limit = MemoryLimit::of_job_or_machine(job);
  SUANLI_ASSIGN_OR_RETURN(const TrainingPlan plan, training_plan(job, graph, evaluation, limit.bytes));
  return check_memory(plan, limit);
}

Status check_budget(const Setup& setup) {
  const meter::Budget budget{Flops(setup.job.run.budget)};
  Flops step(graph::step_cost(setup.graph).flops);
  if (setup.arithmetic == engine::Arithmetic::exact) {  // the look at micro-batch 0
    const WorkByPart work = work_by_part(setup);
    for (const meter::Part part : {meter::Part::forward, meter::Part::backward})
      step += work[static_cast<std::size_t>(part)].total;
  }
  if (budget.may_start(step, Flops(0))) return {};
  return fail(ErrorCode::config,
              "a budget of " + format_flops(budget.limit()) +
                  " does not pay for the first step, which takes " + format_flops(step),
              "run.budget", "raise the budget, or make the model or the batch smaller");
}

struct Peak {
  FlopsPerSecond rate;
  MfuBase base = MfuBase::none;
};

// Under a cap nothing is measured: the measurement would break the cap, or be slowed by it.
Result<Peak> find_peak(Setup& setup, const TrainOptions& options) {
  if (options.peak.value() > 0) return Peak{options.peak, MfuBase::given};
  if (setup.cap) return Peak{};
  SUANLI_ASSIGN_OR_RETURN(const FlopsPerSecond rate,
                          meter::measure_peak(*setup.device, setup.arithmetic, *options.clock));
  return Peak{rate, rate.value() > 0 ? MfuBase::measured : MfuBase::none};
}

StartInfo start_info(const Setup& setup, const Peak& peak, std::int64_t first_step, const std::string& folder,
                     Seconds setup_time, Bytes resident_before) {
  const data::DatasetInfo& dataset = setup.dataset.info();
  return {.run_folder = folder,
          .first_step = first_step,
          .steps = setup.job.train.steps,
          .parameters = graph::parameter_count(setup.graph),
          .step_flops = Flops(graph::step_cost(setup.graph).flops),
          .step_tokens = Tokens(setup.job.train.batch * setup.job.train.micro_batches *
                                setup.job.model.context),
          .train_tokens = Tokens(static_cast<std::int64_t>(dataset.tokens(data::Split::train))),
          .valid_tokens = Tokens(static_cast<std::int64_t>(dataset.tokens(data::Split::valid))),
          .arithmetic = setup.arithmetic,
          .threads = setup.threads,
          .memory = setup.memory,
          .recompute = setup.executor->program().target.recompute,
          .peak = peak.rate,
          .mfu_base = peak.base,
          .setup = setup_time,
          .resident_before = resident_before,
          .work = {}};
}

// Where the session begins: the newest usable snapshot, or step 0.
Result<Restored> starting_point(bool resume, const checkpoint::Tier& tier, Setup& setup,
                                const RunPaths& paths, const Digest& graph) {
  Restored start;
  if (resume) {
    SUANLI_ASSIGN_OR_RETURN(const auto snapshots, tier.list());
    if (!snapshots.empty()) {
      SUANLI_ASSIGN_OR_RETURN(
          start, restore_latest(tier, *setup.state, paths.folder, /*parameters_only=*/false));
      if (start.meta.graph != graph || start.meta.dataset != setup.dataset.digest())
        return fail(
            ErrorCode::mismatch,
            "the snapshot of step " + std::to_string(start.meta.step) + " was made by another run",
            paths.folder, "restore the folder 'checkpoints' from a copy");
    } else {
      start.damages.push_back({ErrorCode::not_found,
                               "the run has no snapshot yet: it begins again at step 0",
                               paths.folder, ""});
    }
  }
  if (start.meta.step == 0)
    SUANLI_RETURN_IF_ERROR(load_initial_weights(setup.job, setup.graph, setup.dataset.info().tokenizer, *setup.state));
  start.meta.graph = graph;
  start.meta.dataset = setup.dataset.digest();
  start.meta.seed = static_cast<std::uint64_t>(setup.job.train.seed);
  start.meta.job = print_job(setup.job);
  return start;
}

// What a killed session did after its last checkpoint is spent all the same: a budget counts it. So are the seconds that a
// session spent on its last snapshot.
void book_lost_work(meter::Usage& usage, const EarlierSpent& spent, const WorkByPart& work) {
  if (spent.flops_total < usage.work.total) return;
  Flops named = usage.work.total;
  if (spent.has_totals && spent.totals.total_seconds() >= usage.total_seconds()) {
    for (std::size_t part = 0; part < work.size(); ++part) {
      const auto runs = static_cast<double>(std::max<std::int64_t>(0, spent.totals.runs[part] - usage.runs[part]));
      if (runs == 0) continue;
      named += work[part].total * runs;
      for (const auto& [op, flops] : work[part].by_op) usage.work.by_op[op] += flops * runs;
    }
    static_cast<meter::Totals&>(usage) = spent.totals;
    usage.work.moved = spent.bytes_total;
  }
  // Lines of older versions tell no more than how much it was.
  const Flops nameless = spent.flops_total - named;
  if (nameless > spent.flops_total * 1e-12) usage.work.by_op["lost"] += nameless;
  usage.work.total = std::max(spent.flops_total, named);
}

// A plan is worth having, but not worth a word if it cannot be made: `suanli meter` can still make one afterwards.
void keep_plan(const Setup& setup, const plan::Profile* profile, const RunPaths& paths) {
  if (!setup.job.grow.to.empty()) return;  // a plan is of one size
  if (!profile || profile->threads != setup.threads || profile->machine != plan::here().machine) return;
  const auto made = plan_run(setup, *profile);
  if (made) (void)write_file_atomic(paths.plan(), as_bytes(print_run_plan(*made)));
}

// One segment of a run: all of it, unless the model grows. `grown`: what has come before it.
Result<TrainReport> train_segment(const JobConfig& given, const TrainOptions& options,
                                  const std::optional<GrowthRecord>& grown) {
  const Seconds begun = options.clock->now();
  const Bytes resident_before = peak_resident();
  SUANLI_RETURN_IF_ERROR(check_job(given, "the job"));
  const std::string& place = given.run.dir;
  SUANLI_ASSIGN_OR_RETURN(RunFolder folder,
                          options.resume ? RunFolder::resume(place) : RunFolder::begin(place));
  if (options.resume) SUANLI_RETURN_IF_ERROR(align_size(folder));
  SUANLI_ASSIGN_OR_RETURN(data::Dataset dataset, data::Dataset::open(given.data.path));
  const JobConfig open =
      options.resume ? with_settled_values(given, folder.description().job) : given;
  SUANLI_ASSIGN_OR_RETURN(const JobConfig job, settle(open, dataset));
  SUANLI_ASSIGN_OR_RETURN(const graph::Graph graph, training_graph(job));
  const Digest graph_digest = graph::digest(graph);
  if (options.resume)
    SUANLI_RETURN_IF_ERROR(
        check_same_run(job, folder.description(), dataset.digest(), graph_digest));

  SUANLI_ASSIGN_OR_RETURN(const auto setup, Setup::create(job, std::move(dataset), *options.clock));
  if (!options.resume) SUANLI_RETURN_IF_ERROR(check_budget(*setup));
  if (!options.resume && !job.grow.to.empty())
    SUANLI_RETURN_IF_ERROR(check_largest_size(job, setup->valid_windows.has_value()));
  // Opening looked at the shards' headers alone. A stop meanwhile is the session's to tell.
  if (Status intact = setup->dataset.verify(options.stop);
      !intact && intact.error().code != ErrorCode::interrupted)
    return tl::unexpected(std::move(intact).error());
  SUANLI_ASSIGN_OR_RETURN(const Peak peak, find_peak(*setup, options));
  SUANLI_ASSIGN_OR_RETURN(const auto tier,
                          checkpoint::LocalTier::open(place, checkpoint::LocalTier::Access::owner));
  SUANLI_ASSIGN_OR_RETURN(
      Restored start, starting_point(options.resume, *tier, *setup, folder.paths(), graph_digest));
  if (start.meta.step > job.train.steps)
    return fail(ErrorCode::config,
                "'train.steps' is " + std::to_string(job.train.steps) + " but the run has done " +
                    std::to_string(start.meta.step),
                place, "raise it, or use the run as it is");
  SUANLI_ASSIGN_OR_RETURN(MetricsFile metrics,
                          MetricsFile::open(folder.paths().metrics(), start.meta.step));
  book_lost_work(start.meta.usage, metrics.spent_before(), work_by_part(*setup));
  if (options.resume) {
    SUANLI_RETURN_IF_ERROR(folder.update_job(job));
  } else {
    const std::string& tokenizer = setup->dataset.info().tokenizer;
    SUANLI_RETURN_IF_ERROR(folder.establish(
        job, {graph_digest, setup->dataset.digest(), tokenizer, graph::parameter_count(graph),
              utc_now(), std::string(suanli_version())}));
    keep_plan(*setup, options.profile, folder.paths());
  }

  Session session(*setup, *tier, std::move(metrics), start.meta, options);
  session.announce(start_info(*setup, peak, start.meta.step, place, options.clock->now() - begun, resident_before),
                   start.damages, grown);
  return session.run();
}

}  // namespace

Result<TrainReport> train(const JobConfig& given, const TrainOptions& options) {
  JobConfig job = given;
  TrainOptions segment = options;
  std::optional<GrowthRecord> grown;
  std::int64_t steps = 0;
  Seconds seconds;
  while (true) {
    SUANLI_ASSIGN_OR_RETURN(TrainReport report, train_segment(job, segment, grown));
    report.session_steps = steps += report.session_steps;
    report.session_seconds = seconds += report.session_seconds;
    if (report.outcome != Outcome::grows) return report;
    SUANLI_ASSIGN_OR_RETURN(grown, grow_run(given.run.dir));
    segment.resume = true;
    SUANLI_ASSIGN_OR_RETURN(const RunDescription run, describe_run(given.run.dir));
    job.model = run.job.model;
  }
}

}  // namespace suanli::train
