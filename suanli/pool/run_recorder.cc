#include "suanli/pool/run_recorder.h"

#include <algorithm>
#include <utility>

#include "suanli/base/system.h"
#include "suanli/base/text.h"
#include "suanli/engine/cpu/exact/token_sum.h"
#include "suanli/graph/digest.h"
#include "suanli/graph/stage_graph.h"
#include "suanli/pool/replica_sums.h"
#include "suanli/pool/shard_urls.h"
#include "suanli/pool/state_layout.h"
#include "suanli/train/codecs.h"
#include "suanli/train/initial_weights.h"
#include "suanli/train/local_steps.h"
#include "suanli/train/memory.h"
#include "suanli/train/schedule.h"
#include "suanli/train/state_digest.h"

namespace suanli::pool {

using meter::Cause;
using meter::Part;

namespace {

constexpr std::size_t kStepsKept = 64;

train::WorkByPart work_of(const graph::Graph& graph) {
  train::WorkByPart work;
  const std::pair<Part, graph::Phase> phases[] = {
      {Part::forward, graph::Phase::forward}, {Part::backward, graph::Phase::backward}, {Part::update, graph::Phase::update}};
  for (const auto& [part, phase] : phases) work[static_cast<std::size_t>(part)] = meter::work_of(graph, phase);
  return work;
}

void book_runs(meter::Usage& usage, const train::WorkByPart& all, Part part, std::int64_t runs) {
  usage.runs_of(part) += runs;
  const meter::Work& work = all[static_cast<std::size_t>(part)];
  usage.work.total += work.total * static_cast<double>(runs);
  for (const auto& [op, flops] : work.by_op) usage.work.by_op[op] += flops * static_cast<double>(runs);
}

Status check_same_run(const train::JobConfig& job, const train::RunDescription& run, const Digest& graph, const Digest& dataset) {
  if (run.info.graph == graph && run.info.dataset == dataset) return {};
  return fail(ErrorCode::mismatch, "the run began with another model, optimizer or dataset", job.run.dir,
              "resume with the job that began the run, or start a new run in another folder");
}

// The recorder keeps the whole state, two copies of it while snapshots are made, and the programs of evaluation. To be asked
// before any of it is there.
Status check_room(const train::JobConfig& job, const graph::Graph& graph, bool evaluates) {
  Bytes state(0);
  for (const char* kind : {"param", "state"})
    for (const graph::NodeId id : graph.nodes_of(kind)) state += graph.node(id).type.bytes();
  const Bytes available = memory_info().available;
  Bytes needed = state * std::int64_t{3};
  // Compiling what cannot fit would take memory, too.
  if (needed <= available) {
    SUANLI_ASSIGN_OR_RETURN(const Bytes evaluation, train::evaluation_bytes(job, evaluates));
    needed += evaluation;
  }
  if (needed <= available) return {};
  return fail(ErrorCode::no_memory,
              "the coordinator needs " + format_bytes(needed) +
                  " for the state of the job, two copies of it while it is saved, and evaluations; the machine has " +
                  format_bytes(available) + " free, " + format_bytes(needed - available) + " too little",
              job.run.dir, "choose a smaller model, or run the coordinator on a machine with more memory");
}

}  // namespace

RunRecorder::~RunRecorder() = default;

Result<std::unique_ptr<RunRecorder>> RunRecorder::create(const train::JobConfig& given, const train::TrainOptions& options) {
  SUANLI_RETURN_IF_ERROR(train::check_job(given, "the job"));
  SUANLI_RETURN_IF_ERROR(check_source_urls(given.data.sources));
  if (!given.grow.to.empty())
    return fail(ErrorCode::config, "'train.grow.to' is set, but a model cannot grow on a pool yet", given.run.dir,
                "train it on one machine, or leave 'train.grow.to' empty");
  const std::string& place = given.run.dir;
  SUANLI_ASSIGN_OR_RETURN(train::RunFolder folder,
                          options.resume ? train::RunFolder::resume(place) : train::RunFolder::begin(place));
  auto recorder = std::unique_ptr<RunRecorder>(new RunRecorder(std::move(folder)));
  RunRecorder& self = *recorder;
  SUANLI_ASSIGN_OR_RETURN(self.dataset_, data::Dataset::open(given.data.path));
  train::JobConfig open = given;
  if (options.resume) {
    const train::JobConfig& saved = self.folder_.description().job;
    if (open.model.vocab == 0) open.model.vocab = saved.model.vocab;
    if (open.train.dtype == "auto") open.train.dtype = saved.train.dtype;
  }
  SUANLI_ASSIGN_OR_RETURN(self.job_, train::settle(open, *self.dataset_));
  SUANLI_ASSIGN_OR_RETURN(self.graph_, train::training_graph(self.job_));
  const Digest graph = graph::digest(self.graph_), dataset = self.dataset_->digest();
  if (options.resume) SUANLI_RETURN_IF_ERROR(check_same_run(self.job_, self.folder_.description(), graph, dataset));

  if (auto windows = data::Windows::create(*self.dataset_, data::Split::valid, self.job_.model.context))
    self.valid_windows_ = std::move(*windows);
  SUANLI_RETURN_IF_ERROR(check_room(self.job_, self.graph_, self.valid_windows_.has_value()));
  self.device_ = engine::make_cpu_device(available_cores());
  self.state_ = std::make_unique<engine::State>(*self.device_);
  SUANLI_RETURN_IF_ERROR(self.state_->initialize(self.graph_, static_cast<std::uint64_t>(self.job_.train.seed)));
  SUANLI_ASSIGN_OR_RETURN(const engine::Arithmetic arithmetic, train::arithmetic_of(self.job_));
  if (arithmetic == engine::Arithmetic::exact) {
    const auto sums = static_cast<std::int64_t>(live_sums(self.graph_).size());
    const std::vector<std::int32_t> none(static_cast<std::size_t>(sums), engine::exact::kNoExponent);
    SUANLI_RETURN_IF_ERROR(self.state_->add(engine::kExponents, graph::i32({sums}), std::as_bytes(std::span(none))));
  }
  if (self.valid_windows_) {
    SUANLI_ASSIGN_OR_RETURN(
        self.evaluator_, train::Evaluator::create(train::model_of(self.job_), self.job_.train.batch, arithmetic, *self.state_));
  }
  if (self.job_.sample.every > 0) {
    SUANLI_ASSIGN_OR_RETURN(self.generator_, train::Generator::create(train::model_of(self.job_), arithmetic, *self.state_));
  }
  self.dates_ = StateDates::of(self.job_, self.evaluator_ != nullptr);
  SUANLI_ASSIGN_OR_RETURN(self.tier_, checkpoint::LocalTier::open(place, checkpoint::LocalTier::Access::owner));
  if (options.resume) {
    SUANLI_ASSIGN_OR_RETURN(const auto snapshots, self.tier_->list());
    if (!snapshots.empty()) {
      // What the replicas of an earlier placement have left is fitted to the next placement.
      SUANLI_ASSIGN_OR_RETURN(train::Restored restored, train::restore_latest_with_replicas(*self.tier_, *self.state_, place));
      if (restored.meta.graph != graph || restored.meta.dataset != dataset)
        return fail(ErrorCode::mismatch,
                    "the snapshot of step " + std::to_string(restored.meta.step) + " was made by another run", place,
                    "restore the folder 'checkpoints' from a copy");
      self.meta_ = std::move(restored.meta);
      self.damages_ = std::move(restored.damages);
    } else {
      self.damages_.push_back({ErrorCode::not_found, "the run has no snapshot yet: it begins again at step 0", place, ""});
    }
  }
  if (self.meta_.step == 0)
    SUANLI_RETURN_IF_ERROR(
        train::load_initial_weights(self.job_, self.graph_, self.dataset_->info().tokenizer, *self.state_));
  self.meta_.graph = graph;
  self.meta_.dataset = dataset;
  self.meta_.seed = static_cast<std::uint64_t>(self.job_.train.seed);
  self.meta_.job = train::print_job(self.job_);
  // Beside those to be kept: one that passes, and the next before that has gone.
  const int kept = static_cast<int>(self.job_.checkpoint.keep) + 2;
  self.saver_ = std::make_unique<train::SnapshotSaver>(*self.state_, *self.tier_, kept);
  SUANLI_ASSIGN_OR_RETURN(self.metrics_, train::MetricsFile::open(self.folder_.paths().metrics(), self.meta_.step));
  if (options.resume) {
    SUANLI_RETURN_IF_ERROR(self.folder_.update_job(self.job_));
  } else {
    SUANLI_RETURN_IF_ERROR(
        self.folder_.establish(self.job_, {graph, dataset, self.dataset_->info().tokenizer, graph::parameter_count(self.graph_),
                                           train::utc_now(), std::string(train::suanli_version())}));
  }
  self.work_ = work_of(self.graph_);
  if (self.evaluator_) self.work_[static_cast<std::size_t>(Part::evaluation)] = self.evaluator_->batch_work();
  if (self.generator_) self.work_[static_cast<std::size_t>(Part::sample)] = self.generator_->token_work();
  self.looked_ = self.meta_.step;
  // A session that was stopped between a step and its evaluation owes it.
  const std::int64_t done = self.meta_.step;
  if (done > 0 && self.meta_.evaluated_step != done && is_due(self.dates_.evaluation, done - 1, done)) {
    SUANLI_ASSIGN_OR_RETURN(self.owed_, self.evaluator_->run(*self.valid_windows_, self.job_.eval.batches));
  }
  self.observer_ = options.observer ? options.observer : &self.nobody_;
  self.clock_ = options.clock;
  self.begun_ = self.clock_->now();
  self.first_step_ = self.meta_.step;
  self.info_.run_folder = place;
  self.info_.first_step = self.meta_.step;
  self.info_.steps = self.job_.train.steps;
  self.info_.parameters = graph::parameter_count(self.graph_);
  self.info_.step_flops = Flops(graph::step_cost(self.graph_).flops);
  self.info_.step_tokens = Tokens(self.job_.train.batch * self.job_.train.micro_batches * self.job_.model.context);
  self.info_.train_tokens = Tokens(static_cast<std::int64_t>(self.dataset_->info().tokens(data::Split::train)));
  self.info_.valid_tokens = Tokens(static_cast<std::int64_t>(self.dataset_->info().tokens(data::Split::valid)));
  self.info_.arithmetic = arithmetic;
  self.info_.work = self.work_;
  return recorder;
}

void RunRecorder::add_work(Part part, const meter::Work& work, double times) {
  meter::Work& all = work_[static_cast<std::size_t>(part)];
  for (const auto& [op, flops] : work.by_op) {
    all.total += flops * times;
    all.by_op[op] += flops * times;
  }
}

// Of one step at one replica.
Result<meter::Work> RunRecorder::replica_work(const graph::StageGraph& stage, std::size_t replicas) const {
  const auto holds = [&](graph::NodeId id) { return std::ranges::find(stage.canonical, id) != stage.canonical.end(); };
  if (job_.local.inner_steps == 0) {
    const graph::Codec codec = train::codecs_of(job_).weights;
    std::vector<graph::TensorType> types;
    for (const PackedSum& sum : packed_sums(graph_, {codec}))
      if (holds(sum.sum)) types.push_back(sum.type);
    return packing_work(types, codec, replicas);
  }
  const train::LocalSteps settings = train::local_steps_of(job_);
  std::vector<train::OuterParam> params;
  for (const train::OuterParam& param : train::outer_params(graph_))
    if (stage.graph.find(param.name) != graph::kNoNode) params.push_back(param);
  meter::Work round, work;
  if (params.empty()) return work;
  SUANLI_ASSIGN_OR_RETURN(const graph::Graph send, train::outer_send_graph(params, settings));
  round += meter::work_of(send, graph::Phase::update);
  for (const auto part : {train::OuterPart::check, train::OuterPart::local, train::OuterPart::shared}) {
    SUANLI_ASSIGN_OR_RETURN(const graph::Graph apply,
                            train::outer_apply_graph(params, settings, static_cast<int>(replicas), part));
    round += meter::work_of(apply, graph::Phase::update);
  }
  for (const auto& [op, flops] : round.by_op) work.by_op[op] = flops / static_cast<double>(settings.inner_steps);
  return work;
}

Status RunRecorder::count_codecs(const route::Placement& placement) {
  const train::JobCodecs codecs = train::codecs_of(job_);
  const std::lock_guard lock(mutex_);
  if (is_announced_) return {};
  for (std::size_t stage = 0; stage < placement.stages.size(); ++stage) {
    SUANLI_ASSIGN_OR_RETURN(const graph::StageGraph made, graph::stage_graph(graph_, placement.cut, static_cast<int>(stage),
                                                                             {codecs.forward, codecs.backward}));
    const std::pair<graph::Phase, Part> passes[] = {{graph::Phase::forward, Part::forward},
                                                    {graph::Phase::backward, Part::backward}};
    for (const auto& [phase, part] : passes) {
      meter::Work work = meter::work_of(made.graph, phase);
      std::erase_if(work.by_op, [](const auto& op) { return op.first.find("quantize") == std::string::npos; });
      add_work(part, work, 1);
      for (const auto& [op, flops] : work.by_op) info_.step_flops += flops * static_cast<double>(job_.train.micro_batches);
    }
    const std::size_t replicas = placement.stages[stage].size();
    const bool packs = codecs.weights.kind != graph::Codec::Kind::lossless && replicas > 1;
    if (!packs && job_.local.inner_steps == 0) continue;
    SUANLI_ASSIGN_OR_RETURN(const meter::Work work, replica_work(made, replicas));
    add_work(Part::update, work, static_cast<double>(replicas));
    for (const auto& [op, flops] : work.by_op) info_.step_flops += flops * static_cast<double>(replicas);
  }
  info_.work = work_;
  return {};
}

void RunRecorder::announce(int threads) {
  const std::lock_guard lock(mutex_);
  if (std::exchange(is_announced_, true)) return;
  info_.threads = threads;
  info_.setup = clock_->now() - begun_;
  observer_->on_start(info_);
  write(train::metrics_line(info_));
  for (const Error& damage : std::exchange(damages_, {})) {
    write(train::warning_line(meta_.step, damage));
    observer_->on_warning(damage);
  }
  if (const auto owed = std::exchange(owed_, std::nullopt)) tell(meta_.step, *owed);
  if (const auto waste = dates_.waste()) {
    write(train::warning_line(meta_.step, *waste));
    observer_->on_warning(*waste);
  }
}

train::Spent RunRecorder::spent() const {
  train::Spent spent;
  spent.flops_total = meta_.usage.work.total;
  spent.bytes_total = meta_.usage.work.moved;
  spent.totals = meta_.usage;
  return spent;
}

void RunRecorder::write(const std::string& line) {
  if (const Status written = metrics_->append(line); !written && !std::exchange(metrics_failed_, true))
    observer_->on_warning(written.error());
}

void RunRecorder::warn(const Error& warning) {
  const std::lock_guard lock(mutex_);
  observer_->on_warning(warning);
  write(train::warning_line(meta_.step, warning));
}

// A step's seconds are those of the wall; what of them went where is the mean over the workers.
void RunRecorder::on_step(const protocol::StepFacts& facts, Seconds held) {
  const std::lock_guard lock(mutex_);
  meter::Usage& usage = meta_.usage;
  const Seconds own = std::max(Seconds(0), facts.seconds - held);
  usage.of(Cause::checkpoint) += held;
  Seconds named;
  for (const protocol::StepUse& use : facts.uses)
    for (const auto& [name, seconds] : use.seconds)
      if (const auto cause = meter::cause_from_name(name)) {
        const Seconds share = seconds / static_cast<double>(facts.uses.size());
        usage.of(*cause) += share;
        named += share;
      }
  usage.of(Cause::other) += std::max(Seconds(0), own - named);
  book_runs(usage, work_, Part::forward, job_.train.micro_batches * facts.attempts);
  book_runs(usage, work_, Part::backward, job_.train.micro_batches * facts.attempts);
  book_runs(usage, work_, Part::update, 1);
  usage.steps += 1;
  usage.tokens += info_.step_tokens;
  meta_.step = facts.step;
  meta_.loss = facts.loss.value_or(0);
  // All that passes between steps.
  pace_ = pace_.value() > 0 ? pace_ * 0.9 + facts.seconds * 0.1 : facts.seconds;

  train::StepRecord record;
  static_cast<train::Spent&>(record) = spent();
  committed_[facts.step] = {meta_.loss, meta_.usage};
  if (committed_.size() > kStepsKept) committed_.erase(committed_.begin());
  record.step = facts.step;
  record.loss = meta_.loss;
  record.grad_norm = facts.grad_norm.value_or(0);
  record.lr = train::schedule_of(job_).at(facts.step - 1);
  record.tokens = facts.tokens.value_or(info_.step_tokens);
  record.seconds = own;
  record.tokens_per_second = static_cast<double>(record.tokens.value()) / std::max(1e-9, own.value());
  record.sent = Bytes(0);
  for (const protocol::StepUse& use : facts.uses) *record.sent += use.bytes_out;
  record.eta = pace_ * static_cast<double>(job_.train.steps - facts.step);
  write(train::metrics_line(record));
  observer_->on_step(record);
  for (const protocol::StepUse& use : facts.uses) {
    if (!use.warning) continue;
    const Error warning = Error(*use.warning).within("worker " + use.peer.substr(0, 12));
    write(train::warning_line(meta_.step, warning));
    observer_->on_warning(warning);
  }
}

// What the coordinator computed with the state after `step`, beside the steps that follow. With the mutex.
void RunRecorder::book(std::int64_t step, Part part, std::int64_t runs) {
  book_runs(meta_.usage, work_, part, runs);
  for (auto& [at, committed] : committed_)
    if (at >= step) book_runs(committed.usage, work_, part, runs);
}

Status RunRecorder::evaluate(std::int64_t step) {
  if (!evaluator_) return {};
  SUANLI_ASSIGN_OR_RETURN(const auto evaluation, evaluator_->run(*valid_windows_, job_.eval.batches));
  SUANLI_CHECK(evaluation.has_value());
  const std::lock_guard lock(mutex_);
  tell(step, *evaluation);
  return {};
}

// With the mutex.
void RunRecorder::tell(std::int64_t step, const train::Evaluation& evaluation) {
  book(step, Part::evaluation, evaluator_->batch_count(*valid_windows_, job_.eval.batches));
  meta_.valid_loss = evaluation.loss;
  meta_.best_valid_loss = std::min(meta_.best_valid_loss.value_or(evaluation.loss), evaluation.loss);
  meta_.evaluated_step = step;
  const bool is_bytes = dataset_->info().tokenizer == "bytes";
  const train::EvalRecord record{
      spent(), step, evaluation.loss, evaluation.perplexity(), is_bytes ? evaluation.bits_per_token() : 0, evaluation.tokens};
  write(train::metrics_line(record));
  observer_->on_eval(record);
}

Status RunRecorder::sample(std::int64_t step) {
  std::vector<std::int32_t> prompt;
  for (const char c : job_.sample.prompt) prompt.push_back(static_cast<unsigned char>(c));
  std::string text;
  const auto add = [&](std::int32_t token) {
    text += static_cast<char>(token);
    return true;
  };
  const model::SamplingOptions how{.seed = static_cast<std::uint64_t>(job_.train.seed)};
  SUANLI_RETURN_IF_ERROR(generator_->run(prompt, job_.sample.tokens, how, add));
  const std::lock_guard lock(mutex_);
  book(step, Part::sample, static_cast<std::int64_t>(text.size()));
  write(train::sample_line(step, text));
  observer_->on_sample(step, text);
  return {};
}

Status RunRecorder::save(std::int64_t step) {
  const std::lock_guard saving(saving_);
  if (is_finished_) return tl::unexpected(Error{ErrorCode::interrupted, "the run's record has ended", info_.run_folder, ""});
  const std::int64_t before = std::exchange(looked_, step);
  const bool is_last = step == job_.train.steps;
  // A state whose loss cannot be told is worth keeping all the same.
  if (is_last || is_due(dates_.evaluation, before, step))
    if (const Status evaluated = evaluate(step); !evaluated) warn(evaluated.error());
  if (generator_ && is_due(dates_.sample, before, step))
    if (const Status sampled = sample(step); !sampled) warn(sampled.error());
  if (is_due(dates_.digest, before, step)) {
    const std::string line = train::metrics_line(train::DigestRecord{step, train::state_root(*state_)});
    const std::lock_guard lock(mutex_);
    write(line);
  }
  // A state that was not to come at this step is that of a job which was stopped, or is late.
  const bool is_passing = dates_.is_collected(step) && !is_last && !is_due(dates_.snapshot, before, step);
  return keep(step, is_passing);
}

Status RunRecorder::keep(std::int64_t step, bool is_passing) {
  train::SnapshotMeta meta;
  {
    const std::lock_guard lock(mutex_);
    meta = meta_;
    if (const auto then = committed_.find(step); then != committed_.end()) {
      meta.loss = then->second.loss;
      meta.usage = then->second.usage;
    }
  }
  meta.step = step;
  SUANLI_RETURN_IF_ERROR(saver_->begin(meta));
  saver_->finish();
  const train::SnapshotSaver::News news = saver_->news();
  if (!news.errors.empty()) return tl::unexpected(news.errors.front());
  // What stays too long takes room, and does no other harm.
  const auto passed = std::exchange(passing_, is_passing ? std::optional(step) : std::nullopt);
  if (passed && *passed != step)
    if (const Status removed = tier_->remove(*passed); !removed) warn(removed.error());
  if (is_passing) return {};
  if (const Status pruned = tier_->prune(static_cast<int>(job_.checkpoint.keep)); !pruned) warn(pruned.error());
  const std::lock_guard lock(mutex_);
  const train::CheckpointRecord record{step};
  write(train::metrics_line(record));
  observer_->on_checkpoint(record);
  return {};
}

Result<train::TrainReport> RunRecorder::finish(train::Outcome outcome, const std::optional<Error>& error) {
  const std::lock_guard saving(saving_);
  is_finished_ = true;
  saver_->finish();
  const std::lock_guard lock(mutex_);
  write(train::end_line(meta_.step, error ? name_of(error->code) : name_of(outcome), spent()));
  if (error) return tl::unexpected(*error);
  train::TrainReport report;
  report.outcome = outcome;
  report.run_folder = info_.run_folder;
  report.step = meta_.step;
  report.steps = job_.train.steps;
  if (meta_.step > 0) report.loss = meta_.loss;
  report.valid_loss = meta_.valid_loss;
  report.best_valid_loss = meta_.best_valid_loss;
  report.usage = meta_.usage;
  report.session_steps = meta_.step - first_step_;
  report.session_seconds = clock_->now() - begun_;
  return report;
}

}  // namespace suanli::pool
