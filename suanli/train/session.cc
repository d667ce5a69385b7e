#include "suanli/train/session.h"

#include <algorithm>
#include <utility>

#include "suanli/base/text.h"
#include "suanli/train/state_digest.h"

namespace suanli::train {

using meter::Cause;
using meter::Ledger;
using meter::Part;

WorkByPart work_by_part(const Setup& setup) {
  const engine::Program& program = setup.executor->program();
  WorkByPart work;
  const auto of = [&](Part part) -> meter::Work& { return work[static_cast<std::size_t>(part)]; };
  of(Part::forward) = meter::work_of(setup.graph, graph::Phase::forward, program);
  of(Part::backward) = meter::work_of(setup.graph, graph::Phase::backward, program);
  of(Part::update) = meter::work_of(setup.graph, graph::Phase::update, program);
  if (setup.evaluator) of(Part::evaluation) = setup.evaluator->batch_work();
  if (setup.generator) of(Part::sample) = setup.generator->token_work();
  return work;
}

Session::Session(Setup& setup, checkpoint::Tier& tier, MetricsFile metrics, SnapshotMeta start,
                 const TrainOptions& options)
    : setup_(setup),
      metrics_(std::move(metrics)),
      options_(options),
      observer_(options.observer ? *options.observer : nobody_),
      schedule_(schedule_of(setup.job)),
      budget_(Flops(setup.job.run.budget)),
      growth_(setup.job),
      work_(work_by_part(setup)),
      batch_(setup.job.train.batch, setup.job.model.context),
      meta_(std::move(start)),
      ledger_(*options.clock, meta_.usage),
      gauges_(*options.clock),
      saver_(*setup.state, tier, static_cast<int>(setup.job.checkpoint.keep)),
      first_step_(meta_.step),
      session_start_(options.clock->now()),
      last_step_end_(session_start_),
      last_step_seconds_(step_seconds()) {}

void Session::announce(const StartInfo& info, const std::vector<Error>& damages, const std::optional<GrowthRecord>& grown) {
  info_ = info;
  info_.work = work_;
  if (grown) {
    write(metrics_line(*grown));
    observer_.on_growth(*grown);
  }
  observer_.on_start(info_);
  write(metrics_line(info_));
  for (const Error& damage : damages) warn(damage);
  if (!setup_.evaluator)
    warn({ErrorCode::empty,
          "the validation split has no window of " + std::to_string(setup_.model.context) +
              " tokens: there will be no evaluation",
          setup_.dataset.folder(),
          "load the text with a validation part, or shorten 'model.context'"});
}

Result<TrainReport> Session::run() {
  if (setup_.cap) setup_.device->set_pacer(setup_.cap.get());
  Result<Outcome> outcome = loop();
  setup_.device->set_pacer(nullptr);
  // A state that led to a NaN is not saved: it may be what is wrong, and older snapshots must not
  // make room for it.
  const bool is_sound = outcome || outcome.error().code != ErrorCode::not_finite;
  const Status saved = is_sound ? save_last() : Status();
  saver_.finish();
  tell_news();
  gauges_.read_now(ledger_.totals());
  write(end_line(meta_.step, outcome ? name_of(*outcome) : name_of(outcome.error().code), spent()));
  if (!outcome) return tl::unexpected(std::move(outcome).error());
  SUANLI_RETURN_IF_ERROR(saved);
  TrainReport report;
  report.outcome = *outcome;
  report.run_folder = info_.run_folder;
  report.step = meta_.step;
  report.steps = setup_.job.train.steps;
  if (meta_.step > 0) report.loss = meta_.loss;
  report.valid_loss = meta_.valid_loss;
  report.best_valid_loss = meta_.best_valid_loss;
  report.usage = ledger_.usage();
  report.session_steps = meta_.step - first_step_;
  report.session_seconds = options_.clock->now() - session_start_;
  return report;
}

Result<Outcome> Session::loop() {
  // A session that was stopped between a step and its evaluation owes it.
  bool owes_evaluation =
      meta_.step > 0 && is_evaluation_due(meta_.step) && meta_.evaluated_step != meta_.step;
  while (true) {
    if (owes_evaluation) {
      if (!budget_.may_start(evaluation_flops(), ledger_.usage().work.total))
        return Outcome::budget_spent;
      SUANLI_ASSIGN_OR_RETURN(const bool alive, evaluate());
      if (!alive) return Outcome::interrupted;
    }
    if (meta_.step > first_step_) {
      if (is_due(setup_.job.sample.every)) SUANLI_RETURN_IF_ERROR(sample());
      if (is_due(setup_.job.checkpoint.every)) SUANLI_RETURN_IF_ERROR(checkpoint());
    }
    if (meta_.step >= setup_.job.train.steps) return Outcome::finished;
    if (is_stopped(options_.stop)) return Outcome::interrupted;
    if (growth_.is_due(meta_.step, meta_.growth)) return Outcome::grows;
    if (!may_start_step()) return Outcome::budget_spent;
    SUANLI_ASSIGN_OR_RETURN(const std::optional<Outcome> stopped, step());
    if (stopped) return *stopped;
    record_step();
    tell_news();
    owes_evaluation = is_evaluation_due(meta_.step);
  }
}

bool Session::is_evaluation_due(std::int64_t step) const {
  const std::int64_t every = setup_.job.eval.every;
  return setup_.evaluator && (step == setup_.job.train.steps || (every > 0 && step % every == 0));
}

Flops Session::evaluation_flops() const {
  if (!setup_.evaluator) return Flops(0);
  const std::int64_t batches =
      setup_.evaluator->batch_count(*setup_.valid_windows, setup_.job.eval.batches);
  return setup_.evaluator->batch_work().total * static_cast<double>(batches);
}

// A step is paid for together with the evaluation and the sample that follow it.
bool Session::may_start_step() {
  Flops work = info_.step_flops;
  const std::int64_t next = meta_.step + 1, sample_every = setup_.job.sample.every;
  if (is_evaluation_due(next)) work += evaluation_flops();
  if (setup_.generator && next % sample_every == 0)
    work += setup_.generator->token_work().total * static_cast<double>(setup_.job.sample.tokens);
  // find_exponents() comes before the step.
  if (setup_.executor->lacks_exponents().value_or(false))
    for (const Part part : {Part::forward, Part::backward}) work += work_[static_cast<std::size_t>(part)].total;
  return budget_.may_start(work, ledger_.usage().work.total);
}

Session::Stopped Session::step() {
  Stopped stopped = run_step();
  if (!stopped && stopped.error().code == ErrorCode::not_finite) {
    const std::string where = "in step " + std::to_string(meta_.step + 1);
    return tl::unexpected(explain(std::move(stopped).error(), where));
  }
  if (!stopped || *stopped) return stopped;
  ++meta_.step;
  ledger_.book_step(info_.step_tokens);
  growth_.note(meta_.step, meta_.loss, meta_.growth);
  if (setup_.arithmetic == engine::Arithmetic::exact && is_due(setup_.job.checkpoint.digest_every)) digest();
  return std::nullopt;
}

Session::Stopped Session::run_step() {
  SUANLI_RETURN_IF_ERROR(find_exponents());
  for (bool again = true; again;) {
    setup_.executor->begin_step();
    for (std::int64_t i = 0; i < setup_.job.train.micro_batches; ++i) {
      SUANLI_ASSIGN_OR_RETURN(const bool alive, micro_batch(i));
      if (!alive) return Outcome::interrupted;
    }
    SUANLI_ASSIGN_OR_RETURN(again, setup_.executor->must_repeat_step());
    if (again && !may_start_step()) return Outcome::budget_spent;
  }
  SUANLI_RETURN_IF_ERROR(update());
  return std::nullopt;
}

// A job of exact arithmetic begins with a look at micro-batch 0, whose work counts like all other.
Status Session::find_exponents() {
  SUANLI_ASSIGN_OR_RETURN(const bool lacks, setup_.executor->lacks_exponents());
  if (!lacks) return {};
  SUANLI_RETURN_IF_ERROR(fill(0));
  {
    const Ledger::Timer timer(ledger_, Cause::forward);
    SUANLI_RETURN_IF_ERROR(setup_.executor->find_exponents(batch_.inputs()));
  }
  book(Part::forward);
  book(Part::backward);
  return after_phase(Cause::forward);
}

Session::Alive Session::micro_batch(std::int64_t index) {
  SUANLI_RETURN_IF_ERROR(fill(index));
  {
    const Ledger::Timer timer(ledger_, Cause::forward);
    SUANLI_RETURN_IF_ERROR(setup_.executor->forward(0, batch_.inputs()));
    setup_.device->synchronize(setup_.device->compute());
  }
  book(Part::forward);
  {
    const Ledger::Timer timer(ledger_, Cause::checkpoint);
    saver_.poll();
  }
  // A cap that is too low is told after backward, whose tasks count too.
  if (Status status = after_phase(Cause::forward); status && is_stopped(options_.stop))
    return false;
  {
    const Ledger::Timer timer(ledger_, Cause::backward);
    SUANLI_RETURN_IF_ERROR(setup_.executor->backward(0));
    setup_.device->synchronize(setup_.device->compute());
  }
  book(Part::backward);
  SUANLI_RETURN_IF_ERROR(after_phase(Cause::backward));
  return !is_stopped(options_.stop);
}

void Session::book(Part part) {
  ledger_.book(part, work_[static_cast<std::size_t>(part)]);
  const Ledger::Timer timer(ledger_, Cause::metering);
  gauges_.read_energy(ledger_.totals());
}

Status Session::fill(std::int64_t micro_batch) {
  const Ledger::Timer timer(ledger_, Cause::data);
  return batch_.fill(setup_.train_windows, setup_.sampler, meta_.step, micro_batch);
}

Status Session::update() {
  lr_ = schedule_.at(meta_.step);
  {
    const Ledger::Timer timer(ledger_, Cause::update);
    const float lr = static_cast<float>(lr_);
    const engine::HostTensor input{"lr", &lr, Bytes(sizeof lr)};
    SUANLI_RETURN_IF_ERROR(setup_.executor->update({&input, 1}));
    setup_.device->synchronize(setup_.device->compute());
    SUANLI_ASSIGN_OR_RETURN(meta_.loss, setup_.executor->read_scalar("loss"));
    SUANLI_ASSIGN_OR_RETURN(grad_norm_, setup_.executor->read_scalar("grad_norm"));
  }
  book(Part::update);
  return after_phase(Cause::update);
}

// Runs the next step's micro-batches until one shows the tensor in which the trouble begins.
Error Session::explain(Error not_finite, const std::string& where) {
  std::string first = "no single micro-batch shows it: their sum is too large";
  for (std::int64_t i = 0; i < setup_.job.train.micro_batches; ++i) {
    if (!fill(i)) break;
    const auto found = setup_.executor->find_not_finite(batch_.inputs());
    if (!found || !*found) continue;
    first = "first bad tensor: " + **found;
    break;
  }
  return {ErrorCode::not_finite, where + " " + not_finite.message + "; " + first, info_.run_folder,
          "the last checkpoint is untouched; begin a new run with a lower 'train.lr' or a longer "
          "warm-up, or look at the "
          "data of that step"};
}

Status Session::after_phase(Cause cause) {
  if (!setup_.cap) return {};
  const Seconds waited = setup_.cap->waited();
  ledger_.move(cause, Cause::waiting, (waited - waited_) / static_cast<double>(setup_.threads));
  waited_ = waited;
  return setup_.cap->check();
}

Session::Alive Session::evaluate() {
  const std::int64_t batches = setup_.job.eval.batches;
  std::optional<Evaluation> evaluation;
  {
    const Ledger::Timer timer(ledger_, Cause::evaluate);
    auto result = setup_.evaluator->run(*setup_.valid_windows, batches, options_.stop,
                                         [this] { book(Part::evaluation); });
    if (!result && result.error().code == ErrorCode::not_finite)
      return tl::unexpected(
          explain(std::move(result).error(), "after step " + std::to_string(meta_.step)));
    if (!result) return tl::unexpected(std::move(result).error());
    evaluation = *result;
  }
  SUANLI_RETURN_IF_ERROR(after_phase(Cause::evaluate));
  if (!evaluation) return false;
  meta_.valid_loss = evaluation->loss;
  meta_.best_valid_loss =
      std::min(meta_.best_valid_loss.value_or(evaluation->loss), evaluation->loss);
  meta_.evaluated_step = meta_.step;
  const bool is_bytes = setup_.dataset.info().tokenizer == "bytes";
  const EvalRecord record{spent(), meta_.step, evaluation->loss, evaluation->perplexity(),
                          is_bytes ? evaluation->bits_per_token() : 0, evaluation->tokens};
  write(metrics_line(record));
  observer_.on_eval(record);
  return true;
}

Status Session::sample() {
  std::vector<std::int32_t> prompt;
  for (const char c : setup_.job.sample.prompt) prompt.push_back(static_cast<unsigned char>(c));
  std::string text;
  const auto keep = [&](std::int32_t token) {
    text += static_cast<char>(token);
    book(Part::sample);
    return true;
  };
  {
    const Ledger::Timer timer(ledger_, Cause::evaluate);
    const model::SamplingOptions options{.seed = static_cast<std::uint64_t>(setup_.job.train.seed)};
    SUANLI_RETURN_IF_ERROR(
        setup_.generator->run(prompt, setup_.job.sample.tokens, options, keep, options_.stop));
  }
  SUANLI_RETURN_IF_ERROR(after_phase(Cause::evaluate));
  write(sample_line(meta_.step, text));
  observer_.on_sample(meta_.step, text);
  return {};
}

Status Session::checkpoint() {
  const bool is_restored = meta_.step == first_step_ && first_step_ > 0;
  if (is_restored || begun_snapshot_ == meta_.step) return {};
  const Ledger::Timer timer(ledger_, Cause::checkpoint);
  gauges_.read(ledger_.totals());
  meta_.usage = ledger_.usage();
  SUANLI_RETURN_IF_ERROR(saver_.begin(meta_));
  begun_snapshot_ = meta_.step;
  return {};
}

void Session::digest() {
  const Ledger::Timer timer(ledger_, Cause::checkpoint);
  write(metrics_line(DigestRecord{meta_.step, state_root(*setup_.state)}));
}

// Saves the state of the last completed step and waits until it is durable.
Status Session::save_last() {
  SUANLI_RETURN_IF_ERROR(checkpoint());
  const Ledger::Timer timer(ledger_, Cause::checkpoint);
  saver_.finish();
  if (!begun_snapshot_ || saver_.saved_step() == begun_snapshot_) return {};
  SUANLI_CHECK(saver_.last_error().has_value());
  return tl::unexpected(*saver_.last_error());
}

Spent Session::spent() {
  const meter::Usage& usage = ledger_.usage();
  return {usage.work.total, usage.work.moved, usage};
}

void Session::record_step() {
  const Ledger::Timer timer(ledger_, Cause::metering);
  gauges_.read(ledger_.totals());
  const Seconds now = options_.clock->now(), booked = step_seconds();
  StepRecord record;
  static_cast<Spent&>(record) = spent();
  record.step = meta_.step;
  record.loss = meta_.loss;
  record.grad_norm = grad_norm_;
  record.lr = lr_;
  record.tokens = info_.step_tokens;
  record.seconds = booked - last_step_seconds_;
  if (record.seconds.value() > 0) {
    record.tokens_per_second = (record.tokens / record.seconds).value();
    if (info_.mfu_base != MfuBase::none)
      record.mfu = info_.step_flops / record.seconds / info_.peak;
  }
  // A running mean of all that passes between steps, evaluations and checkpoints too.
  const auto count = static_cast<double>(meta_.step - first_step_);
  pace_ += (now - last_step_end_ - pace_) * std::max(0.02, 1 / count);
  record.eta = pace_ * static_cast<double>(setup_.job.train.steps - meta_.step);
  last_step_end_ = now;
  last_step_seconds_ = booked;
  write(metrics_line(record));
  const Ledger::Timer not_ours(ledger_, Cause::other);
  observer_.on_step(record);
}

Seconds Session::step_seconds() {
  const meter::Usage& usage = ledger_.usage();
  return usage.total_seconds() - usage.of(Cause::evaluate) - usage.of(Cause::checkpoint);
}

void Session::tell_news() {
  const SnapshotSaver::News news = saver_.news();
  if (news.saved_step) {
    write(metrics_line(CheckpointRecord{*news.saved_step}));
    observer_.on_checkpoint({*news.saved_step});
  }
  for (const Error& error : news.errors) warn(error);
}

void Session::warn(const Error& warning) {
  write(warning_line(meta_.step, warning));
  observer_.on_warning(warning);
}

// Metrics are worth having, but not worth ending a run: a full disk is told once.
void Session::write(const std::string& line) {
  const Status status = metrics_.append(line);
  if (!status && !metrics_failed_) observer_.on_warning(status.error());
  metrics_failed_ = !status;
}

}  // namespace suanli::train
