// Ba, Kiros, Hinton, "Layer normalization", 2016. Over each row of x [N, C]:
//   r = 1 / sqrt(variance + eps), h = (x - mean) r, y = h gamma + beta
// with the variance divided by C.
#include <algorithm>
#include <cmath>

#include "suanli/graph/ops/common.h"

namespace suanli::graph {
namespace {

Status expect_norm(std::string_view op, InputTypes types, const Attrs& attrs) {
  SUANLI_RETURN_IF_ERROR(expect_rows(op, types, 0));
  const double eps = attrs.real("eps");
  if (eps >= 0 && std::isfinite(eps)) return {};
  return op_error(op, "eps is " + std::to_string(eps) + ", expected a number from 0");
}

// Of one row of x: h, and r as the result.
double normalise(const double* x, std::int64_t width, double eps, double* h) {
  double mean = 0;
  for (std::int64_t c = 0; c < width; ++c) mean += x[c];
  mean /= static_cast<double>(width);
  double variance = 0;
  for (std::int64_t c = 0; c < width; ++c) variance += (x[c] - mean) * (x[c] - mean);
  const double r = 1 / std::sqrt(variance / static_cast<double>(width) + eps);
  for (std::int64_t c = 0; c < width; ++c) h[c] = (x[c] - mean) * r;
  return r;
}

struct Normalised {
  NodeId h;  // [N, C]
  NodeId r;  // [N, 1]
};

// The mean of each row of x, which is of `shape` [N, C]: [N, 1].
NodeId row_mean(Builder& b, NodeId x, const Shape& shape) {
  return b.scale(b.reduce_to(x, {shape[0], 1}), 1 / static_cast<double>(shape[1]));
}

Normalised normalise(Builder& b, NodeId x, const Shape& shape, double eps) {
  const NodeId centred = b.sub(x, row_mean(b, x, shape));
  const NodeId r = b.rsqrt(b.shift(row_mean(b, b.mul(centred, centred), shape), eps));
  return {b.mul(centred, r), r};
}

// ---- layer_norm(x, gamma, beta)

Result<TensorType> infer(InputTypes types, const Attrs& attrs) {
  SUANLI_RETURN_IF_ERROR(expect_norm("layer_norm", types, attrs));
  SUANLI_RETURN_IF_ERROR(expect_type("layer_norm", types, 1, f32({types[0].shape[1]})));
  SUANLI_RETURN_IF_ERROR(expect_type("layer_norm", types, 2, f32({types[0].shape[1]})));
  return types[0];
}

void reference(const ReferenceCall& call) {
  const RefTensor& x = *call.inputs[0];
  const std::int64_t width = x.type.shape[1];
  std::vector<double> h(width);
  for (std::int64_t row = 0; row < x.type.shape[0]; ++row) {
    normalise(x.data.data() + row * width, width, call.attrs.real("eps"), h.data());
    for (std::int64_t c = 0; c < width; ++c)
      call.out.data[row * width + c] = h[c] * call.inputs[1]->data[c] + call.inputs[2]->data[c];
  }
}

std::vector<NodeId> gradient(const GradientCall& c) {
  const NodeId x = c.inputs[0];
  NodeId dx = kNoNode, dgamma = kNoNode, dbeta = kNoNode;
  if (c.wanted[0]) dx = c.b.apply("layer_norm_dx", {x, c.inputs[1], c.dy}, c.attrs);
  if (c.wanted[1]) dgamma = c.b.apply("layer_norm_dgamma", {x, c.dy}, c.attrs);
  if (c.wanted[2]) dbeta = c.b.reduce_to(c.dy, c.types[2].shape);
  return {dx, dgamma, dbeta};
}

NodeId decompose(Builder& b, std::span<const NodeId> in, const Attrs& attrs) {
  const Shape shape = b.type(in[0]).shape;
  return b.add(b.mul(normalise(b, in[0], shape, attrs.real("eps")).h, in[1]), in[2]);
}

// ---- layer_norm_dx(x, gamma, dy): with g = dy gamma, dx = r (g - mean(g) - h mean(g h))

Result<TensorType> infer_dx(InputTypes types, const Attrs& attrs) {
  SUANLI_RETURN_IF_ERROR(expect_norm("layer_norm_dx", types, attrs));
  SUANLI_RETURN_IF_ERROR(expect_type("layer_norm_dx", types, 1, f32({types[0].shape[1]})));
  SUANLI_RETURN_IF_ERROR(expect_float_shape("layer_norm_dx", types, 2, types[0].shape));
  return types[0];
}

void reference_dx(const ReferenceCall& call) {
  const RefTensor& x = *call.inputs[0];
  const std::vector<double>& gamma = call.inputs[1]->data;
  const std::int64_t width = x.type.shape[1];
  std::vector<double> h(width);
  for (std::int64_t row = 0; row < x.type.shape[0]; ++row) {
    const double* dy = call.inputs[2]->data.data() + row * width;
    double* dx = call.out.data.data() + row * width;
    const double r =
        normalise(x.data.data() + row * width, width, call.attrs.real("eps"), h.data());
    double mean_g = 0;
    double mean_gh = 0;
    for (std::int64_t c = 0; c < width; ++c) {
      mean_g += dy[c] * gamma[c] / static_cast<double>(width);
      mean_gh += dy[c] * gamma[c] * h[c] / static_cast<double>(width);
    }
    for (std::int64_t c = 0; c < width; ++c)
      dx[c] = r * (dy[c] * gamma[c] - mean_g - h[c] * mean_gh);
  }
}

NodeId decompose_dx(Builder& b, std::span<const NodeId> in, const Attrs& attrs) {
  const Shape shape = b.type(in[0]).shape;
  const auto [h, r] = normalise(b, in[0], shape, attrs.real("eps"));
  const NodeId g = b.mul(in[2], in[1]);
  const NodeId along = b.mul(h, row_mean(b, b.mul(g, h), shape));
  return b.mul(b.sub(b.sub(g, row_mean(b, g, shape)), along), r);
}

// ---- layer_norm_dgamma(x, dy): the sum over rows of dy h

Result<TensorType> infer_dgamma(InputTypes types, const Attrs& attrs) {
  SUANLI_RETURN_IF_ERROR(expect_norm("layer_norm_dgamma", types, attrs));
  SUANLI_RETURN_IF_ERROR(expect_float_shape("layer_norm_dgamma", types, 1, types[0].shape));
  return f32({types[0].shape[1]});
}

void reference_dgamma(const ReferenceCall& call) {
  const RefTensor& x = *call.inputs[0];
  const std::int64_t width = x.type.shape[1];
  std::vector<double> h(width);
  std::ranges::fill(call.out.data, 0);
  for (std::int64_t row = 0; row < x.type.shape[0]; ++row) {
    normalise(x.data.data() + row * width, width, call.attrs.real("eps"), h.data());
    for (std::int64_t c = 0; c < width; ++c)
      call.out.data[c] += call.inputs[1]->data[row * width + c] * h[c];
  }
}

NodeId decompose_dgamma(Builder& b, std::span<const NodeId> in, const Attrs& attrs) {
  const Shape shape = b.type(in[0]).shape;
  const NodeId h = normalise(b, in[0], shape, attrs.real("eps")).h;
  return b.reduce_to(b.mul(in[1], h), {shape[1]});
}

// ---- cases

// Inputs after x as given by `others`, from C and the type of x. A row of one element has variance
// 0.
template <typename Others>
std::vector<OpCase> cases_with(Others others) {
  std::vector<OpCase> list;
  for (const Shape& shape : {Shape{1, 1}, Shape{1, 7}, Shape{5, 2}, Shape{3, 17}, Shape{7, 33}}) {
    OpCase c{.inputs = {{f32(shape)}}, .attrs = {{"eps", 1e-3}}, .tolerance = 1e-4};
    for (CaseInput& input : others(shape)) c.inputs.push_back(std::move(input));
    list.push_back(std::move(c));
  }
  return list;
}

std::vector<OpCase> cases() {
  return cases_with([](const Shape& x) {
    return std::vector<CaseInput>{{f32({x[1]}), 0.5, 1.5}, {f32({x[1]})}};
  });
}

std::vector<OpCase> cases_dx() {
  return without_gradient(cases_with([](const Shape& x) {
    return std::vector<CaseInput>{{f32({x[1]}), 0.5, 1.5}, {f32(x)}};
  }));
}

std::vector<OpCase> cases_dgamma() {
  return without_gradient(
      cases_with([](const Shape& x) { return std::vector<CaseInput>{{f32(x)}}; }));
}

}  // namespace

void register_layer_norm(Registry& registry) {
  registry.add({.name = "layer_norm",
                .summary = "of (x [N, C], gamma [C], beta [C]): y = (x - mean) / sqrt(variance + "
                           "eps) * gamma + beta over each row",
                .inputs = 3,
                .attrs = {{"eps", AttrKind::real}},
                .infer = infer,
                .flops = per_element<7>,
                .gradient = gradient,
                .reference = reference,
                .decompose = decompose,
                .cases = cases});
  registry.add({.name = "layer_norm_dx",
                .summary = "of (x, gamma, dy): dx = r (g - mean(g) - h mean(g h)) with g = dy "
                           "gamma, h = (x - mean) r, r = 1 / sqrt(variance + eps)",
                .inputs = 3,
                .attrs = {{"eps", AttrKind::real}},
                .infer = infer_dx,
                .flops = per_element<13>,
                .reference = reference_dx,
                .decompose = decompose_dx,
                .cases = cases_dx});
  registry.add({.name = "layer_norm_dgamma",
                .summary = "of (x, dy): the sum over rows of dy (x - mean) / sqrt(variance + eps)",
                .inputs = 2,
                .attrs = {{"eps", AttrKind::real}},
                .infer = infer_dgamma,
                .flops = per_input_element<7>,
                .reference = reference_dgamma,
                .decompose = decompose_dgamma,
                .cases = cases_dgamma});
}

}  // namespace suanli::graph
