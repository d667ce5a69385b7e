#include "suanli/proof/output_watch.h"

#include <algorithm>

#include "suanli/graph/op.h"

namespace suanli::proof {

using engine::KernelCall;
using engine::Program;
using engine::ValueId;
using graph::NodeId;
using graph::Phase;

namespace {

// The canonical node whose value this is: of those that the call computes, if it says which.
NodeId node_of(const Program& program, const KernelCall& call, ValueId value) {
  for (const NodeId origin : call.origins)
    if (program.value_of_node[static_cast<std::size_t>(origin)] == value) return origin;
  const auto sum = std::ranges::find_if(
      program.token_sums, [&](const Program::TokenSum& each) { return each.sum == value || each.value == value; });
  return sum == program.token_sums.end() ? graph::kNoNode : sum->origin;
}

}  // namespace

OutputWatch::OutputWatch(engine::Executor& executor, const graph::Graph& graph, const OutputVisitor& tamper,
                         const OutputVisitor& visit)
    : executor_(executor), graph_(graph), tamper_(tamper), visit_(visit) {}

OutputWatch::~OutputWatch() { executor_.set_watch({}); }

void OutputWatch::begin_pass(engine::State& state) {
  for (const engine::State::Tensor& tensor : state.tensors()) {
    const OpOutput output = state_output(graph_, tensor.name, tensor.type);
    buffer_.resize(static_cast<std::size_t>(tensor.type.bytes().value()));
    state.read_part(tensor, Bytes(0), buffer_);
    if (show(output)) SUANLI_CHECK(state.write(tensor.name, buffer_).has_value());
  }
  executor_.set_watch([this](Phase phase, std::size_t call) { after_call(phase, call); });
}

void OutputWatch::begin_micro_batch(std::int64_t micro_batch, std::span<const engine::HostTensor> inputs) {
  micro_batch_ = micro_batch;
  if (!visit_) return;
  for (const engine::HostTensor& input : inputs) {
    const std::string name(input.name);
    OpOutput output = state_output(graph_, name, graph_.node(graph_.find(name)).type);
    output.op = graph_.node(output.node).op->name;
    output.micro_batch = micro_batch;
    output.phase = micro_batch == OpOutput::kNoMicroBatch ? Phase::update : Phase::forward;
    const auto* const bytes = static_cast<const std::byte*>(input.data);
    buffer_.assign(bytes, bytes + input.size.value());
    visit_(output, buffer_);
  }
}

OpOutput OutputWatch::name(const KernelCall& call, ValueId value, Phase phase) const {
  const Program& program = executor_.program();
  const engine::Value& known = program.values[static_cast<std::size_t>(value)];
  OpOutput output;
  output.op = call.spec.name;
  output.phase = phase;
  output.block = call.block;
  output.type = known.type;
  output.micro_batch = phase == Phase::update ? OpOutput::kNoMicroBatch : micro_batch_;
  output.node = node_of(program, call, value);
  if (output.node != graph::kNoNode) output.op = graph_.node(output.node).op->name;
  output.value = known.name;
  if (value == program.largest) output.value = "largest";
  if (value == program.magnitudes) output.value = "magnitudes";
  for (const Program::TokenSum& sum : program.token_sums)
    if (sum.sum == value) output.value = "sum";
  return output;
}

void OutputWatch::after_call(Phase phase, std::size_t index) {
  const KernelCall& call = calls_of(executor_.program(), phase)[index];
  for (const ValueId value : call.outputs) {
    const OpOutput output = name(call, value, phase);
    buffer_.resize(static_cast<std::size_t>(output.type.bytes().value()));
    executor_.read_value(value, buffer_);
    if (show(output)) executor_.write_value(value, buffer_);
  }
}

bool OutputWatch::show(const OpOutput& output) {
  const bool is_changed = tamper_ && tamper_(output, buffer_);
  return (visit_ && visit_(output, buffer_)) || is_changed;
}

}  // namespace suanli::proof
