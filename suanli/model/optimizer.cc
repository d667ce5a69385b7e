#include "suanli/model/optimizer.h"

#include <cmath>

#include "suanli/base/text.h"

namespace suanli::model {

using graph::Builder;
using graph::f32;
using graph::Node;
using graph::NodeId;
using graph::Phase;

namespace {

// beta^t as a state tensor, advanced by one product per step; returns 1 - beta^t of the step being
// made.
Result<NodeId> bias_correction(Builder& b, const std::string& name, double beta) {
  const NodeId power = b.state(name, f32({}), "ones");
  const NodeId next = b.scale(power, beta);
  SUANLI_RETURN_IF_ERROR(b.status());
  SUANLI_RETURN_IF_ERROR(b.graph().add_update(power, next));
  return b.shift(b.scale(next, -1.0), 1.0);
}

// The sum of the squares of all gradients' elements, parameter by parameter in ascending order.
NodeId squared_norm(Builder& b, const std::vector<graph::ParameterGradient>& gradients) {
  NodeId total = graph::kNoNode;
  for (const auto& [param, gradient] : gradients) {
    b.set_block(b.graph().node(param).block);
    const NodeId part = b.apply("sum_squares", {gradient});
    b.set_block(graph::kWholeJob);
    total = total == graph::kNoNode ? part : b.add(total, part);
  }
  return total;
}

Status check_option(bool good, const char* key, double value, const char* range) {
  if (good && std::isfinite(value)) return {};
  return fail(ErrorCode::config, format("%g is not %s", value, range), key,
              "choose a value in that range");
}

Status check(const AdamWOptions& o) {
  SUANLI_RETURN_IF_ERROR(
      check_option(o.beta1 >= 0 && o.beta1 < 1, "train.beta1", o.beta1, "in [0, 1)"));
  SUANLI_RETURN_IF_ERROR(
      check_option(o.beta2 >= 0 && o.beta2 < 1, "train.beta2", o.beta2, "in [0, 1)"));
  SUANLI_RETURN_IF_ERROR(check_option(o.eps > 0, "train.eps", o.eps, "a number above 0"));
  SUANLI_RETURN_IF_ERROR(
      check_option(o.weight_decay >= 0, "train.weight_decay", o.weight_decay, "a number from 0"));
  return check_option(o.clip_norm >= 0, "train.clip_norm", o.clip_norm, "a number from 0");
}

}  // namespace

Result<OptimizerNodes> add_adamw(Builder& b, const std::vector<graph::ParameterGradient>& gradients,
                                 NodeId tokens, NodeId lr, const AdamWOptions& options) {
  SUANLI_RETURN_IF_ERROR(check(options));
  if (gradients.empty()) return fail(ErrorCode::graph, "no parameter has a gradient", "optimizer");
  b.set_phase(Phase::update);
  b.set_block(graph::kWholeJob);
  SUANLI_ASSIGN_OR_RETURN(const NodeId correction1,
                          bias_correction(b, "adam.beta1_power", options.beta1));
  SUANLI_ASSIGN_OR_RETURN(const NodeId correction2,
                          bias_correction(b, "adam.beta2_power", options.beta2));
  const NodeId squares = squared_norm(b, gradients);
  const NodeId norm = b.div(b.sqrt(squares), tokens);
  const NodeId scale = b.apply("clip_scale", {squares, tokens}, {{"max_norm", options.clip_norm}});

  for (const auto& [param, gradient] : gradients) {
    SUANLI_RETURN_IF_ERROR(b.status());
    const Node node = b.graph().node(param);
    const double decay = node.attrs.integer("decay", 0) != 0 ? options.weight_decay : 0.0;
    b.set_block(node.block);
    const NodeId m = b.state(node.name + ".adam_m", node.type, "zeros");
    const NodeId v = b.state(node.name + ".adam_v", node.type, "zeros");
    const NodeId m_next = b.apply("adamw_m", {m, gradient, scale}, {{"beta1", options.beta1}});
    const NodeId v_next = b.apply("adamw_v", {v, gradient, scale}, {{"beta2", options.beta2}});
    const NodeId w_next = b.apply("adamw_w", {param, m_next, v_next, lr, correction1, correction2},
                                  {{"eps", options.eps}, {"decay", decay}});
    SUANLI_RETURN_IF_ERROR(b.status());
    SUANLI_RETURN_IF_ERROR(b.graph().add_update(m, m_next));
    SUANLI_RETURN_IF_ERROR(b.graph().add_update(v, v_next));
    SUANLI_RETURN_IF_ERROR(b.graph().add_update(param, w_next));
  }
  return OptimizerNodes{norm};
}

}  // namespace suanli::model
