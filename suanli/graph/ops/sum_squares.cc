#include "suanli/graph/ops/common.h"

namespace suanli::graph {
namespace {

Result<TensorType> infer(InputTypes types, const Attrs&) {
  SUANLI_RETURN_IF_ERROR(expect_dtype("sum_squares", types, 0, DType::f32));
  return f32({});
}

void reference(const ReferenceCall& call) {
  call.out.data[0] = 0;
  for (double x : call.inputs[0]->data) call.out.data[0] += x * x;
}

std::vector<NodeId> gradient(const GradientCall& c) {
  return {c.b.scale(c.b.mul(c.inputs[0], c.dy), 2)};
}

std::vector<OpCase> cases() {
  return {{.inputs = {{f32({})}}},
          {.inputs = {{f32({1})}}},
          {.inputs = {{f32({5, 17})}}},
          {.inputs = {{f32({2, 3, 19})}}},
          {.inputs = {{f32({10007})}}, .check_gradient = false}};
}

}  // namespace

void register_sum_squares(Registry& registry) {
  registry.add({.name = "sum_squares",
                .summary = "the sum of x^2 over all elements, a scalar",
                .inputs = 1,
                .infer = infer,
                .flops = per_input_element<2>,
                .gradient = gradient,
                .reference = reference,
                .cases = cases});
}

}  // namespace suanli::graph
