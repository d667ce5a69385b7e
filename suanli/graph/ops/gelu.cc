// GELU as in GPT-2: Hendrycks and Gimpel, "Gaussian error linear units", 2016, the tanh
// approximation.
//   u = sqrt(2/pi) (x + 0.044715 x^3),  y = x (1 + tanh u) / 2
#include <cmath>
#include <numbers>

#include "suanli/graph/ops/common.h"

namespace suanli::graph {
namespace {

constexpr double kCubic = 0.044715;
const double kRoot = std::sqrt(2 / std::numbers::pi);

double inner(double x) { return kRoot * (x + kCubic * x * x * x); }

double slope(double x) {
  const double t = std::tanh(inner(x));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * kRoot * (1 + 3 * kCubic * x * x);
}

Result<TensorType> infer(InputTypes types, const Attrs&) {
  SUANLI_RETURN_IF_ERROR(expect_float("gelu", types, 0));
  return f32(types[0].shape);
}

void reference(const ReferenceCall& call) {
  for (std::size_t i = 0; i < call.out.data.size(); ++i) {
    const double x = call.inputs[0]->data[i];
    call.out.data[i] = 0.5 * x * (1 + std::tanh(inner(x)));
  }
}

std::vector<NodeId> gradient(const GradientCall& c) {
  return {c.b.apply("gelu_grad", {c.inputs[0], c.dy})};
}

// tanh u
NodeId gate(Builder& b, NodeId x) {
  const NodeId cube = b.mul(x, b.mul(x, x));
  return b.apply("tanh", {b.scale(b.add(x, b.scale(cube, kCubic)), kRoot)});
}

NodeId decompose(Builder& b, std::span<const NodeId> inputs, const Attrs&) {
  return b.mul(b.scale(inputs[0], 0.5), b.shift(gate(b, inputs[0]), 1));
}

Result<TensorType> infer_grad(InputTypes types, const Attrs&) {
  SUANLI_RETURN_IF_ERROR(expect_float("gelu_grad", types, 0));
  SUANLI_RETURN_IF_ERROR(expect_type("gelu_grad", types, 1, f32(types[0].shape)));
  return types[1];
}

void reference_grad(const ReferenceCall& call) {
  for (std::size_t i = 0; i < call.out.data.size(); ++i)
    call.out.data[i] = slope(call.inputs[0]->data[i]) * call.inputs[1]->data[i];
}

NodeId decompose_grad(Builder& b, std::span<const NodeId> inputs, const Attrs&) {
  const NodeId x = inputs[0];
  const NodeId t = gate(b, x);
  const NodeId du = b.scale(b.shift(b.scale(b.mul(x, x), 3 * kCubic), 1), kRoot);
  const NodeId dt = b.shift(b.scale(b.mul(t, t), -1), 1);
  const NodeId curved = b.mul(b.mul(x, dt), du);
  return b.mul(b.scale(b.add(b.shift(t, 1), curved), 0.5), inputs[1]);
}

// Wide enough to reach both tails.
std::vector<OpCase> cases() {
  std::vector<OpCase> list;
  for (const Shape& shape : {Shape{}, Shape{1}, Shape{7}, Shape{5, 17}, Shape{2, 3, 19}})
    list.push_back({.inputs = {{f32(shape), -6, 6}}});
  return list;
}

std::vector<OpCase> cases_grad() {
  std::vector<OpCase> list = without_gradient(cases());
  for (OpCase& c : list) c.inputs.push_back({c.inputs[0].type});
  return list;
}

}  // namespace

void register_gelu(Registry& registry) {
  registry.add({.name = "gelu",
                .summary = "y = x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2",
                .inputs = 1,
                .op_class = OpClass::elementwise,
                .infer = infer,
                .flops = per_element<9>,
                .gradient = gradient,
                .reference = reference,
                .decompose = decompose,
                .cases = cases});
  registry.add({.name = "gelu_grad",
                .summary = "of (x, dy): dx = dy * d gelu(x) / dx",
                .inputs = 2,
                .op_class = OpClass::elementwise,
                .infer = infer_grad,
                .flops = per_element<17>,
                .reference = reference_grad,
                .decompose = decompose_grad,
                .cases = cases_grad});
}

}  // namespace suanli::graph
