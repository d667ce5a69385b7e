#include "suanli/graph/ops/common.h"

namespace suanli::graph {
namespace {

Result<TensorType> infer(InputTypes types, const Attrs&) {
  SUANLI_RETURN_IF_ERROR(expect_dtype("micro_sum", types, 0, DType::f32));
  return types[0];
}

// One micro-batch's part; who runs the graph adds the parts up.
void reference(const ReferenceCall& call) { call.out.data = call.inputs[0]->data; }

std::vector<OpCase> cases() {
  return without_gradient(
      {{.inputs = {{f32({})}}}, {.inputs = {{f32({5, 17})}}}, {.inputs = {{f32({2, 3, 19})}}}});
}

}  // namespace

void register_micro_sum(Registry& registry) {
  registry.add({.name = "micro_sum",
                .summary = "the sum of x over the micro-batches of a step, in their order",
                .inputs = 1,
                .cut = CutRule::stays,
                .infer = infer,
                .flops = per_element<1>,
                .reference = reference,
                .cases = cases});
}

}  // namespace suanli::graph
