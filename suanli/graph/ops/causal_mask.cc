#include "suanli/graph/ops/common.h"

namespace suanli::graph {
namespace {

// Far below any score, so that its exponential is 0, and still finite.
constexpr double kMasked = -1e30;

Result<TensorType> infer(InputTypes types, const Attrs& attrs) {
  SUANLI_RETURN_IF_ERROR(expect_dtype("causal_mask", types, 0, DType::f32));
  SUANLI_RETURN_IF_ERROR(expect_integer("causal_mask", attrs, "seq", 1, kMaxElements));
  const std::int64_t seq = attrs.integer("seq");
  const Shape& shape = types[0].shape;
  if (shape.size() < 2 || shape[shape.size() - 1] != seq || shape[shape.size() - 2] != seq)
    return op_error("causal_mask", "input 0 is " + types[0].to_string() +
                                       ", expected the last two dimensions to be " +
                                       std::to_string(seq));
  return types[0];
}

void reference(const ReferenceCall& call) {
  const std::int64_t seq = call.attrs.integer("seq");
  const double masked = call.attrs.real("value", kMasked);
  for (std::size_t i = 0; i < call.out.data.size(); ++i) {
    const std::int64_t flat = static_cast<std::int64_t>(i);
    const bool seen = flat % seq <= flat / seq % seq;
    call.out.data[i] = seen ? call.inputs[0]->data[i] : masked;
  }
}

std::vector<NodeId> gradient(const GradientCall& c) {
  return {c.b.apply("causal_mask", {c.dy}, {{"seq", c.attrs.integer("seq")}, {"value", 0.0}})};
}

// Differences of the loss would drown in -1e30: those cases name a small value.
std::vector<OpCase> cases() {
  return {{.inputs = {{f32({1, 1})}}, .attrs = {{"seq", 1}, {"value", -3.0}}},
          {.inputs = {{f32({7, 7})}}, .attrs = {{"seq", 7}, {"value", 0.0}}},
          {.inputs = {{f32({2, 3, 5, 5})}}, .attrs = {{"seq", 5}, {"value", -3.0}}},
          {.inputs = {{f32({3, 17, 17})}}, .attrs = {{"seq", 17}}, .check_gradient = false}};
}

}  // namespace

void register_causal_mask(Registry& registry) {
  registry.add({.name = "causal_mask",
                .summary = "of x [.., seq, seq]: y = x at and below the diagonal, `value` (default "
                           "-1e30) above it",
                .inputs = 1,
                .attrs = {{"seq", AttrKind::integer}, {"value", AttrKind::real, false}},
                .infer = infer,
                .flops = no_cost,
                .gradient = gradient,
                .reference = reference,
                .cases = cases});
}

}  // namespace suanli::graph
