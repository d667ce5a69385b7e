#include "suanli/cli/plan_job.h"

#include <algorithm>
#include <filesystem>
#include <limits>

#include "suanli/base/text.h"
#include "suanli/cli/progress.h"
#include "suanli/data/dataset.h"
#include "suanli/engine/compile.h"
#include "suanli/meter/ledger.h"
#include "suanli/model/gpt.h"
#include "suanli/train/run_folder.h"
#include "suanli/train/run_plan.h"
#include "suanli/train/setup.h"

namespace suanli::cli {
namespace {

constexpr std::int64_t kBytesPerToken = 2;  // of a shard with a large vocabulary; of bytes 1

Result<std::optional<engine::Program>> compiled_or_none(bool wanted, Result<graph::Graph> graph, engine::Arithmetic arithmetic) {
  if (!wanted) return std::nullopt;
  if (!graph) return tl::unexpected(graph.error());
  SUANLI_ASSIGN_OR_RETURN(engine::Program program, engine::compile(*graph, {.arithmetic = arithmetic}));
  return std::optional(std::move(program));
}

// Without the dataset as many as the job asks for; "all" is then not known, and counted as one.
std::int64_t batches_of(const SettledJob& settled) {
  const std::int64_t asked = settled.job.eval.batches;
  if (!settled.validation_windows) return std::max<std::int64_t>(asked, 1);
  const std::int64_t rows = settled.job.train.batch, all = (*settled.validation_windows + rows - 1) / rows;
  return asked == 0 ? all : std::min(asked, all);
}

Result<Bytes> activations_with(const CompiledJob& compiled, const engine::Recomputation& again) {
  SUANLI_ASSIGN_OR_RETURN(
      const engine::Program program,
      engine::compile(compiled.graph, {.arithmetic = compiled.plan.program.target.arithmetic, .recompute = again}));
  return plan::activation_bytes(program);
}

}  // namespace

Result<train::JobConfig> load_job_or_run(const std::string& path, const std::vector<std::string>& sets) {
  if (!std::filesystem::is_directory(path)) return train::load_job(path, sets);
  SUANLI_ASSIGN_OR_RETURN(train::RunDescription run, train::describe_run(path));
  for (const std::string& set : sets) SUANLI_RETURN_IF_ERROR(train::apply_override(run.job, set));
  SUANLI_RETURN_IF_ERROR(train::check_job(run.job, path));
  return run.job;
}

Result<SettledJob> settle_for(train::JobConfig job, engine::Arithmetic usual) {
  if (!job.grow.to.empty())
    return fail(ErrorCode::config, "'train.grow.to' is set, and a model that grows cannot be planned yet", job.run.dir,
                "plan each size by itself, with --set train.grow.to= --set model.layers=N --set model.width=N");
  if (job.train.dtype == "auto") job.train.dtype = engine::name_of(usual);
  const auto dataset = data::Dataset::open(job.data.path);
  if (!dataset) {
    if (dataset.error().code != ErrorCode::not_found) return tl::unexpected(dataset.error());
    if (job.model.vocab == 0) {
      write_stderr("note: there is no dataset at " + job.data.path + " yet; taking the vocabulary of bytes, 256\n");
      job.model.vocab = static_cast<std::int64_t>(data::kByteVocab);
    }
    return SettledJob{.job = std::move(job), .evaluates = true, .validation_windows = std::nullopt, .dataset = Bytes(0)};
  }
  SettledJob settled;
  SUANLI_ASSIGN_OR_RETURN(settled.job, train::settle(std::move(job), *dataset));
  const auto windows = data::Windows::create(*dataset, data::Split::valid, settled.job.model.context);
  settled.evaluates = windows.has_value();
  if (windows) settled.validation_windows = static_cast<std::int64_t>(windows->count());
  const std::uint64_t tokens = dataset->info().tokens(data::Split::train) + dataset->info().tokens(data::Split::valid);
  settled.dataset = Bytes(static_cast<std::int64_t>(tokens) * (dataset->info().vocab <= data::kByteVocab ? 1 : kBytesPerToken));
  return settled;
}

plan::JobPrograms CompiledJob::programs() const {
  return {.step = &plan.program,
          .evaluation = evaluation ? &*evaluation : nullptr,
          .sample = sample ? &*sample : nullptr,
          .parameters = graph::parameter_count(graph),
          .dataset = settled.dataset};
}

Result<CompiledJob> compile_job(SettledJob settled, Bytes limit) {
  CompiledJob compiled;
  const train::JobConfig& job = settled.job;
  const model::GptConfig model = train::model_of(job);
  SUANLI_ASSIGN_OR_RETURN(const engine::Arithmetic arithmetic, train::arithmetic_of(job));
  SUANLI_ASSIGN_OR_RETURN(compiled.graph, train::training_graph(job));
  SUANLI_ASSIGN_OR_RETURN(const Bytes evaluation, train::evaluation_bytes(job, settled.evaluates));
  SUANLI_ASSIGN_OR_RETURN(compiled.plan, train::training_plan(job, compiled.graph, evaluation, limit));
  SUANLI_ASSIGN_OR_RETURN(compiled.evaluation,
                          compiled_or_none(settled.evaluates, model::gpt_eval_graph(model, job.train.batch), arithmetic));
  SUANLI_ASSIGN_OR_RETURN(compiled.sample,
                          compiled_or_none(job.sample.every > 0, model::gpt_logits_graph(model, 1), arithmetic));
  compiled.settled = std::move(settled);
  return compiled;
}

Result<PlacedJob> place_job(const SettledJob& settled, const PlanTarget& target) {
  struct Limited {
    plan::FleetMember member;
    train::MemoryLimit limit;
  };
  std::vector<Limited> all;
  for (const plan::FleetMember& member : target.members) all.push_back({member, member_limit(target, member, settled.job)});
  // Least memory first, unknown memory last; in between as the file has them.
  std::ranges::stable_sort(all, [](const Limited& a, const Limited& b) {
    const auto rank = [](const Limited& one) { return one.limit.bytes == Bytes(0) ? Bytes(INT64_MAX) : one.limit.bytes; };
    return rank(a) < rank(b);
  });
  PlacedJob placed;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const train::MemoryLimit& limit = all[i].limit;
    const bool is_same = i > 0 && limit.bytes == placed.limit.bytes;
    if (!is_same) {
      SUANLI_ASSIGN_OR_RETURN(placed.compiled, compile_job(settled, limit.bytes));
      placed.limit = limit;
    }
    if (placed.compiled.fits(limit.bytes)) {
      for (const plan::FleetMember& member : target.members)
        if (std::ranges::any_of(all.begin() + static_cast<std::ptrdiff_t>(i), all.end(),
                                [&](const Limited& one) { return one.member.machine.name == member.machine.name; }))
          placed.members.push_back(member);
      return placed;
    }
    placed.warnings.push_back({ErrorCode::no_memory,
                               "'" + printable(all[i].member.machine.name) + "' is left out: the job needs " +
                                   format_bytes(placed.compiled.plan.total()) + " there, and it has " + format_bytes(limit.bytes),
                               all[i].member.machine.place, "lower 'train.batch' and raise 'train.micro_batches'"});
  }
  placed.fits = false;
  placed.warnings.clear();
  placed.members = {all.back().member};
  return placed;
}

Result<plan::JobWork> work_of(const CompiledJob& compiled) {
  const SettledJob& settled = compiled.settled;
  const train::JobConfig& job = settled.job;
  const engine::Program& program = compiled.plan.program;
  const std::int64_t parameters = graph::parameter_count(compiled.graph);
  plan::JobWork work;
  work.shape = {.parameters = static_cast<double>(parameters),
                .layers = job.model.layers,
                .width = job.model.width,
                .heads = job.model.heads,
                .context = job.model.context,
                .vocab = job.model.vocab};
  work.flops = plan::step_flops(compiled.graph, program);
  work.steps = job.train.steps;
  work.step_tokens = job.train.batch * job.train.micro_batches * job.model.context;
  work.evaluations = settled.evaluates ? train::evaluations_until(job, job.train.steps) : 0;
  work.evaluation_batches = batches_of(settled);
  if (compiled.evaluation) work.evaluation_batch_flops = compiled.evaluation->step_flops;
  work.samples = train::samples_until(job, job.train.steps);
  work.sample_tokens = job.sample.tokens;
  if (compiled.sample) work.sample_token_flops = compiled.sample->step_flops;
  work.checkpoint_every = job.checkpoint.every;
  work.cap = job.run.cap;
  work.budget = job.run.budget;
  work.memory = plan::job_memory(program.memory, parameters, compiled.plan.beside.snapshots, compiled.plan.beside.evaluation);
  SUANLI_ASSIGN_OR_RETURN(work.memory.kept, activations_with(compiled, {}));
  SUANLI_ASSIGN_OR_RETURN(work.memory.cheap, activations_with(compiled, {.cheap = true}));
  SUANLI_ASSIGN_OR_RETURN(work.memory.recomputed,
                          activations_with(compiled, {.cheap = true, .blocks = std::numeric_limits<int>::max()}));
  return work;
}

}  // namespace suanli::cli
