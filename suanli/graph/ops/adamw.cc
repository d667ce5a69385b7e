// AdamW: Loshchilov and Hutter, "Decoupled weight decay regularization", 2019, algorithm 2, as in
// torch.optim.AdamW. Gradients come as sums over tokens; `gscale` divides by their number and clips
// (Pascanu and others, "On the difficulty of training recurrent neural networks", 2013), as in
// torch.nn.utils.clip_grad_norm_.
#include <algorithm>
#include <cmath>

#include "suanli/graph/ops/common.h"

namespace suanli::graph {
namespace {

// Inputs 1 .. of the type of input 0, then scalars.
Result<TensorType> infer_update(std::string_view op, InputTypes types, std::size_t tensors) {
  SUANLI_RETURN_IF_ERROR(expect_dtype(op, types, 0, DType::f32));
  for (std::size_t i = 1; i < types.size(); ++i)
    SUANLI_RETURN_IF_ERROR(expect_type(op, types, i, i < tensors ? types[0] : f32({})));
  return types[0];
}

Result<TensorType> infer_m(InputTypes types, const Attrs&) {
  return infer_update("adamw_m", types, 2);
}

void reference_m(const ReferenceCall& call) {
  const double beta1 = call.attrs.real("beta1");
  const double gscale = call.inputs[2]->data[0];
  for (std::size_t i = 0; i < call.out.data.size(); ++i)
    call.out.data[i] =
        beta1 * call.inputs[0]->data[i] + (1 - beta1) * (call.inputs[1]->data[i] * gscale);
}

Result<TensorType> infer_v(InputTypes types, const Attrs&) {
  return infer_update("adamw_v", types, 2);
}

void reference_v(const ReferenceCall& call) {
  const double beta2 = call.attrs.real("beta2");
  const double gscale = call.inputs[2]->data[0];
  for (std::size_t i = 0; i < call.out.data.size(); ++i) {
    const double g = call.inputs[1]->data[i] * gscale;
    call.out.data[i] = beta2 * call.inputs[0]->data[i] + (1 - beta2) * (g * g);
  }
}

Result<TensorType> infer_w(InputTypes types, const Attrs&) {
  return infer_update("adamw_w", types, 3);
}

void reference_w(const ReferenceCall& call) {
  const double eps = call.attrs.real("eps");
  const double lr = call.inputs[3]->data[0];
  const double correction1 = call.inputs[4]->data[0];
  const double correction2 = call.inputs[5]->data[0];
  const double keep = 1 - lr * call.attrs.real("decay");
  for (std::size_t i = 0; i < call.out.data.size(); ++i) {
    const double m = call.inputs[1]->data[i] / correction1;
    const double v = call.inputs[2]->data[i] / correction2;
    call.out.data[i] = call.inputs[0]->data[i] * keep - lr * m / (std::sqrt(v) + eps);
  }
}

Result<TensorType> infer_clip(InputTypes types, const Attrs&) {
  SUANLI_RETURN_IF_ERROR(expect_type("clip_scale", types, 0, f32({})));
  SUANLI_RETURN_IF_ERROR(expect_type("clip_scale", types, 1, f32({})));
  return f32({});
}

void reference_clip(const ReferenceCall& call) {
  const double max_norm = call.attrs.real("max_norm");
  const double tokens = std::max(call.inputs[1]->data[0], 1.0);
  const double norm = std::sqrt(call.inputs[0]->data[0]) / tokens;
  const double coefficient = max_norm > 0 ? std::min(max_norm / (norm + 1e-6), 1.0) : 1.0;
  call.out.data[0] = coefficient / tokens;
}

double flops_clip(InputTypes, const Attrs&, const TensorType&) { return 5; }

const Shape kShapes[] = {{}, {1}, {7}, {5, 17}, {2, 3, 19}};

std::vector<OpCase> cases_m() {
  std::vector<OpCase> list;
  for (const Shape& shape : kShapes)
    list.push_back(
        {.inputs = {{f32(shape)}, {f32(shape)}, {f32({}), 0.1, 1}}, .attrs = {{"beta1", 0.9}}});
  return without_gradient(std::move(list));
}

std::vector<OpCase> cases_v() {
  std::vector<OpCase> list;
  for (const Shape& shape : kShapes)
    list.push_back({.inputs = {{f32(shape), 0, 2}, {f32(shape)}, {f32({}), 0.1, 1}},
                    .attrs = {{"beta2", 0.99}}});
  return without_gradient(std::move(list));
}

std::vector<OpCase> cases_w() {
  std::vector<OpCase> list;
  for (const Shape& shape : kShapes)
    for (const double decay : {0.0, 0.1})
      list.push_back({.inputs = {{f32(shape)},
                                 {f32(shape)},
                                 {f32(shape), 0.01, 2},
                                 {f32({}), 0.001, 0.1},
                                 {f32({}), 0.1, 1},
                                 {f32({}), 0.01, 1}},
                      .attrs = {{"eps", 1e-8}, {"decay", decay}}});
  return without_gradient(std::move(list));
}

// Norm above, below and without a bound; no tokens.
std::vector<OpCase> cases_clip() {
  const auto one = [](double sum, double tokens, double max_norm) {
    return OpCase{.inputs = {{f32({}), sum, sum * 1.5}, {f32({}), tokens, tokens * 1.5}},
                  .attrs = {{"max_norm", max_norm}}};
  };
  return without_gradient(
      {one(1e6, 10, 1), one(1, 1000, 1), one(1e6, 10, 0), one(0, 0, 1), one(0, 16, 0.5)});
}

}  // namespace

void register_adamw(Registry& registry) {
  registry.add({.name = "adamw_m",
                .summary = "of (m, g, gscale): m' = beta1 m + (1 - beta1) g gscale",
                .inputs = 3,
                .attrs = {{"beta1", AttrKind::real}},
                .infer = infer_m,
                .flops = per_element<4>,
                .reference = reference_m,
                .cases = cases_m});
  registry.add({.name = "adamw_v",
                .summary = "of (v, g, gscale): v' = beta2 v + (1 - beta2) (g gscale)^2",
                .inputs = 3,
                .attrs = {{"beta2", AttrKind::real}},
                .infer = infer_v,
                .flops = per_element<5>,
                .reference = reference_v,
                .cases = cases_v});
  registry.add({.name = "adamw_w",
                .summary = "of (w, m', v', lr, c1, c2): w' = w (1 - lr decay) - lr (m'/c1) / "
                           "(sqrt(v'/c2) + eps), c_i = 1 - beta_i^t",
                .inputs = 6,
                .attrs = {{"eps", AttrKind::real}, {"decay", AttrKind::real}},
                .infer = infer_w,
                .flops = per_element<8>,
                .reference = reference_w,
                .cases = cases_w});
  registry.add({.name = "clip_scale",
                .summary = "of (s, tokens): min(max_norm / (norm + 1e-6), 1) / n with n = "
                           "max(tokens, 1), norm = sqrt(s) / n; 1 / n if max_norm is 0",
                .inputs = 2,
                .attrs = {{"max_norm", AttrKind::real}},
                .infer = infer_clip,
                .flops = flops_clip,
                .reference = reference_clip,
                .cases = cases_clip});
}

}  // namespace suanli::graph
