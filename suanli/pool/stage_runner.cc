#include "suanli/pool/stage_runner.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "suanli/base/text.h"
#include "suanli/engine/compile.h"
#include "suanli/pool/state_layout.h"

namespace suanli::pool {

using graph::Phase;
using meter::Cause;
using meter::Ledger;
using route::Work;

namespace {

constexpr std::int64_t kProbe = 0;  // attempt: the look at micro-batch 0

}  // namespace

StageRunner::StageRunner(StageJob job, graph::StageGraph stage, Exchange& exchange, Clock& clock)
    : job_(std::move(job)), stage_(std::move(stage)), exchange_(exchange), ledger_(clock) {}

Result<std::unique_ptr<StageRunner>> StageRunner::create(StageJob job, Exchange& exchange, Clock& clock) {
  const std::size_t index = job.table.stage_of(job.self);
  SUANLI_CHECK(index < job.table.placement.stages.size());
  const auto& replicas = job.table.placement.stages[index];
  SUANLI_ASSIGN_OR_RETURN(graph::StageGraph stage,
                          graph::stage_graph(job.graph, job.table.placement.cut, static_cast<int>(index), job.codecs));
  auto runner = std::unique_ptr<StageRunner>(new StageRunner(std::move(job), std::move(stage), exchange, clock));
  StageRunner& self = *runner;
  self.stage_index_ = index;
  self.rank_ = static_cast<std::size_t>(std::ranges::find(replicas, self.job_.self) - replicas.begin());
  engine::Target target;
  target.arithmetic = self.job_.arithmetic;
  target.slots = self.job_.table.orders.at(static_cast<std::size_t>(self.job_.self)).slots;
  target.memory_limit = self.job_.memory_limit;
  SUANLI_ASSIGN_OR_RETURN(engine::Program program, engine::compile(self.stage_.graph, target));
  for (const Phase phase : {Phase::forward, Phase::backward, Phase::update})
    self.work_[phase] = meter::work_of(self.stage_.graph, phase, program);
  if (self.job_.cap) self.cap_ = std::make_unique<meter::RateCap>(*self.job_.cap, clock);
  self.device_ = engine::make_cpu_device(self.job_.threads);
  self.device_->set_pacer(self.cap_.get());
  self.state_ = std::make_unique<engine::State>(*self.device_);
  SUANLI_RETURN_IF_ERROR(self.state_->initialize(self.stage_.graph, self.job_.seed));
  SUANLI_ASSIGN_OR_RETURN(self.executor_, engine::Executor::create(std::make_shared<const engine::Program>(std::move(program)),
                                                                   *self.device_, *self.state_));
  SUANLI_RETURN_IF_ERROR(self.make_sample_buffers());
  SUANLI_RETURN_IF_ERROR(self.prepare_replicas());
  return runner;
}

// Where a value crosses by AQ-SGD.
Status StageRunner::make_sample_buffers() {
  std::vector<BoundaryRoute> routes;
  const auto add = [&](const graph::Port& port, bool is_sender, const Work& work) {
    if (port.codec.receiver_has_buffer())
      routes.push_back({{port.canonical, is_sender}, work.micro_batch, is_sender ? target_of(work) : source_of(work)});
  };
  for (const Work& work : order().work) {
    for (const graph::Port& port : ports_into(work.phase)) add(port, false, work);
    for (const graph::Port& port : ports_out_of(work.phase)) add(port, true, work);
  }
  if (routes.empty()) return {};
  SUANLI_CHECK(job_.samples != nullptr);
  const auto micro_batches = static_cast<std::int64_t>(job_.table.routes.size());
  SUANLI_ASSIGN_OR_RETURN(SampleBuffers buffers, SampleBuffers::create(job_.sample_buffers, job_.samples, std::move(routes),
                                                                       micro_batches, job_.table.epoch, exchange_));
  sample_buffers_.emplace(std::move(buffers));
  return {};
}

Status StageRunner::prepare_replicas() {
  const auto& replicas = job_.table.placement.stages[stage_index_];
  if (job_.local) {
    SUANLI_RETURN_IF_ERROR(check_lanes(job_.table));
    SUANLI_ASSIGN_OR_RETURN(local_, LocalTraining::create({*state_, exchange_, ledger_}, job_.graph, stage_, *job_.local,
                                                          job_.arithmetic, job_.table.epoch, replicas, rank_));
  } else if (job_.weights && replicas.size() > 1) {
    SUANLI_CHECK(job_.arithmetic != engine::Arithmetic::exact);
    SUANLI_ASSIGN_OR_RETURN(sums_, ReplicaSums::create({*executor_, *state_, exchange_, ledger_}, job_.graph, stage_,
                                                       *job_.weights, replicas, rank_));
    work_.at(Phase::update) += sums_->work();
  }
  return {};
}

Label StageRunner::label(Purpose purpose, std::int64_t number, std::int64_t port) const {
  return {job_.table.epoch, step_, attempt_, purpose, number, port};
}

// ---- one micro-batch

const std::vector<graph::Port>& StageRunner::ports_into(Phase phase) const {
  return phase == Phase::forward ? stage_.receive_forward : stage_.receive_backward;
}

const std::vector<graph::Port>& StageRunner::ports_out_of(Phase phase) const {
  return phase == Phase::forward ? stage_.send_forward : stage_.send_backward;
}

bool StageRunner::takes_from_outside(const Work& work) const { return !ports_into(work.phase).empty(); }

WorkerIndex StageRunner::source_of(const Work& work) const {
  const std::size_t stage = work.phase == Phase::forward ? stage_index_ - 1 : stage_index_ + 1;
  return job_.table.routes[static_cast<std::size_t>(work.micro_batch)].at(stage);
}

WorkerIndex StageRunner::target_of(const Work& work) const {
  const std::size_t stage = work.phase == Phase::forward ? stage_index_ + 1 : stage_index_ - 1;
  return job_.table.routes[static_cast<std::size_t>(work.micro_batch)].at(stage);
}

Result<bool> StageRunner::crosses_in_full(const graph::Port& port, bool is_sender, const Work& work) {
  if (!port.codec.receiver_has_buffer()) return false;
  if (attempt_ == kProbe) return true;
  SUANLI_ASSIGN_OR_RETURN(const bool agreed, sample_buffers_->agreed({port.canonical, is_sender}, work.micro_batch));
  return !agreed;
}

// Makes places for what the work takes from another stage.
Status StageRunner::post(const Work& work) {
  const Purpose purpose = work.phase == Phase::forward ? Purpose::forward : Purpose::backward;
  Arrival& arrival = arrivals_[{work.phase, work.micro_batch}];
  const auto& ports = ports_into(work.phase);
  for (const graph::Port& port : ports) {
    SUANLI_ASSIGN_OR_RETURN(const bool in_full, crosses_in_full(port, /*is_sender=*/false, work));
    arrival.buffers.emplace_back(static_cast<std::size_t>((in_full ? port.type : port.wire).bytes().value()));
  }
  for (std::size_t i = 0; i < ports.size(); ++i)
    exchange_.expect(source_of(work), label(purpose, work.micro_batch, ports[i].canonical), arrival.buffers[i]);
  return {};
}

// Waits for what has been posted for the work. The tensors point into `arrivals_`.
Status StageRunner::take(const Work& work, Tensors& tensors) {
  const Purpose purpose = work.phase == Phase::forward ? Purpose::forward : Purpose::backward;
  Arrival& arrival = arrivals_.at({work.phase, work.micro_batch});
  const auto& ports = ports_into(work.phase);
  for (std::size_t i = 0; i < ports.size(); ++i) {
    const graph::Port& port = ports[i];
    SUANLI_RETURN_IF_ERROR(exchange_.wait(source_of(work), label(purpose, work.micro_batch, port.canonical)));
    SUANLI_ASSIGN_OR_RETURN(const bool in_full, crosses_in_full(port, /*is_sender=*/false, work));
    if (!in_full) {
      tensors.push_back({port.name, arrival.buffers[i].data(), port.wire.bytes()});
      continue;
    }
    const auto& zeros = codec_inputs_.emplace_back(static_cast<std::size_t>(port.wire.bytes().value()));
    tensors.push_back({port.name, zeros.data(), port.wire.bytes()});
  }
  return {};
}

// The buffers and keys that codecs at both ends of the work take.
Status StageRunner::add_codec_inputs(const Work& work, Tensors& tensors) {
  const auto add_buffer = [&](std::size_t index, const graph::Port& port, bool is_sender) -> Status {
    if (!port.codec.receiver_has_buffer()) return {};
    SUANLI_ASSIGN_OR_RETURN(const bool in_full, crosses_in_full(port, is_sender, work));
    auto& buffer = codec_inputs_.emplace_back();
    if (in_full && !is_sender) buffer = arrivals_.at({work.phase, work.micro_batch}).buffers[index];
    buffer.resize(static_cast<std::size_t>(port.type.bytes().value()));
    if (!in_full) SUANLI_RETURN_IF_ERROR(sample_buffers_->read({port.canonical, is_sender}, work.micro_batch, buffer));
    tensors.push_back({codec_names_.emplace_back(port.name + ".buffer"), buffer.data(), port.type.bytes()});
    return {};
  };
  for (std::size_t i = 0; i < ports_into(work.phase).size(); ++i)
    SUANLI_RETURN_IF_ERROR(add_buffer(i, ports_into(work.phase)[i], /*is_sender=*/false));
  for (const graph::Port& port : ports_out_of(work.phase)) {
    SUANLI_RETURN_IF_ERROR(add_buffer(0, port, /*is_sender=*/true));
    if (!port.codec.needs_key()) continue;
    const auto key =
        graph::codec_key(job_.seed, static_cast<std::uint64_t>(step_), static_cast<std::uint32_t>(work.micro_batch));
    const auto bytes = std::as_bytes(std::span(key));
    const auto& kept = codec_inputs_.emplace_back(bytes.begin(), bytes.end());
    tensors.push_back({codec_names_.emplace_back(port.name + ".key"), kept.data(), Bytes(sizeof key)});
  }
  return {};
}

// What this end of AQ-SGD has now of the samples it received.
Status StageRunner::keep_received(const Work& work, int slot) {
  if (attempt_ == kProbe) return {};
  const auto& ports = ports_into(work.phase);
  for (std::size_t i = 0; i < ports.size(); ++i) {
    if (!ports[i].codec.receiver_has_buffer()) continue;
    SUANLI_ASSIGN_OR_RETURN(const bool in_full, crosses_in_full(ports[i], /*is_sender=*/false, work));
    std::vector<std::byte> next = std::move(arrivals_.at({work.phase, work.micro_batch}).buffers[i]);
    if (!in_full) {
      next.resize(static_cast<std::size_t>(ports[i].type.bytes().value()));
      SUANLI_RETURN_IF_ERROR(executor_->read(ports[i].name + ".next", next, slot));
    }
    sample_buffers_->note({ports[i].canonical, false}, work.micro_batch, std::move(next));
  }
  return {};
}

// Moves the time that the rate cap held up a phase to the cause that it is.
Status StageRunner::book_waiting(Cause cause) {
  if (!cap_) return {};
  const Seconds waited = cap_->waited();
  ledger_.move(cause, Cause::waiting, (waited - waited_) / static_cast<double>(job_.threads));
  waited_ = waited;
  Status kept = cap_->check();
  if (!kept) kept.error().place = "the worker's --cap";
  return kept;
}

Status StageRunner::run_work(const Work& work, int slot) {
  Tensors tensors;
  codec_inputs_.clear();
  codec_names_.clear();
  {
    const Ledger::Timer timer(ledger_, Cause::communication);
    if (takes_from_outside(work)) SUANLI_RETURN_IF_ERROR(take(work, tensors));
    SUANLI_RETURN_IF_ERROR(add_codec_inputs(work, tensors));
  }
  if (work.phase == Phase::forward) {
    const Ledger::Timer timer(ledger_, Cause::data);
    SUANLI_ASSIGN_OR_RETURN(const auto inputs, job_.inputs(step_, work.micro_batch));
    for (const engine::HostTensor& input : inputs)
      if (stage_.graph.find(input.name) != graph::kNoNode) tensors.push_back(input);
  }
  {
    const bool is_forward = work.phase == Phase::forward;
    const Ledger::Timer timer(ledger_, is_forward ? Cause::forward : Cause::backward);
    SUANLI_RETURN_IF_ERROR(is_forward ? executor_->forward(slot, tensors) : executor_->backward(slot, tensors));
    device_->synchronize(device_->compute());
  }
  SUANLI_RETURN_IF_ERROR(book_waiting(work.phase == Phase::forward ? Cause::forward : Cause::backward));
  ledger_.book(work.phase == Phase::forward ? meter::Part::forward : meter::Part::backward, work_.at(work.phase));
  const Ledger::Timer timer(ledger_, Cause::communication);
  SUANLI_RETURN_IF_ERROR(keep_received(work, slot));
  arrivals_.erase({work.phase, work.micro_batch});
  return send_outputs(work, slot);
}

Status StageRunner::send_outputs(const Work& work, int slot) {
  const Purpose purpose = work.phase == Phase::forward ? Purpose::forward : Purpose::backward;
  const auto read = [&](const std::string& name, const graph::TensorType& type) -> Result<std::vector<std::byte>> {
    std::vector<std::byte> bytes(static_cast<std::size_t>(type.bytes().value()));
    SUANLI_RETURN_IF_ERROR(executor_->read(name, bytes, slot));
    return bytes;
  };
  for (const graph::Port& port : ports_out_of(work.phase)) {
    SUANLI_ASSIGN_OR_RETURN(const bool in_full, crosses_in_full(port, /*is_sender=*/true, work));
    SUANLI_ASSIGN_OR_RETURN(std::vector<std::byte> bytes,
                            in_full ? read(port.name + ".full", port.type) : read(port.name, port.wire));
    if (port.codec.receiver_has_buffer() && attempt_ != kProbe) {
      std::vector<std::byte> next = bytes;
      if (!in_full) {
        SUANLI_ASSIGN_OR_RETURN(next, read(port.name + ".next", port.type));
      }
      sample_buffers_->note({port.canonical, true}, work.micro_batch, std::move(next));
    }
    sent_ += Bytes(static_cast<std::int64_t>(bytes.size()));
    SUANLI_RETURN_IF_ERROR(exchange_.send(target_of(work), label(purpose, work.micro_batch, port.canonical), std::move(bytes)));
  }
  return {};
}

// All of this worker's micro-batches, in the order of the table.
Status StageRunner::run_order() {
  std::vector<int> free_slots;
  for (int slot = order().slots; slot-- > 0;) free_slots.push_back(slot);
  std::map<std::int64_t, int> slot_of;
  std::size_t next_to_post = 0, posted = 0, taken = 0;
  executor_->begin_step();
  for (const Work& work : order().work) {
    for (; next_to_post < order().work.size() && posted < taken + static_cast<std::size_t>(job_.table.credits); ++next_to_post)
      if (takes_from_outside(order().work[next_to_post])) {
        SUANLI_RETURN_IF_ERROR(post(order().work[next_to_post]));
        ++posted;
      }
    {
      const Ledger::Timer timer(ledger_, Cause::communication);
      SUANLI_RETURN_IF_ERROR(exchange_.wait_for_sends(static_cast<std::size_t>(job_.table.credits) - 1));
    }
    if (work.phase == Phase::forward) {
      SUANLI_CHECK(!free_slots.empty());
      slot_of[work.micro_batch] = free_slots.back();
      free_slots.pop_back();
    }
    const int slot = slot_of.at(work.micro_batch);
    SUANLI_RETURN_IF_ERROR(run_work(work, slot));
    taken += takes_from_outside(work);
    if (work.phase == Phase::backward) free_slots.push_back(slot);
  }
  return {};
}

// ---- sums over micro-batches

// Exact arithmetic begins with a look at micro-batch 0: whoever runs it finds the exponents, the other replicas are told.
Status StageRunner::probe() {
  SUANLI_ASSIGN_OR_RETURN(const bool lacks, executor_->lacks_exponents());
  if (!lacks) return {};
  attempt_ = kProbe;
  const auto& replicas = job_.table.placement.stages[stage_index_];
  const WorkerIndex prober = job_.table.routes[0][stage_index_];
  const Label exponents = label(Purpose::exponents, 0, 0);
  std::vector<std::byte> table(executor_->program().token_sums.size() * sizeof(std::int32_t));
  if (prober != job_.self) {
    exchange_.expect(prober, exponents, table);
    const Ledger::Timer timer(ledger_, Cause::communication);
    SUANLI_RETURN_IF_ERROR(exchange_.wait(prober, exponents));
    return state_->write(engine::kExponents, table);
  }
  executor_->begin_probe();
  for (const Phase phase : {Phase::forward, Phase::backward}) {
    const Work work{phase, 0};
    if (takes_from_outside(work)) SUANLI_RETURN_IF_ERROR(post(work));
    SUANLI_RETURN_IF_ERROR(run_work(work, 0));
  }
  SUANLI_RETURN_IF_ERROR(executor_->end_probe());
  SUANLI_RETURN_IF_ERROR(state_->read(engine::kExponents, table));
  for (const WorkerIndex replica : replicas)
    if (replica != job_.self) SUANLI_RETURN_IF_ERROR(exchange_.send(replica, exponents, table));
  return {};
}

Status StageRunner::add_up_sums() {
  const Ranks ranks{job_.table.placement.stages[stage_index_], rank_};
  if (local_ || ranks.workers.size() == 1) return {};
  const Ledger::Timer timer(ledger_, Cause::communication);
  if (sums_) {
    SUANLI_ASSIGN_OR_RETURN(const Bytes sent, sums_->add_up(label(Purpose::packed_sums, 0, 0)));
    sent_ += sent;
    return {};
  }
  const auto larger = [](std::uint32_t a, std::uint32_t b) { return std::max(a, b); };
  // Sums that do not fit may be any 64 bits.
  const auto add = [](auto a, auto b) { return a + b; };
  if (job_.arithmetic != engine::Arithmetic::exact) {
    engine::FloatSums sums = executor_->read_float_sums();
    sent_ +=
        Bytes(static_cast<std::int64_t>(sums.size() * sizeof(float) * 2 * (ranks.workers.size() - 1) / ranks.workers.size()));
    SUANLI_RETURN_IF_ERROR(all_reduce(exchange_, ranks, label(Purpose::sums, 0, 0), sums, add));
    return executor_->write_float_sums(sums);
  }
  SUANLI_ASSIGN_OR_RETURN(engine::TokenSums sums, executor_->read_token_sums());
  std::vector<std::uint64_t> bits(sums.sums.begin(), sums.sums.end());
  sent_ +=
      Bytes(static_cast<std::int64_t>(bits.size() * sizeof(bits[0]) * 2 * (ranks.workers.size() - 1) / ranks.workers.size()));
  SUANLI_RETURN_IF_ERROR(all_reduce(exchange_, ranks, label(Purpose::sums, 0, 0), bits, add));
  SUANLI_RETURN_IF_ERROR(all_reduce(exchange_, ranks, label(Purpose::sums, 1, 0), sums.largest, larger));
  std::ranges::transform(bits, sums.sums.begin(), [](std::uint64_t each) { return static_cast<std::int64_t>(each); });
  return executor_->write_token_sums(sums);
}

// What replicas keep of their own changes with the state.
Status StageRunner::commit_replicas() {
  if (sums_) SUANLI_RETURN_IF_ERROR(sums_->commit());
  if (!local_) return {};
  SUANLI_ASSIGN_OR_RETURN(const LocalTraining::Sent sent, local_->after_step(step_ + 1));
  sent_ += sent.bytes;
  if (sent.broken) note_broken(*sent.broken);
  return {};
}

// ---- update, in parts

// Replicas of a stage hold the same values after their sums are added up: each has its own correspondent.
WorkerIndex StageRunner::peer_for(int stage) const {
  const auto& replicas = job_.table.placement.stages[static_cast<std::size_t>(stage)];
  return replicas[rank_ % replicas.size()];
}

// Does the round begin behind the commit?
bool StageRunner::round_writes(int round) const {
  const auto& parts = executor_->program().update_parts;
  const auto first = std::ranges::find(parts, round, &engine::Program::UpdatePart::round);
  return first != parts.end() && first->writes_state;
}

// A step value travels behind one byte that says whether it stands for something. Those of rounds behind the commit are awaited
// only then: an attempt that is repeated never sends them.
void StageRunner::post_step_values(bool writing) {
  if (!writing) step_values_.clear();
  for (const graph::Port& port : stage_.receive_step) {
    if (round_writes(port.round) != writing) continue;
    auto& buffer = step_values_[port.canonical];
    buffer.resize(static_cast<std::size_t>(port.type.bytes().value()) + 1);
    exchange_.expect(peer_for(port.stages[0]), label(Purpose::step_value, 0, port.canonical), buffer);
  }
}

Result<std::vector<engine::HostTensor>> StageRunner::take_step_values(int round) {
  std::vector<engine::HostTensor> tensors;
  if (round == 0) {
    given_ = job_.step_inputs(step_);
    for (const engine::HostTensor& input : given_)
      if (stage_.graph.find(input.name) != graph::kNoNode) tensors.push_back(input);
  }
  const Ledger::Timer timer(ledger_, Cause::communication);
  for (const graph::Port& port : stage_.receive_step) {
    if (port.round != round) continue;
    SUANLI_RETURN_IF_ERROR(exchange_.wait(peer_for(port.stages[0]), label(Purpose::step_value, 0, port.canonical)));
    const std::vector<std::byte>& buffer = step_values_.at(port.canonical);
    is_void_ = is_void_ || buffer.front() != std::byte{0};
    tensors.push_back({port.name, buffer.data() + 1, port.type.bytes()});
  }
  return tensors;
}

// To every replica of other stages whose correspondent this worker is.
Status StageRunner::send_step_values(std::size_t part) {
  const auto& outputs = executor_->program().outputs;
  const auto& own = job_.table.placement.stages[stage_index_];
  for (const graph::Port& port : stage_.send_step) {
    const auto output = std::ranges::find(outputs, port.name, &engine::Program::NamedValue::name);
    SUANLI_CHECK(output != outputs.end());
    if (static_cast<std::size_t>(output->step) != part) continue;
    std::vector<std::byte> bytes(static_cast<std::size_t>(port.type.bytes().value()) + 1);
    bytes.front() = std::byte{is_void_};
    if (!is_void_) SUANLI_RETURN_IF_ERROR(executor_->read(port.name, std::span(bytes).subspan(1)));
    for (const int stage : port.stages) {
      const auto& replicas = job_.table.placement.stages[static_cast<std::size_t>(stage)];
      for (std::size_t rank = 0; rank < replicas.size(); ++rank)
        if (rank % own.size() == rank_) {
          sent_ += port.type.bytes();
          SUANLI_RETURN_IF_ERROR(exchange_.send(replicas[rank], label(Purpose::step_value, 0, port.canonical), bytes));
        }
    }
  }
  return {};
}

// The parts that write state, or those before them. Behind the commit no other worker keeps this one from writing what it owns.
Status StageRunner::run_parts(bool writing) {
  const auto& parts = executor_->program().update_parts;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].writes_state != writing) continue;
    std::vector<engine::HostTensor> inputs;
    if (i == 0 || parts[i - 1].round != parts[i].round) {
      auto taken = take_step_values(parts[i].round);
      if (!taken && writing) taken = stand_ins(parts[i].round, taken.error());
      SUANLI_ASSIGN_OR_RETURN(inputs, std::move(taken));
    }
    if (!is_void_) {
      const Ledger::Timer timer(ledger_, Cause::update);
      SUANLI_RETURN_IF_ERROR(executor_->update_part(i, inputs));
      device_->synchronize(device_->compute());
    }
    const Status sent = send_step_values(i);
    if (!sent && !writing) return sent;
    if (!sent) note_broken(sent.error());  // who is not reached lacks a copy
  }
  return {};
}

Result<Prepared> StageRunner::prepare(std::int64_t step, std::int64_t attempt) {
  SUANLI_CHECK(attempt > kProbe);
  step_ = step;
  is_void_ = false;
  arrivals_.clear();
  if (local_) {
    SUANLI_ASSIGN_OR_RETURN(const LocalTraining::Sent sent, local_->before_step(step));
    sent_ += sent.bytes;
    if (sent.broken) return tl::unexpected(*sent.broken);
  }
  if (attempt == 1) SUANLI_RETURN_IF_ERROR(probe());
  attempt_ = attempt;
  if (sample_buffers_) SUANLI_RETURN_IF_ERROR(sample_buffers_->begin_step(step));
  SUANLI_RETURN_IF_ERROR(run_order());
  SUANLI_RETURN_IF_ERROR(add_up_sums());
  SUANLI_ASSIGN_OR_RETURN(is_void_, executor_->must_repeat_step());
  post_step_values(/*writing=*/false);
  SUANLI_RETURN_IF_ERROR(run_parts(/*writing=*/false));
  Prepared prepared{is_void_, {}};
  if (is_void_) return prepared;
  for (const std::size_t guard : executor_->program().guards) {
    const std::string& name = executor_->program().outputs[guard].name;
    SUANLI_ASSIGN_OR_RETURN(const double value, executor_->read_scalar(name));
    if (!std::isfinite(value))
      return fail(ErrorCode::not_finite, name + " is " + format("%g", value) + " in step " + std::to_string(step_ + 1), name,
                  "begin a new run with a lower 'train.lr' or a longer warm-up, or look at the data of that step");
    if (!name.starts_with("send/")) prepared.scalars[name] = value;
  }
  if (local_) SUANLI_RETURN_IF_ERROR(local_->before_commit(step_ + 1));
  return prepared;
}

// ---- commit

Result<Committed> StageRunner::commit() {
  SUANLI_CHECK(!is_void_);
  broken_.reset();
  post_step_values(/*writing=*/true);
  SUANLI_RETURN_IF_ERROR(run_parts(/*writing=*/true));
  SUANLI_RETURN_IF_ERROR(commit_replicas());
  SUANLI_RETURN_IF_ERROR(book_waiting(Cause::update));
  ledger_.book(meter::Part::update, work_.at(Phase::update));
  const Ledger::Timer timer(ledger_, Cause::communication);
  if (sample_buffers_)
    if (const Status kept = sample_buffers_->commit(); !kept) note_broken(kept.error());
  if (const Status sent = exchange_.wait_for_sends(0); !sent) note_broken(sent.error());
  return Committed{broken_};
}

void StageRunner::note_broken(const Error& why) {
  if (!broken_) broken_ = why;
}

// In place of what does not come for a round behind the commit, zeros: they end in copies that nobody is given. The error, if
// something that the stage owns depends on it.
Result<std::vector<engine::HostTensor>> StageRunner::stand_ins(int round, const Error& why) {
  note_broken(why);
  std::vector<engine::HostTensor> tensors;
  for (const graph::Port& port : stage_.receive_step) {
    if (port.round != round) continue;
    if (is_needed_for_own(port)) return tl::unexpected(why);
    std::vector<std::byte>& buffer = step_values_.at(port.canonical);
    std::ranges::fill(buffer, std::byte{0});
    tensors.push_back({port.name, buffer.data() + 1, port.type.bytes()});
  }
  return tensors;
}

bool StageRunner::is_needed_for_own(const graph::Port& port) const {
  const graph::Graph& graph = stage_.graph;
  std::vector<bool> depends(static_cast<std::size_t>(graph.size()), false);
  for (graph::NodeId id = 0; id < graph.size(); ++id) {
    const graph::Node& node = graph.node(id);
    depends[static_cast<std::size_t>(id)] =
        node.name == port.name ||
        std::ranges::any_of(node.inputs, [&](graph::NodeId input) { return depends[static_cast<std::size_t>(input)]; });
  }
  return std::ranges::any_of(graph.updates(), [&](const graph::Update& update) {
    const int block = graph.node(update.state).block;
    const bool is_own = block == graph::kWholeJob || (block >= stage_.nodes.first_block && block <= stage_.nodes.last_block);
    return is_own && depends[static_cast<std::size_t>(update.value)];
  });
}

// ---- state

Result<const engine::State::Tensor*> StageRunner::find_state(const std::string& name) {
  std::string own = job_.local ? lane_tensor(name, rank_, stage_.graph) : name;
  if (own == exponents_name(stage_index_)) own = engine::kExponents;
  const engine::State::Tensor* tensor = state_->find(own);
  if (tensor == nullptr)
    return fail(ErrorCode::mismatch, "stage " + std::to_string(stage_index_) + " holds no tensor of this name", name);
  return tensor;
}

Result<Bytes> StageRunner::size_of_state(const std::string& name) {
  SUANLI_ASSIGN_OR_RETURN(const engine::State::Tensor* tensor, find_state(name));
  return tensor->type.bytes();
}

Result<std::vector<std::byte>> StageRunner::read_state(const std::string& name) {
  SUANLI_ASSIGN_OR_RETURN(const engine::State::Tensor* tensor, find_state(name));
  std::vector<std::byte> bytes(static_cast<std::size_t>(tensor->type.bytes().value()));
  SUANLI_RETURN_IF_ERROR(state_->read(tensor->name, bytes));
  return bytes;
}

Status StageRunner::write_state(const std::string& name, std::span<const std::byte> bytes) {
  SUANLI_ASSIGN_OR_RETURN(const engine::State::Tensor* tensor, find_state(name));
  return state_->write(tensor->name, bytes);
}

}  // namespace suanli::pool
