#include "suanli/pool/job_runner.h"

#include <algorithm>
#include <utility>

#include "suanli/base/sha256.h"
#include "suanli/pool/job_demand.h"
#include "suanli/route/route_json.h"
#include "suanli/train/codecs.h"
#include "suanli/train/schedule.h"
#include "suanli/train/setup.h"

namespace suanli::pool {
struct JobRunner::Job {
  // The runner's buffers go only when no transfer touches them any more.
  ~Job() {
    if (exchange) exchange->close({ErrorCode::cancelled, "the job was left", "exchange", ""});
  }
  protocol::JobEpoch id;
  train::JobConfig config;
  std::optional<StateLayout> layout;
  std::shared_ptr<LinkExchange> exchange;
  std::unique_ptr<train::Batch> batch;
  std::shared_ptr<SampleFeed> feed;
  float lr = 0;
  std::unique_ptr<StageRunner> runner;  // before what it uses is gone
  meter::Usage told;                    // of the steps that were told
  Bytes told_sent;
  // The step after which all that the stage owns is whole here; none: an update has failed half-way.
  std::optional<std::int64_t> state_of;
  // Exact arithmetic raises exponents while it prepares a step: those after `state_of` are kept.
  std::vector<std::byte> exponents;
  std::optional<Error> broken;  // why no further step can be made
  bool has(const std::string& name) const { return std::ranges::count(layout->owned(runner->stage_index()), name) > 0; }
  // Between steps.
  Status keep_exponents() {
    const std::string name = exponents_name(runner->stage_index());
    if (!has(name)) return {};
    SUANLI_ASSIGN_OR_RETURN(exponents, runner->read_state(name));
    return {};
  }
};

JobRunner::JobRunner(Say say, TensorDesk& desk) : say_(std::move(say)), desk_(desk), thread_([this] { run(); }) {}

JobRunner::~JobRunner() {
  drop({ErrorCode::cancelled, "the worker ends", "worker", ""});
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

void JobRunner::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return ends_ || !work_.empty(); });
    if (work_.empty()) break;
    const std::function<void()> work = std::move(work_.front());
    work_.pop_front();
    lock.unlock();
    work();
    lock.lock();
  }
  lock.unlock();
  job_.reset();
}

// Work that a drop overtakes is not done.
void JobRunner::post(std::function<void()> work) {
  const std::lock_guard lock(mutex_);
  work_.push_back([this, work = std::move(work), drops = drops_] {
    {
      const std::lock_guard guard(mutex_);
      if (drops != drops_) return;
    }
    work();
  });
  changed_.notify_all();
}

void JobRunner::drop(const Error& why) {
  const std::lock_guard lock(mutex_);
  ++drops_;
  if (exchange_) exchange_->fail(why);
  if (feed_) feed_->stop();
  if (restoring_) desk_.give_up(*restoring_, why);
  exchange_.reset();
  feed_.reset();
  given_.clear();
  work_.push_back([this] { job_.reset(); });
  changed_.notify_all();
}

Result<data::Sampler> sampler_of(const protocol::Assign& assign, const train::JobConfig& job) {
  const std::string place = "job " + assign.job;
  SUANLI_ASSIGN_OR_RETURN(const data::DatasetInfo info, data::parse_dataset(assign.dataset, place + ", dataset"));
  SUANLI_ASSIGN_OR_RETURN(const auto numbers, data::WindowNumbers::create(info, data::Split::train, job.model.context, place));
  return data::Sampler::create(numbers.count(), static_cast<std::uint64_t>(job.train.batch * job.train.micro_batches),
                               static_cast<std::uint64_t>(job.train.seed));
}

namespace {

// Room for the buffers of a job. None gives way to another: what both ends have told each other to be kept must still be there.
train::ActivationStore::Options buffer_options(const JobNeeds& needs, const train::JobConfig& job) {
  train::ActivationStore::Options options;
  options.memory = Bytes(static_cast<std::int64_t>(job.codec.memory));
  if (needs.memory_limit > Bytes(0)) options.memory = std::min(options.memory, needs.memory_limit / kBufferShare);
  options.disk = Bytes(static_cast<std::int64_t>(job.codec.disk));
  options.folder = needs.folder;
  return options;
}

}  // namespace

// What runs of a step fails at its next word with another worker; nothing of it has touched the state.
void JobRunner::leave(const protocol::LeaveStep& what) {
  const std::lock_guard lock(mutex_);
  const Error why{ErrorCode::cancelled, "the job was stopped", "job " + what.job, ""};
  is_left_ = true;
  if (exchange_) exchange_->fail(why);
  if (feed_) feed_->stop();
}

void JobRunner::fail(const protocol::JobEpoch& id, const Error& why) { say_(protocol::Failed{id, why}); }

Result<std::shared_ptr<JobRunner::Job>> JobRunner::make_job(JobNeeds needs, std::uint64_t drops) {
  const protocol::Assign& assign = needs.assign;
  const std::string place = "job " + assign.job;
  auto job = std::make_shared<Job>();
  job->id = assign;
  SUANLI_ASSIGN_OR_RETURN(job->config, train::parse_job(assign.job_file, place));
  SUANLI_RETURN_IF_ERROR(train::check_job(job->config, place));
  SUANLI_ASSIGN_OR_RETURN(const engine::Arithmetic arithmetic, train::arithmetic_of(job->config));
  SUANLI_ASSIGN_OR_RETURN(graph::Graph graph, train::training_graph(job->config));
  SUANLI_ASSIGN_OR_RETURN(route::RouteTable table, route::parse_route_table(assign.route, place + ", route table"));
  SUANLI_RETURN_IF_ERROR(route::check(table, table.orders.size()));
  bool are_linked = true;
  for (const auto& replicas : table.placement.stages)
    for (const WorkerIndex worker : replicas) are_linked = are_linked && (worker == assign.index || needs.links.contains(worker));
  const bool fits = are_linked && table.epoch == assign.epoch && assign.index >= 0 &&
                    static_cast<std::size_t>(assign.index) < table.orders.size() &&
                    table.stage_of(assign.index) != route::kNoStage &&
                    static_cast<std::int64_t>(table.routes.size()) == graph.micro_batches();
  if (!fits)
    return tl::unexpected(Error{ErrorCode::protocol, "the route table is not one for this job and this worker", place,
                                "check that coordinator and worker are of one version"});
  const ReplicaState replicas = replica_state(job->config, table.placement);
  SUANLI_ASSIGN_OR_RETURN(
      job->layout, StateLayout::create(graph, table.placement.cut, arithmetic == engine::Arithmetic::exact, replicas));
  job->exchange = std::make_shared<LinkExchange>(needs.links);
  job->batch = std::make_unique<train::Batch>(job->config.train.batch, job->config.model.context);
  const train::Schedule schedule = train::schedule_of(job->config);
  const train::JobCodecs codecs = train::codecs_of(job->config);
  train::ActivationStore::Options sample_buffers;
  SampleBuffers::Samples samples;
  Bytes memory_limit = needs.memory_limit;
  if (memory_limit > Bytes(0)) {
    SUANLI_ASSIGN_OR_RETURN(memory_limit, memory_for_program(demand_of(job->config, graph), table, assign.index, memory_limit));
  }
  if (codecs.forward.receiver_has_buffer()) {
    SUANLI_ASSIGN_OR_RETURN(const data::Sampler sampler, sampler_of(assign, job->config));
    sample_buffers = buffer_options(needs, job->config);
    samples = [sampler, rows = job->config.train.batch](std::int64_t step, std::int64_t micro_batch) {
      std::vector<std::int64_t> windows;
      for (std::int64_t row = 0; row < rows; ++row)
        windows.push_back(static_cast<std::int64_t>(
            sampler.at(static_cast<std::uint64_t>(step), static_cast<std::uint64_t>(micro_batch * rows + row))));
      return windows;
    };
  }
  Job* raw = job.get();
  StageJob stage{.graph = std::move(graph),
                 .arithmetic = arithmetic,
                 .seed = static_cast<std::uint64_t>(job->config.train.seed),
                 .table = std::move(table),
                 .self = assign.index,
                 .threads = needs.threads,
                 .memory_limit = memory_limit,
                 .cap = needs.cap,
                 .codecs = {codecs.forward, codecs.backward},
                 .samples = std::move(samples),
                 .sample_buffers = std::move(sample_buffers),
                 .weights = replicas.weights,
                 .local = replicas.local,
                 .inputs = [raw](std::int64_t step, std::int64_t micro_batch) -> Result<std::span<const engine::HostTensor>> {
                   if (!raw->feed) return std::span<const engine::HostTensor>();
                   SUANLI_RETURN_IF_ERROR(raw->feed->fill(*raw->batch, step, micro_batch));
                   return raw->batch->inputs();
                 },
                 .step_inputs =
                     [raw, schedule](std::int64_t step) {
                       raw->lr = static_cast<float>(schedule.at(step));
                       return std::vector<engine::HostTensor>{{"lr", &raw->lr, Bytes(sizeof raw->lr)}};
                     }};
  SUANLI_ASSIGN_OR_RETURN(job->runner, StageRunner::create(std::move(stage), *job->exchange, real_clock()));
  const auto reads = [&](std::string_view name) { return job->runner->stage().graph.find(name) != graph::kNoNode; };
  if (reads("tokens") || reads("targets")) {
    SUANLI_ASSIGN_OR_RETURN(job->feed, needs.make_feed(assign, job->config, job->runner->order()));
  }
  SUANLI_RETURN_IF_ERROR(restore(*job, needs, drops));
  return job;
}

// The state of a snapshot, from the coordinator.
Status JobRunner::restore(Job& job, const JobNeeds& needs, std::uint64_t drops) {
  if (!needs.assign.from_snapshot) return {};
  TensorRequest request;
  static_cast<protocol::JobEpoch&>(request) = job.id;
  request.step = *needs.assign.from_snapshot;
  request.names = job.layout->held(job.runner->stage_index(), job.runner->rank());
  std::vector<std::vector<std::byte>> tensors;
  std::vector<std::span<std::byte>> buffers;
  for (const std::string& name : request.names) {
    SUANLI_ASSIGN_OR_RETURN(const Bytes size, job.runner->size_of_state(name));
    tensors.emplace_back(static_cast<std::size_t>(size.value()));
  }
  for (std::vector<std::byte>& tensor : tensors) buffers.emplace_back(tensor);
  {
    const std::lock_guard lock(mutex_);
    restoring_ = job.id;
  }
  const Status fetched = desk_.fetch(*needs.coordinator, request, buffers, [&] {
    const std::lock_guard lock(mutex_);
    return drops == drops_;
  });
  {
    const std::lock_guard lock(mutex_);
    restoring_.reset();
  }
  SUANLI_RETURN_IF_ERROR(Status(fetched));
  for (std::size_t i = 0; i < tensors.size(); ++i) SUANLI_RETURN_IF_ERROR(job.runner->write_state(request.names[i], tensors[i]));
  return {};
}

void JobRunner::prepare(JobNeeds needs) {
  std::uint64_t drops = 0;
  {
    const std::lock_guard lock(mutex_);
    drops = drops_;
  }
  post([this, needs = std::move(needs), drops]() mutable {
    const protocol::JobEpoch id = needs.assign;
    job_.reset();
    auto job = make_job(std::move(needs), drops);
    if (!job) return fail(id, job.error());
    {
      const std::lock_guard lock(mutex_);
      if (drops != drops_) return;  // the job is not wanted any more, and goes with this call
      is_left_ = false;
      job_ = std::move(*job);
      exchange_ = job_->exchange;
      feed_ = job_->feed;
    }
    say_(protocol::JobPrepared{id});
  });
}

void JobRunner::run_step(const protocol::RunStep& step) {
  post([this, step] {
    if (!job_ || job_->id != step) return;
    {
      const std::lock_guard lock(mutex_);
      if (is_left_) return;
    }
    const Result<Prepared> prepared =
        job_->broken ? tl::unexpected(*job_->broken) : job_->runner->prepare(step.step - 1, step.attempt);
    protocol::Prepared said;
    static_cast<protocol::JobEpoch&>(said) = step;
    said.step = step.step;
    said.attempt = step.attempt;
    if (!prepared) {
      said.outcome = protocol::Outcome::error;
      said.error = protocol::cut_to_fit(prepared.error());
      return say_(said);
    }
    if (prepared->must_repeat) {
      said.outcome = protocol::Outcome::repeat;
    } else {
      const auto scalar = [&](const char* name) -> std::optional<double> {
        const auto found = prepared->scalars.find(name);
        return found == prepared->scalars.end() ? std::nullopt : std::optional(found->second);
      };
      said.loss = scalar("loss");
      said.grad_norm = scalar("grad_norm");
      // A lane counts its own alone.
      if (const auto tokens = scalar("tokens"); tokens && job_->config.local.inner_steps == 0)
        said.tokens = Tokens(static_cast<std::int64_t>(*tokens));
    }
    say_(said);
  });
}

void JobRunner::commit_step(const protocol::CommitStep& step) {
  post([this, step] {
    if (!job_ || job_->id != step) return;
    job_->state_of.reset();
    const Result<Committed> committed = job_->runner->commit();
    if (!committed) return fail(step, committed.error());
    // What this stage owns is written; that others are gone shows when the next step is tried.
    job_->broken = committed->broken;
    if (const Status kept = job_->keep_exponents(); !kept) return fail(step, kept.error());
    job_->state_of = step.step;
    protocol::Committed said;
    static_cast<protocol::JobEpoch&>(said) = step;
    said.step = step.step;
    const meter::Usage& usage = job_->runner->usage();
    for (const meter::Cause cause : meter::kCauses)
      if (const Seconds spent = usage.of(cause) - job_->told.of(cause); spent > Seconds(0))
        said.seconds[std::string(name_of(cause))] = spent;
    said.flops = usage.work.total - job_->told.work.total;
    said.bytes_out = job_->runner->sent() - job_->told_sent;
    if (const auto notice = job_->runner->take_notice()) said.warning = protocol::cut_to_fit(*notice);
    job_->told = usage;
    job_->told_sent = job_->runner->sent();
    say_(said);
  });
}

void JobRunner::give_state(const protocol::GiveState& what) {
  post([this, what] {
    if (!job_ || job_->id != what) return;
    if (job_->state_of != what.step)
      return fail(what, {ErrorCode::not_found, "the state after step " + std::to_string(what.step) + " is not whole here",
                         "job " + what.job, "go on from the last snapshot"});
    Given given;
    given.id = what;
    given.step = what.step;
    protocol::StatePart said;
    static_cast<protocol::JobEpoch&>(said) = what;
    said.step = what.step;
    const std::string exponents = exponents_name(job_->runner->stage_index());
    for (const std::string& name : job_->layout->owned(job_->runner->stage_index(), job_->runner->rank())) {
      auto bytes = name.ends_with(exponents) ? job_->exponents : job_->runner->read_state(name);
      if (!bytes) return fail(what, bytes.error());
      said.tensors.push_back({name, Bytes(static_cast<std::int64_t>(bytes->size())), sha256(*bytes)});
      given.tensors[name] = std::make_shared<const std::vector<std::byte>>(std::move(*bytes));
    }
    {
      const std::lock_guard lock(mutex_);
      // While steps go on there is room for one copy. A job that is left may still be fetched a snapshot of.
      while (given_.size() > (is_left_ ? 1U : 0U)) given_.pop_front();
      given_.push_back(std::move(given));
    }
    say_(said);
  });
}

Result<std::vector<SharedBytes>> JobRunner::given(const TensorRequest& request) {
  const std::lock_guard lock(mutex_);
  const auto given = std::ranges::find_if(given_, [&](const Given& each) {
    return each.id == static_cast<const protocol::JobEpoch&>(request) && each.step == request.step;
  });
  if (given == given_.end())
    return suanli::fail(ErrorCode::not_found, "the state of step " + std::to_string(request.step) + " is not kept here any more",
                        "job " + request.job, "ask for a newer one");
  std::vector<SharedBytes> tensors;
  for (const std::string& name : request.names) {
    const auto tensor = given->tensors.find(name);
    if (tensor == given->tensors.end())
      return suanli::fail(ErrorCode::not_found, "this worker has no such tensor", name, "check the peer's version of suanli");
    tensors.push_back(tensor->second);
  }
  return tensors;
}

}  // namespace suanli::pool
