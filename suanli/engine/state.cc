#include <algorithm>

#include "suanli/base/philox.h"
#include "suanli/engine/executor.h"
#include "suanli/graph/edit.h"
#include "suanli/graph/op.h"

namespace suanli::engine {
namespace {

tl::unexpected<Error> unknown(std::string_view name) {
  return fail(ErrorCode::mismatch, "the state holds no tensor of this name", std::string(name));
}

Status check_size(const State::Tensor& tensor, std::size_t size) {
  if (Bytes(static_cast<std::int64_t>(size)) == tensor.type.bytes()) return {};
  return fail(ErrorCode::mismatch,
              std::to_string(size) + " bytes do not make a " + tensor.type.to_string(),
              tensor.name);
}

// The kernel that writes the beginning of a state tensor, or null where that is zeros.
Result<std::unique_ptr<Kernel>> initial_kernel(Device& device, const graph::Node& node,
                                               std::uint64_t seed) {
  SUANLI_ASSIGN_OR_RETURN(const graph::InitialRule rule, graph::initial_rule(node));
  if (rule.constant == 0 && rule.deviation == 0) return nullptr;
  if (rule.deviation == 0)
    return device.make_kernel({.name = "fill",
                               .inputs = {},
                               .outputs = {node.type},
                               .attrs = {{"value", rule.constant}}});
  return device.make_kernel({.name = "normal",
                             .inputs = {},
                             .outputs = {node.type},
                             .attrs = {{"mean", rule.constant},
                                       {"std", rule.deviation},
                                       {"seed", static_cast<std::int64_t>(seed)},
                                       {"stream", static_cast<std::int64_t>(suanli::Stream::init)},
                                       {"step", static_cast<std::int64_t>(rule.stream_step)}}});
}

}  // namespace

Status State::initialize(const graph::Graph& graph, std::uint64_t seed) {
  for (graph::NodeId id = 0; id < graph.size(); ++id) {
    const graph::Node& node = graph.node(id);
    if (node.op->name != "param" && node.op->name != "state") continue;
    if (const Tensor* known = find(node.name)) {
      if (known->type != node.type)
        return fail(ErrorCode::mismatch,
                    "is " + known->type.to_string() + ", the graph wants " + node.type.to_string(),
                    node.name);
      continue;
    }
    if (node.type.dtype != graph::DType::f32)
      return fail(ErrorCode::unsupported, "state of type " + node.type.to_string(), node.name);
    SUANLI_ASSIGN_OR_RETURN(Buffer buffer, device_.allocate(node.type.bytes()));  // zeros
    SUANLI_RETURN_IF_ERROR(write_initial(node, seed, buffer.data()));
    tensors_.push_back({node.name, node.type, std::move(buffer)});
  }
  return {};
}

Status State::reinitialize(const graph::Graph& graph, std::uint64_t seed) {
  device_.wait(device_.compute(), last_capture_);
  for (const graph::Node& node : graph.nodes()) {
    if (node.op->name != "param" && node.op->name != "state") continue;
    Tensor* tensor = find(node.name);
    if (tensor == nullptr || tensor->type != node.type) return unknown(node.name);
    device_.fill_zero(device_.compute(), tensor->buffer.data(), node.type.bytes());
    SUANLI_RETURN_IF_ERROR(write_initial(node, seed, tensor->buffer.data()));
  }
  return {};
}

Status State::write_initial(const graph::Node& node, std::uint64_t seed, std::byte* zeros) {
  SUANLI_ASSIGN_OR_RETURN(const auto kernel, initial_kernel(device_, node, seed));
  if (kernel) device_.launch(device_.compute(), *kernel, nullptr, &zeros, nullptr, 0);
  device_.synchronize(device_.compute());
  return {};
}

Status State::add(std::string_view name, const graph::TensorType& type, std::span<const std::byte> initial) {
  if (const Tensor* known = find(name)) {
    if (known->type == type) return {};
    return fail(ErrorCode::mismatch, "is " + known->type.to_string() + ", the program wants " + type.to_string(),
                std::string(name));
  }
  SUANLI_ASSIGN_OR_RETURN(Buffer buffer, device_.allocate(type.bytes()));
  tensors_.push_back({std::string(name), type, std::move(buffer)});
  return write(name, initial);
}

void State::remove(std::string_view name) {
  device_.synchronize(last_capture_);
  std::erase_if(tensors_, [&](const Tensor& tensor) { return tensor.name == name; });
}

State::Tensor* State::find(std::string_view name) {
  const auto found = std::find_if(tensors_.begin(), tensors_.end(),
                                  [&](const Tensor& tensor) { return tensor.name == name; });
  return found == tensors_.end() ? nullptr : &*found;
}

Status State::write(std::string_view name, std::span<const std::byte> bytes) {
  Tensor* tensor = find(name);
  if (tensor == nullptr) return unknown(name);
  SUANLI_RETURN_IF_ERROR(check_size(*tensor, bytes.size()));
  device_.wait(device_.compute(), last_capture_);
  device_.copy(device_.compute(), tensor->buffer.data(), bytes.data(), tensor->type.bytes());
  device_.synchronize(device_.compute());
  return {};
}

Status State::read(std::string_view name, std::span<std::byte> bytes) {
  const Tensor* tensor = find(name);
  if (tensor == nullptr) return unknown(name);
  SUANLI_RETURN_IF_ERROR(check_size(*tensor, bytes.size()));
  device_.copy(device_.compute(), bytes.data(), tensor->buffer.data(), tensor->type.bytes());
  device_.synchronize(device_.compute());
  return {};
}

void State::read_part(const Tensor& tensor, Bytes from, std::span<std::byte> bytes) {
  const Bytes size(static_cast<std::int64_t>(bytes.size()));
  SUANLI_CHECK(from >= Bytes(0) && from + size <= tensor.type.bytes());
  device_.copy(device_.compute(), bytes.data(), tensor.buffer.data() + from.value(), size);
  device_.synchronize(device_.compute());
}

Result<State::Capture> State::capture(const std::vector<std::byte*>& to) {
  SUANLI_CHECK(to.size() == tensors_.size());
  SUANLI_CHECK(device_.reached(last_capture_));
  if (!copy_stream_) {
    SUANLI_ASSIGN_OR_RETURN(copy_stream_, device_.make_stream());
  }
  device_.wait(*copy_stream_, device_.record(device_.compute()));
  for (std::size_t i = 0; i < to.size(); ++i)
    device_.copy(*copy_stream_, to[i], tensors_[i].buffer.data(), tensors_[i].type.bytes());
  last_capture_ = device_.record(*copy_stream_);
  return Capture{last_capture_};
}

State::~State() { device_.synchronize(last_capture_); }

}  // namespace suanli::engine
