#include "suanli/pool/run_recorder.h"

#include <algorithm>
#include <utility>

#include "suanli/base/system.h"
#include "suanli/base/text.h"
#include "suanli/engine/cpu/exact/token_sum.h"
#include "suanli/graph/digest.h"
#include "suanli/pool/state_layout.h"
#include "suanli/train/schedule.h"

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

Status check_same_run(const train::JobConfig& job, const train::RunDescription& run, const Digest& graph, const Digest& dataset) {
  if (run.info.graph == graph && run.info.dataset == dataset) return {};
  return fail(ErrorCode::mismatch, "the run began with another model, optimizer or dataset", job.run.dir,
              "resume with the job that began the run, or start a new run in another folder");
}

}  // namespace

RunRecorder::~RunRecorder() = default;

Result<std::unique_ptr<RunRecorder>> RunRecorder::create(const train::JobConfig& given, const train::TrainOptions& options) {
  SUANLI_RETURN_IF_ERROR(train::check_job(given, "the job"));
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

  self.device_ = engine::make_cpu_device(available_cores());
  self.state_ = std::make_unique<engine::State>(*self.device_);
  SUANLI_RETURN_IF_ERROR(self.state_->initialize(self.graph_, static_cast<std::uint64_t>(self.job_.train.seed)));
  SUANLI_ASSIGN_OR_RETURN(const engine::Arithmetic arithmetic, train::arithmetic_of(self.job_));
  if (arithmetic == engine::Arithmetic::exact) {
    const auto sums = static_cast<std::int64_t>(live_sums(self.graph_).size());
    const std::vector<std::int32_t> none(static_cast<std::size_t>(sums), engine::exact::kNoExponent);
    SUANLI_RETURN_IF_ERROR(self.state_->add(engine::kExponents, graph::i32({sums}), std::as_bytes(std::span(none))));
  }
  if (auto windows = data::Windows::create(*self.dataset_, data::Split::valid, self.job_.model.context)) {
    self.valid_windows_ = std::move(*windows);
    SUANLI_ASSIGN_OR_RETURN(
        self.evaluator_, train::Evaluator::create(train::model_of(self.job_), self.job_.train.batch, arithmetic, *self.state_));
  }
  SUANLI_ASSIGN_OR_RETURN(self.tier_, checkpoint::LocalTier::open(place, checkpoint::LocalTier::Access::owner));
  if (options.resume) {
    SUANLI_ASSIGN_OR_RETURN(const auto snapshots, self.tier_->list());
    if (!snapshots.empty()) {
      SUANLI_ASSIGN_OR_RETURN(train::Restored restored,
                              train::restore_latest(*self.tier_, *self.state_, place, /*parameters_only=*/false));
      self.meta_ = std::move(restored.meta);
      if (options.observer)
        for (const Error& damage : restored.damages) options.observer->on_warning(damage);
    }
  }
  self.meta_.graph = graph;
  self.meta_.dataset = dataset;
  self.meta_.seed = static_cast<std::uint64_t>(self.job_.train.seed);
  self.meta_.job = train::print_job(self.job_);
  self.saver_ = std::make_unique<train::SnapshotSaver>(*self.state_, *self.tier_, static_cast<int>(self.job_.checkpoint.keep));
  SUANLI_ASSIGN_OR_RETURN(self.metrics_, train::MetricsFile::open(self.folder_.paths().metrics(), self.meta_.step));
  if (options.resume) {
    SUANLI_RETURN_IF_ERROR(self.folder_.update_job(self.job_));
  } else {
    SUANLI_RETURN_IF_ERROR(
        self.folder_.establish(self.job_, {graph, dataset, self.dataset_->info().tokenizer, graph::parameter_count(self.graph_),
                                           train::utc_now(), std::string(train::suanli_version())}));
  }
  self.work_ = work_of(self.graph_);
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

void RunRecorder::announce(int threads) {
  const std::lock_guard lock(mutex_);
  if (std::exchange(is_announced_, true)) return;
  info_.threads = threads;
  info_.setup = clock_->now() - begun_;
  observer_->on_start(info_);
  write(train::metrics_line(info_));
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
void RunRecorder::on_step(const protocol::StepFacts& facts) {
  const std::lock_guard lock(mutex_);
  meter::Usage& usage = meta_.usage;
  Seconds named;
  for (const protocol::StepUse& use : facts.uses)
    for (const auto& [name, seconds] : use.seconds)
      if (const auto cause = meter::cause_from_name(name)) {
        const Seconds share = seconds / static_cast<double>(facts.uses.size());
        usage.of(*cause) += share;
        named += share;
      }
  usage.of(Cause::other) += std::max(Seconds(0), facts.seconds - named);
  const auto book = [&](Part part, std::int64_t runs) {
    usage.runs_of(part) += runs;
    const meter::Work& work = work_[static_cast<std::size_t>(part)];
    usage.work.total += work.total * static_cast<double>(runs);
    for (const auto& [op, flops] : work.by_op) usage.work.by_op[op] += flops * static_cast<double>(runs);
  };
  book(Part::forward, job_.train.micro_batches * facts.attempts);
  book(Part::backward, job_.train.micro_batches * facts.attempts);
  book(Part::update, 1);
  usage.steps += 1;
  usage.tokens += info_.step_tokens;
  meta_.step = facts.step;
  meta_.loss = facts.loss.value_or(0);
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
  record.seconds = facts.seconds;
  record.tokens_per_second = static_cast<double>(record.tokens.value()) / std::max(1e-9, facts.seconds.value());
  record.eta = pace_ * static_cast<double>(job_.train.steps - facts.step);
  write(train::metrics_line(record));
  observer_->on_step(record);
}

Status RunRecorder::evaluate(std::int64_t step) {
  if (!evaluator_) return {};
  SUANLI_ASSIGN_OR_RETURN(const auto evaluation, evaluator_->run(*valid_windows_, job_.eval.batches));
  SUANLI_CHECK(evaluation.has_value());
  const std::lock_guard lock(mutex_);
  meta_.valid_loss = evaluation->loss;
  meta_.best_valid_loss = std::min(meta_.best_valid_loss.value_or(evaluation->loss), evaluation->loss);
  meta_.evaluated_step = step;
  const bool is_bytes = dataset_->info().tokenizer == "bytes";
  const train::EvalRecord record{
      spent(), step, evaluation->loss, evaluation->perplexity(), is_bytes ? evaluation->bits_per_token() : 0, evaluation->tokens};
  write(train::metrics_line(record));
  observer_->on_eval(record);
  return {};
}

Status RunRecorder::save(std::int64_t step) {
  const std::lock_guard saving(saving_);
  if (is_finished_) return tl::unexpected(Error{ErrorCode::interrupted, "the run's record has ended", info_.run_folder, ""});
  train::SnapshotMeta meta;
  {
    const std::lock_guard lock(mutex_);
    meta = meta_;
    if (const auto then = committed_.find(step); then != committed_.end()) {
      meta.loss = then->second.loss;
      meta.usage = then->second.usage;
    }
  }
  // A state whose loss cannot be told is worth keeping all the same.
  if (job_.eval.every > 0 || step == job_.train.steps)
    if (const Status evaluated = evaluate(step); !evaluated) warn(evaluated.error());
  {
    const std::lock_guard lock(mutex_);
    meta.valid_loss = meta_.valid_loss;
    meta.best_valid_loss = meta_.best_valid_loss;
    meta.evaluated_step = meta_.evaluated_step;
  }
  meta.step = step;
  SUANLI_RETURN_IF_ERROR(saver_->begin(meta));
  saver_->finish();
  const train::SnapshotSaver::News news = saver_->news();
  if (!news.errors.empty()) return tl::unexpected(news.errors.front());
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
