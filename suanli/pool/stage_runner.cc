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
                          graph::stage_graph(job.graph, job.table.placement.cut, static_cast<int>(index)));
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
  return runner;
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

// Makes places for what the work takes from another stage.
void StageRunner::post(const Work& work) {
  const Purpose purpose = work.phase == Phase::forward ? Purpose::forward : Purpose::backward;
  Arrival& arrival = arrivals_[{work.phase, work.micro_batch}];
  const auto& ports = ports_into(work.phase);
  for (const graph::Port& port : ports) arrival.buffers.emplace_back(static_cast<std::size_t>(port.type.bytes().value()));
  for (std::size_t i = 0; i < ports.size(); ++i)
    exchange_.expect(source_of(work), label(purpose, work.micro_batch, ports[i].canonical), arrival.buffers[i]);
}

// Waits for what has been posted for the work. The tensors point into `arrivals_`.
Result<std::vector<engine::HostTensor>> StageRunner::take(const Work& work) {
  const Ledger::Timer timer(ledger_, Cause::communication);
  const Purpose purpose = work.phase == Phase::forward ? Purpose::forward : Purpose::backward;
  const Arrival& arrival = arrivals_.at({work.phase, work.micro_batch});
  const auto& ports = ports_into(work.phase);
  std::vector<engine::HostTensor> tensors;
  for (std::size_t i = 0; i < ports.size(); ++i) {
    SUANLI_RETURN_IF_ERROR(exchange_.wait(source_of(work), label(purpose, work.micro_batch, ports[i].canonical)));
    tensors.push_back({ports[i].name, arrival.buffers[i].data(), ports[i].type.bytes()});
  }
  return tensors;
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
  std::vector<engine::HostTensor> tensors;
  if (takes_from_outside(work)) {
    SUANLI_ASSIGN_OR_RETURN(tensors, take(work));
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
  arrivals_.erase({work.phase, work.micro_batch});
  return send_outputs(work, slot);
}

Status StageRunner::send_outputs(const Work& work, int slot) {
  const Purpose purpose = work.phase == Phase::forward ? Purpose::forward : Purpose::backward;
  const Ledger::Timer timer(ledger_, Cause::communication);
  for (const graph::Port& port : ports_out_of(work.phase)) {
    std::vector<std::byte> bytes(static_cast<std::size_t>(port.type.bytes().value()));
    SUANLI_RETURN_IF_ERROR(executor_->read(port.name, bytes, slot));
    sent_ += port.type.bytes();
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
        post(order().work[next_to_post]);
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
    if (takes_from_outside(work)) post(work);
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
  if (ranks.workers.size() == 1) return {};
  const Ledger::Timer timer(ledger_, Cause::communication);
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

// The parts that write state, or those before them.
Status StageRunner::run_parts(bool writing) {
  const auto& parts = executor_->program().update_parts;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].writes_state != writing) continue;
    std::vector<engine::HostTensor> inputs;
    if (i == 0 || parts[i - 1].round != parts[i].round) {
      SUANLI_ASSIGN_OR_RETURN(inputs, take_step_values(parts[i].round));
    }
    if (!is_void_) {
      const Ledger::Timer timer(ledger_, Cause::update);
      SUANLI_RETURN_IF_ERROR(executor_->update_part(i, inputs));
      device_->synchronize(device_->compute());
    }
    SUANLI_RETURN_IF_ERROR(send_step_values(i));
  }
  return {};
}

Result<Prepared> StageRunner::prepare(std::int64_t step, std::int64_t attempt) {
  SUANLI_CHECK(attempt > kProbe);
  step_ = step;
  is_void_ = false;
  arrivals_.clear();
  if (attempt == 1) SUANLI_RETURN_IF_ERROR(probe());
  attempt_ = attempt;
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
  return prepared;
}

Status StageRunner::commit() {
  SUANLI_CHECK(!is_void_);
  post_step_values(/*writing=*/true);
  SUANLI_RETURN_IF_ERROR(run_parts(/*writing=*/true));
  SUANLI_RETURN_IF_ERROR(book_waiting(Cause::update));
  ledger_.book(meter::Part::update, work_.at(Phase::update));
  const Ledger::Timer timer(ledger_, Cause::communication);
  return exchange_.wait_for_sends(0);
}

// ---- state

Result<const engine::State::Tensor*> StageRunner::find_state(const std::string& name) {
  const engine::State::Tensor* tensor =
      state_->find(name == exponents_name(stage_index_) ? std::string(engine::kExponents) : name);
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
