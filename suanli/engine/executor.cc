#include "suanli/engine/executor.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "suanli/base/clock.h"
#include "suanli/base/text.h"
#include "suanli/engine/cpu/exact/token_sum.h"
#include "suanli/engine/memory_plan.h"
#include "suanli/engine/not_finite.h"

namespace suanli::engine {

using graph::Phase;

namespace {

// A kernel with the addresses it runs on, one set for each slot.
struct BoundCall {
  std::unique_ptr<Kernel> kernel;
  std::vector<std::vector<const std::byte*>> inputs;
  std::vector<std::vector<std::byte*>> outputs;
};

}  // namespace

struct Executor::Impl {
  Device& device;
  State& state;
  Buffer accumulators, inputs, stash, work, scratch;
  std::int64_t input_stride = 0, stash_stride = 0;
  std::vector<BoundCall> calls[3];
  std::vector<CallTime> times[3];
  std::vector<std::byte*> state_of_value;  // address for values in state, else null

  std::byte* address(const Program& program, ValueId id, int slot) const {
    const Value& value = program.values[id];
    switch (value.place) {
      case Place::state:
        return state_of_value[id];
      case Place::accumulator:
        return accumulators.data() + value.offset;
      case Place::input:
        return inputs.data() + slot * input_stride + value.offset;
      case Place::stash:
        return stash.data() + slot * stash_stride + value.offset;
      case Place::work:
        break;
    }
    return work.data() + value.offset;
  }
};

namespace {

Result<std::byte*> state_address(const Value& value, State& state) {
  State::Tensor* tensor = state.find(value.name);
  if (tensor == nullptr)
    return fail(ErrorCode::mismatch, "the state holds no tensor of this name", value.name,
                "initialize the state with this program's graph");
  if (tensor->type != value.type)
    return fail(ErrorCode::mismatch,
                "is " + tensor->type.to_string() + ", the program wants " + value.type.to_string(),
                value.name);
  return tensor->buffer.data();
}

}  // namespace

Executor::Executor(std::shared_ptr<const Program> program, std::unique_ptr<Impl> impl)
    : program_(std::move(program)), impl_(std::move(impl)) {}
Executor::~Executor() = default;

Result<std::unique_ptr<Executor>> Executor::create(std::shared_ptr<const Program> program,
                                                   Device& device, State& state) {
  auto impl = std::unique_ptr<Impl>(new Impl{device, state, {}, {}, {}, {}, {}, 0, 0, {}, {}, {}});
  const MemoryPlan& memory = program->memory;
  const int slots = program->target.slots;
  impl->input_stride = memory.inputs.value() / slots;
  impl->stash_stride = memory.stash_per_slot.value();
  SUANLI_ASSIGN_OR_RETURN(impl->accumulators, device.allocate(memory.accumulators));
  SUANLI_ASSIGN_OR_RETURN(impl->inputs, device.allocate(memory.inputs));
  SUANLI_ASSIGN_OR_RETURN(impl->stash, device.allocate(memory.stash_per_slot * std::int64_t{slots}));
  SUANLI_ASSIGN_OR_RETURN(impl->work, device.allocate(memory.work));
  if (program->exponents >= 0) {
    const graph::TensorType& type = program->values[program->exponents].type;
    const std::vector<std::int32_t> none(program->token_sums.size(), exact::kNoExponent);
    SUANLI_RETURN_IF_ERROR(state.add(kExponents, type, std::as_bytes(std::span(none))));
  }
  impl->state_of_value.assign(program->values.size(), nullptr);
  for (std::size_t id = 0; id < program->values.size(); ++id)
    if (program->values[id].place == Place::state) {
      SUANLI_ASSIGN_OR_RETURN(impl->state_of_value[id], state_address(program->values[id], state));
    }
  Bytes scratch;
  for (Phase phase : {Phase::forward, Phase::backward, Phase::update}) {
    const int p = static_cast<int>(phase);
    for (const KernelCall& call : calls_of(*program, phase)) {
      BoundCall bound;
      SUANLI_ASSIGN_OR_RETURN(bound.kernel, device.make_kernel(call.spec));
      scratch = std::max(scratch, device.scratch_size(*bound.kernel));
      bound.inputs.resize(slots);
      bound.outputs.resize(slots);
      for (int slot = 0; slot < slots; ++slot) {
        for (ValueId id : call.inputs) bound.inputs[slot].push_back(impl->address(*program, id, slot));
        for (ValueId id : call.outputs)
          bound.outputs[slot].push_back(impl->address(*program, id, slot));
        for (std::size_t i = 0; i < bound.inputs[slot].size(); ++i)
          for (std::size_t o = 0; o < bound.outputs[slot].size(); ++o)
            SUANLI_CHECK(bound.inputs[slot][i] != bound.outputs[slot][o] || call.spec.inputs[i].elements() == 0 ||
                         call.spec.outputs[o].elements() == 0 ||
                         bound.kernel->in_place(static_cast<int>(i), static_cast<int>(o)));
      }
      impl->calls[p].push_back(std::move(bound));
    }
    impl->times[p].resize(impl->calls[p].size());
  }
  SUANLI_ASSIGN_OR_RETURN(impl->scratch, device.allocate(scratch));
  return std::unique_ptr<Executor>(new Executor(std::move(program), std::move(impl)));
}

void Executor::begin_step() {
  impl_->device.fill_zero(impl_->device.compute(), impl_->accumulators.data(),
                          program_->memory.accumulators);
}

void Executor::run(Phase phase, int slot, std::size_t first, std::size_t last) {
  const int p = static_cast<int>(phase);
  const std::vector<KernelCall>& calls = calls_of(*program_, phase);
  for (std::size_t i = first; i < last; ++i) {
    BoundCall& bound = impl_->calls[p][i];
    const Seconds start = timing_ ? real_clock().now() : Seconds();
    impl_->device.launch(impl_->device.compute(), *bound.kernel, bound.inputs[slot].data(),
                         bound.outputs[slot].data(), impl_->scratch.data(), calls[i].flops);
    if (watch_) {
      impl_->device.synchronize(impl_->device.compute());
      watch_(phase, i);
    }
    if (!timing_) continue;
    impl_->device.synchronize(impl_->device.compute());
    CallTime& time = impl_->times[p][i];
    time.last_start = start.value();
    time.last_seconds = real_clock().now().value() - time.last_start;
    time.calls += 1;
    time.seconds += time.last_seconds;
  }
}

Status Executor::load(std::span<const HostTensor> tensors, Phase phase, int round, int slot) {
  constexpr std::string_view kKinds[] = {"input", "gradient", "step input"};
  const std::string kind(kKinds[static_cast<int>(phase)]);
  std::size_t expected = 0;
  for (const Program::NamedValue& source : program_->sources) {
    const Value& value = program_->values[source.value];
    if (value.place != Place::input || source.phase != phase || source.step != round) continue;
    ++expected;
    const auto given = std::find_if(tensors.begin(), tensors.end(),
                                    [&](const HostTensor& t) { return t.name == source.name; });
    if (given == tensors.end())
      return fail(ErrorCode::mismatch, "the " + kind + " is missing", source.name);
    if (given->size != value.type.bytes())
      return fail(ErrorCode::mismatch,
                  std::to_string(given->size.value()) + " bytes do not make a " +
                      value.type.to_string(),
                  source.name);
    SUANLI_RETURN_IF_ERROR(check_bounds(*given));
    impl_->device.copy(impl_->device.compute(), impl_->address(*program_, source.value, slot),
                       given->data, given->size);
  }
  if (expected != tensors.size())
    return fail(ErrorCode::mismatch, std::to_string(tensors.size()) + " tensors given, " +
                                         std::to_string(expected) + " expected", kind);
  return {};
}

Status Executor::check_bounds(const HostTensor& tensor) const {
  for (const IndexBound& bound : program_->index_bounds) {
    if (bound.input != tensor.name) continue;
    const std::span ids(static_cast<const std::int32_t*>(tensor.data),
                        static_cast<std::size_t>(tensor.size.value()) / 4);
    for (std::size_t i = 0; i < ids.size(); ++i)
      if (ids[i] < bound.low || ids[i] >= bound.high)
        return fail(ErrorCode::mismatch,
                    "value " + std::to_string(ids[i]) + " at position " + std::to_string(i) +
                        " is not in [" + std::to_string(bound.low) + ", " +
                        std::to_string(bound.high) + ")",
                    bound.input, "use data whose vocabulary is that of the model");
  }
  return {};
}

Status Executor::forward(int slot, std::span<const HostTensor> inputs) {
  SUANLI_CHECK(slot >= 0 && slot < program_->target.slots);
  SUANLI_CHECK(slot == 0 || program_->micro_batches > 1);
  if (!probing_ && !waits_for_gradients()) {
    SUANLI_ASSIGN_OR_RETURN(const bool lacks, lacks_exponents());
    if (lacks) SUANLI_RETURN_IF_ERROR(find_exponents(inputs, slot));
  }
  SUANLI_RETURN_IF_ERROR(load(inputs, Phase::forward, 0, slot));
  run(Phase::forward, slot, 0, impl_->calls[0].size());
  return {};
}

Status Executor::backward(int slot, std::span<const HostTensor> gradients) {
  SUANLI_CHECK(slot >= 0 && slot < program_->target.slots);
  SUANLI_RETURN_IF_ERROR(load(gradients, Phase::backward, 0, slot));
  run(Phase::backward, slot, 0, impl_->calls[1].size());
  return {};
}

Status Executor::check_scalars() const {
  for (std::size_t index : program_->guards) {
    const Program::NamedValue& output = program_->outputs[index];
    SUANLI_ASSIGN_OR_RETURN(const double scalar, read_scalar(output.name));
    if (!std::isfinite(scalar))
      return fail(ErrorCode::not_finite, output.name + " is " + format("%g", scalar), output.name);
  }
  return {};
}

bool Executor::waits_for_gradients() const {
  return std::ranges::any_of(program_->sources, [&](const Program::NamedValue& source) {
    return program_->values[source.value].place == Place::input && source.phase == Phase::backward;
  });
}

Status Executor::update(std::span<const HostTensor> step_inputs) {
  SUANLI_CHECK(program_->update_parts.back().round == 0);
  for (std::size_t part = 0; part < program_->update_parts.size(); ++part)
    SUANLI_RETURN_IF_ERROR(update_part(part, part == 0 ? step_inputs : std::span<const HostTensor>()));
  return {};
}

Status Executor::update_part(std::size_t index, std::span<const HostTensor> step_inputs) {
  const auto& parts = program_->update_parts;
  const Program::UpdatePart& part = parts.at(index);
  if (index == 0) SUANLI_RETURN_IF_ERROR(check_token_sums());
  if (index == 0 || parts[index - 1].round != part.round) {
    SUANLI_RETURN_IF_ERROR(load(step_inputs, Phase::update, part.round, 0));
  } else {
    SUANLI_CHECK(step_inputs.empty());
  }
  Device& device = impl_->device;
  if (part.writes_state && (index == 0 || !parts[index - 1].writes_state)) {
    SUANLI_RETURN_IF_ERROR(check_scalars());
    device.wait(device.compute(), impl_->state.last_capture());
  }
  run(Phase::update, 0, part.first, part.last);
  if (index + 1 < parts.size()) return {};
  for (const Program::StateCopy& copy : program_->state_copies)
    device.copy(device.compute(), impl_->address(*program_, copy.to, 0),
                impl_->address(*program_, copy.from, 0), program_->values[copy.to].type.bytes());
  return {};
}

namespace {

// One number for each of the program's token sums.
template <typename T>
std::vector<T> read_table(Device& device, const Program& program, const std::byte* from) {
  std::vector<T> table(program.token_sums.size());
  device.copy(device.compute(), table.data(), from, Bytes(static_cast<std::int64_t>(table.size() * sizeof(T))));
  device.synchronize(device.compute());
  return table;
}

// A sentence about the first sum with a term that is not finite.
Status check_finite(const Program& program, const std::vector<std::uint32_t>& largest) {
  const auto bad = std::ranges::find_if_not(largest, exact::is_finite);
  if (bad == largest.end()) return {};
  const Program::TokenSum& sum = program.token_sums[static_cast<std::size_t>(bad - largest.begin())];
  const std::string name = "the sum %" + std::to_string(sum.origin);
  return fail(ErrorCode::not_finite, "a term of " + name + " (" + program.values[sum.value].type.to_string() + ") is " +
                                         (*bad == 0x7F800000 ? "inf" : "nan"), name);
}

}  // namespace

std::vector<std::int32_t> Executor::exponents() const {
  return read_table<std::int32_t>(impl_->device, *program_, impl_->address(*program_, program_->exponents, 0));
}

std::vector<std::uint32_t> Executor::largest_terms() const {
  return read_table<std::uint32_t>(impl_->device, *program_, impl_->address(*program_, program_->largest, 0));
}

Result<bool> Executor::lacks_exponents() const {
  if (program_->token_sums.empty()) return false;
  const std::vector<std::int32_t> known = exponents();
  return std::ranges::find(known, exact::kNoExponent) != known.end();
}

Status Executor::find_exponents(std::span<const HostTensor> micro_batch_0, int slot) {
  if (program_->token_sums.empty()) return {};
  begin_probe();
  Status run = forward(slot, micro_batch_0);
  if (run) run = backward(slot);
  const Status ended = end_probe();
  return run ? ended : run;
}

void Executor::begin_probe() {
  begin_step();
  probing_ = true;
}

Status Executor::end_probe() {
  SUANLI_CHECK(probing_);
  probing_ = false;
  if (program_->token_sums.empty()) {
    begin_step();
    return {};
  }
  const std::vector<std::uint32_t> largest = largest_terms();
  begin_step();
  SUANLI_RETURN_IF_ERROR(check_finite(*program_, largest));
  std::vector<std::int32_t> found = exponents();
  for (std::size_t i = 0; i < found.size(); ++i)
    if (found[i] == exact::kNoExponent) found[i] = exact::first_exponent(largest[i]);
  return impl_->state.write(kExponents, std::as_bytes(std::span(found)));
}

Result<bool> Executor::must_repeat_step() {
  if (program_->token_sums.empty()) return false;
  const std::vector<std::uint32_t> largest = largest_terms();
  const std::vector<std::int32_t> before = exponents();
  if (!check_finite(*program_, largest)) return false;
  std::vector<std::int32_t> raised = before;
  for (std::size_t i = 0; i < raised.size(); ++i)
    if (raised[i] != exact::kNoExponent) raised[i] = exact::raised_exponent(largest[i], raised[i]);
  if (raised == before) return false;
  SUANLI_RETURN_IF_ERROR(impl_->state.write(kExponents, std::as_bytes(std::span(raised))));
  return true;
}

Status Executor::check_token_sums() const {
  if (program_->token_sums.empty()) return {};
  const std::vector<std::uint32_t> largest = largest_terms();
  SUANLI_RETURN_IF_ERROR(check_finite(*program_, largest));
  const std::vector<std::int32_t> known = exponents();
  for (std::size_t i = 0; i < known.size(); ++i)
    if (known[i] != exact::kNoExponent && !exact::fits(largest[i], known[i]))
      return fail(ErrorCode::mismatch,
                  "a term of the sum %" + std::to_string(program_->token_sums[i].origin) + " does not fit its exponent " +
                      std::to_string(known[i]),
                  "step", "repeat the step as must_repeat_step() asks for");
  return {};
}

Result<TokenSums> Executor::read_token_sums() const {
  TokenSums all;
  if (program_->token_sums.empty()) return all;
  Device& device = impl_->device;
  for (const Program::TokenSum& each : program_->token_sums) {
    const Value& sum = program_->values[each.sum];
    const std::size_t begin = all.sums.size();
    all.sums.resize(begin + static_cast<std::size_t>(sum.type.elements()));
    device.copy(device.compute(), all.sums.data() + begin, impl_->address(*program_, each.sum, 0), sum.type.bytes());
  }
  all.largest = largest_terms();
  return all;
}

namespace {

Status check_sizes(const Program& program, const TokenSums& given) {
  std::int64_t elements = 0;
  for (const Program::TokenSum& each : program.token_sums) elements += program.values[each.sum].type.elements();
  if (static_cast<std::int64_t>(given.sums.size()) == elements && given.largest.size() == program.token_sums.size()) return {};
  return fail(ErrorCode::mismatch, std::to_string(given.sums.size()) + " sums given, the program has " + std::to_string(elements),
              "token sums");
}

}  // namespace

Status Executor::add_token_sums(const TokenSums& others) {
  SUANLI_RETURN_IF_ERROR(check_sizes(*program_, others));
  SUANLI_ASSIGN_OR_RETURN(TokenSums all, read_token_sums());
  // Sums that do not fit are worth nothing and may be any 64 bits: they must not overflow.
  for (std::size_t i = 0; i < all.sums.size(); ++i)
    all.sums[i] = static_cast<std::int64_t>(static_cast<std::uint64_t>(all.sums[i]) + static_cast<std::uint64_t>(others.sums[i]));
  for (std::size_t i = 0; i < all.largest.size(); ++i) all.largest[i] = std::max(all.largest[i], others.largest[i]);
  return write_token_sums(all);
}

Status Executor::write_token_sums(const TokenSums& all) {
  SUANLI_RETURN_IF_ERROR(check_sizes(*program_, all));
  if (program_->token_sums.empty()) return {};
  Device& device = impl_->device;
  const std::int64_t* from = all.sums.data();
  for (const Program::TokenSum& each : program_->token_sums) {
    const graph::TensorType& type = program_->values[each.sum].type;
    device.copy(device.compute(), impl_->address(*program_, each.sum, 0), from, type.bytes());
    from += type.elements();
  }
  device.copy(device.compute(), impl_->address(*program_, program_->largest, 0), all.largest.data(),
              program_->values[program_->largest].type.bytes());
  device.synchronize(device.compute());
  return {};
}

namespace {

std::vector<ValueId> float_accumulators(const Program& program) {
  SUANLI_CHECK(program.token_sums.empty());
  return program.accumulators;
}

}  // namespace

FloatSums Executor::read_float_sums() const {
  std::int64_t elements = 0;
  for (const ValueId id : float_accumulators(*program_)) elements += program_->values[id].type.elements();
  FloatSums all(static_cast<std::size_t>(elements));
  Device& device = impl_->device;
  float* to = all.data();
  for (const ValueId id : program_->accumulators) {
    const graph::TensorType& type = program_->values[id].type;
    device.copy(device.compute(), to, impl_->address(*program_, id, 0), type.bytes());
    to += type.elements();
  }
  device.synchronize(device.compute());
  return all;
}

Status Executor::write_float_sums(const FloatSums& sums) {
  std::int64_t elements = 0;
  for (const ValueId id : float_accumulators(*program_)) elements += program_->values[id].type.elements();
  if (elements != static_cast<std::int64_t>(sums.size()))
    return fail(ErrorCode::mismatch,
                std::to_string(sums.size()) + " sums given, the program has " + std::to_string(elements), "sums");
  Device& device = impl_->device;
  const float* from = sums.data();
  for (const ValueId id : program_->accumulators) {
    const graph::TensorType& type = program_->values[id].type;
    device.copy(device.compute(), impl_->address(*program_, id, 0), from, type.bytes());
    from += type.elements();
  }
  device.synchronize(device.compute());
  return {};
}

Status Executor::read(std::string_view output, std::span<std::byte> bytes, int slot) const {
  const auto found = std::find_if(program_->outputs.begin(), program_->outputs.end(),
                                  [&](const Program::NamedValue& o) { return o.name == output; });
  if (found == program_->outputs.end())
    return fail(ErrorCode::mismatch, "the program has no output of this name", std::string(output));
  const Value& value = program_->values[found->value];
  if (Bytes(static_cast<std::int64_t>(bytes.size())) != value.type.bytes())
    return fail(ErrorCode::mismatch, std::to_string(bytes.size()) + " bytes do not hold a " +
                                         value.type.to_string(), std::string(output));
  Device& device = impl_->device;
  device.copy(device.compute(), bytes.data(), impl_->address(*program_, found->value, slot),
              value.type.bytes());
  device.synchronize(device.compute());
  return {};
}

void Executor::read_value(ValueId value, std::span<std::byte> bytes, int slot) const {
  const Bytes size = program_->values.at(static_cast<std::size_t>(value)).type.bytes();
  SUANLI_CHECK(size == Bytes(static_cast<std::int64_t>(bytes.size())));
  impl_->device.copy(impl_->device.compute(), bytes.data(), impl_->address(*program_, value, slot), size);
  impl_->device.synchronize(impl_->device.compute());
}

void Executor::write_value(ValueId value, std::span<const std::byte> bytes, int slot) {
  const Bytes size = program_->values.at(static_cast<std::size_t>(value)).type.bytes();
  SUANLI_CHECK(size == Bytes(static_cast<std::int64_t>(bytes.size())));
  impl_->device.copy(impl_->device.compute(), impl_->address(*program_, value, slot), bytes.data(), size);
  impl_->device.synchronize(impl_->device.compute());
}

Result<double> Executor::read_scalar(std::string_view output, int slot) const {
  float scalar = 0;
  SUANLI_RETURN_IF_ERROR(read(output, std::as_writable_bytes(std::span(&scalar, 1)), slot));
  return scalar;
}

Result<std::optional<std::string>> Executor::find_not_finite(std::span<const HostTensor> inputs) {
  begin_step();
  SUANLI_RETURN_IF_ERROR(load(inputs, Phase::forward, 0, 0));
  impl_->device.synchronize(impl_->device.compute());
  for (Phase phase : {Phase::forward, Phase::backward}) {
    const std::vector<KernelCall>& calls = calls_of(*program_, phase);
    for (std::size_t i = 0; i < calls.size(); ++i) {
      for (ValueId id : calls[i].inputs) {
        const Value& value = program_->values[id];
        if (value.place != Place::state) continue;
        if (auto bad = find_bad_element(impl_->device, impl_->address(*program_, id, 0), value.type))
          return "parameter " + value.name + " holds " + *bad;
      }
      run(phase, 0, i, i + 1);
      for (ValueId id : calls[i].outputs)
        if (auto bad = find_bad_element(impl_->device, impl_->address(*program_, id, 0),
                                        program_->values[id].type))
          return describe_call(*program_, calls[i], phase) + " made " + *bad;
    }
  }
  return std::optional<std::string>();
}

const std::vector<CallTime>& Executor::call_times(Phase phase) const {
  return impl_->times[static_cast<int>(phase)];
}

std::string Executor::implementation(Phase phase, std::size_t index) const {
  return impl_->calls[static_cast<int>(phase)].at(index).kernel->implementation();
}

Bytes Executor::allocated() const {
  return impl_->accumulators.size() + impl_->inputs.size() + impl_->stash.size() +
         impl_->work.size() + impl_->scratch.size();
}

}  // namespace suanli::engine
