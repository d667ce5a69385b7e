#include "suanli/graph/builder.h"

#include "suanli/base/text.h"
#include "suanli/graph/op.h"

namespace suanli::graph {

const TensorType& Builder::type(NodeId id) const {
  static const TensorType kNone;
  return id == kNoNode ? kNone : graph_.node(id).type;
}

NodeId Builder::apply(std::string_view op_name, std::vector<NodeId> inputs, Attrs attrs) {
  if (!status_) return kNoNode;
  const OpDef* definition = ops().find(op_name);
  if (definition == nullptr) {
    status_ = fail(ErrorCode::graph, "no op is named '" + printable(op_name) + "'");
    return kNoNode;
  }
  Node node;
  node.op = definition;
  node.inputs = std::move(inputs);
  node.attrs = std::move(attrs);
  node.phase = phase_;
  node.block = block_;
  Result<NodeId> id = graph_.add(std::move(node));
  if (!id) {
    status_ = tl::unexpected(std::move(id).error());
    return kNoNode;
  }
  return *id;
}

NodeId Builder::source(std::string_view op_name, std::string name, TensorType type, Attrs attrs) {
  if (!status_) return kNoNode;
  Node node;
  node.op = &op(op_name);
  node.attrs = std::move(attrs);
  node.type = std::move(type);
  node.phase = phase_;
  node.block = block_;
  node.name = std::move(name);
  Result<NodeId> id = graph_.add(std::move(node));
  if (!id) {
    status_ = tl::unexpected(std::move(id).error());
    return kNoNode;
  }
  return *id;
}

NodeId Builder::input(std::string name, TensorType type) {
  return source("input", std::move(name), std::move(type));
}

NodeId Builder::step_input(std::string name, TensorType type) {
  return source("step_input", std::move(name), std::move(type));
}

NodeId Builder::param(std::string name, TensorType type, std::string init, double deviation,
                      bool decay) {
  return source("param", std::move(name), std::move(type),
                {{"init", std::move(init)}, {"std", deviation}, {"decay", std::int64_t{decay}}});
}

NodeId Builder::state(std::string name, TensorType type, std::string init) {
  return source("state", std::move(name), std::move(type), {{"init", std::move(init)}});
}

NodeId Builder::fill(Shape shape, double value) {
  return apply("fill", {}, {{"shape", std::move(shape)}, {"value", value}});
}

NodeId Builder::cast(NodeId x, DType dtype) {
  return apply("cast", {x}, {{"dtype", std::string(name_of(dtype))}});
}

}  // namespace suanli::graph
