#include <algorithm>

#include "suanli/graph/ops/common.h"

namespace suanli::graph {
namespace {

Result<TensorType> infer(InputTypes types, const Attrs& attrs) {
  SUANLI_RETURN_IF_ERROR(expect_dtype("one_hot", types, 0, DType::i32));
  SUANLI_RETURN_IF_ERROR(expect_rank("one_hot", types, 0, 1));
  SUANLI_RETURN_IF_ERROR(expect_integer("one_hot", attrs, "depth", 1, kMaxElements));
  const TensorType out = f32({types[0].shape[0], attrs.integer("depth")});
  SUANLI_RETURN_IF_ERROR(expect_shape("one_hot", out.shape));
  return out;
}

void reference(const ReferenceCall& call) {
  const std::int64_t depth = call.attrs.integer("depth");
  std::ranges::fill(call.out.data, 0);
  for (std::size_t i = 0; i < call.inputs[0]->data.size(); ++i) {
    const auto id = static_cast<std::int64_t>(call.inputs[0]->data[i]);
    SUANLI_CHECK(id >= -1 && id < depth);
    if (id >= 0) call.out.data[static_cast<std::int64_t>(i) * depth + id] = 1;
  }
}

std::vector<OpCase> cases() {
  return without_gradient({{.inputs = {{i32({1}), 0, 1}}, .attrs = {{"depth", 1}}},
                           {.inputs = {{i32({11}), -1, 5}}, .attrs = {{"depth", 5}}},
                           {.inputs = {{i32({3}), -1, 17}}, .attrs = {{"depth", 17}}}});
}

}  // namespace

void register_one_hot(Registry& registry) {
  registry.add({.name = "one_hot",
                .summary = "of ids [N]: y [N, depth] is 1 at (n, ids[n]), else 0; id -1 gives a "
                           "row of zeros",
                .inputs = 1,
                .attrs = {{"depth", AttrKind::integer}},
                .cut = CutRule::stays,
                .infer = infer,
                .flops = no_cost,
                .reference = reference,
                .cases = cases});
}

}  // namespace suanli::graph
