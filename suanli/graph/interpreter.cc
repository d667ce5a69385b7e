#include "suanli/graph/interpreter.h"

#include <bit>
#include <cmath>
#include <cstdint>

namespace suanli::graph {
namespace {

bool is_state(const Node& node) { return node.op->name == "param" || node.op->name == "state"; }

bool has_value(const RefTensor& slot) {
  return static_cast<std::int64_t>(slot.data.size()) == slot.type.elements();
}

void round_if_bf16(RefTensor& tensor) {
  if (tensor.type.dtype != DType::bf16) return;
  for (double& value : tensor.data) value = round_to_bf16(value);
}

Status check_value(const RefTensor& value, const TensorType& wanted, const std::string& place) {
  if (value.type != wanted)
    return fail(
        ErrorCode::mismatch,
        "the value is " + value.type.to_string() + ", the graph needs " + wanted.to_string(),
        place);
  if (!has_value(value))
    return fail(ErrorCode::mismatch,
                std::to_string(value.data.size()) + " elements given for " + wanted.to_string(),
                place);
  return {};
}

}  // namespace

double round_to_bf16(double value) {
  if (std::isnan(value)) return value;
  // A bf16 is the upper half of a f32: adding half of its last place, less one if that place is
  // even, carries when the nearest value is above. An infinity stays one: its lower half is 0.
  std::uint32_t bits = std::bit_cast<std::uint32_t>(static_cast<float>(value));
  bits += 0x7FFF + ((bits >> 16) & 1);
  return static_cast<double>(std::bit_cast<float>(bits & 0xFFFF0000));
}

Interpreter::Interpreter(const Graph& graph) : graph_(graph) {
  for (const Node& node : graph.nodes())
    if (is_state(node))
      state_.emplace(node.name,
                     RefTensor{node.type, std::vector<double>(node.type.elements(), 0.0)});
}

RefTensor& Interpreter::state(const std::string& name) {
  const auto found = state_.find(name);
  SUANLI_CHECK(found != state_.end());
  return found->second;
}

std::vector<RefTensor> Interpreter::new_slots() const {
  std::vector<RefTensor> slots;
  for (const Node& node : graph_.nodes()) {
    slots.push_back({node.type, {}});
    if (is_state(node)) slots.back() = state_.at(node.name);
    round_if_bf16(slots.back());
  }
  return slots;
}

Status Interpreter::load(const std::string& kind, const Values& values,
                         std::vector<RefTensor>& slots) const {
  for (const auto& [name, value] : values) {
    const NodeId id = graph_.find(name);
    if (id == kNoNode || graph_.node(id).op->name != kind)
      return fail(ErrorCode::mismatch, "the graph has no " + kind + " of this name", name);
    SUANLI_RETURN_IF_ERROR(check_value(value, graph_.node(id).type, kind + " " + name));
    slots[id].data = value.data;
    round_if_bf16(slots[id]);
  }
  for (NodeId id : graph_.nodes_of(kind)) {
    const std::string& name = graph_.node(id).name;
    if (!values.contains(name))
      return fail(ErrorCode::mismatch, "no value is given", kind + " " + name);
  }
  return {};
}

void Interpreter::run(bool update, std::vector<RefTensor>& slots) const {
  for (NodeId id = 0; id < graph_.size(); ++id) {
    const Node& node = graph_.node(id);
    if (is_source(node) || (node.phase == Phase::update) != update) continue;
    std::vector<const RefTensor*> inputs;
    for (NodeId input : node.inputs) {
      SUANLI_CHECK(has_value(slots[input]));
      inputs.push_back(&slots[input]);
    }
    RefTensor out{node.type, std::vector<double>(node.type.elements(), 0.0)};
    node.op->reference({inputs, node.attrs, out});
    round_if_bf16(out);
    // Slots start without data, so the first micro-batch's part is the first term of the sum.
    if (node.op->name == "micro_sum" && !slots[id].data.empty()) {
      for (std::size_t i = 0; i < out.data.size(); ++i) slots[id].data[i] += out.data[i];
    } else {
      slots[id] = std::move(out);
    }
  }
}

Result<Values> Interpreter::step(const std::vector<Values>& micro_inputs,
                                 const Values& step_inputs) {
  if (static_cast<std::int64_t>(micro_inputs.size()) != graph_.micro_batches())
    return fail(ErrorCode::mismatch,
                std::to_string(micro_inputs.size()) + " micro-batches given, the graph has " +
                    std::to_string(graph_.micro_batches()),
                "step");
  std::vector<RefTensor> slots = new_slots();
  SUANLI_RETURN_IF_ERROR(load("step_input", step_inputs, slots));
  for (std::size_t i = 0; i < micro_inputs.size(); ++i) {
    SUANLI_RETURN_IF_ERROR(load("input", micro_inputs[i], slots).map_error([&](Error error) {
      return std::move(error).within("micro-batch " + std::to_string(i));
    }));
    run(false, slots);
  }
  run(true, slots);

  Values outputs;
  for (const Output& output : graph_.outputs()) outputs[output.name] = slots[output.node];
  for (const Update& update : graph_.updates())
    state_[graph_.node(update.state).name] = slots[update.value];
  return outputs;
}

Result<std::vector<RefTensor>> Interpreter::evaluate(const Values& inputs) {
  std::vector<RefTensor> slots = new_slots();
  SUANLI_RETURN_IF_ERROR(load("input", inputs, slots));
  run(false, slots);
  return slots;
}

}  // namespace suanli::graph
