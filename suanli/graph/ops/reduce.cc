// Repetition and its adjoint, summation; the maximum of rows.
#include <algorithm>

#include "suanli/graph/ops/common.h"

namespace suanli::graph {
namespace {

// ---- broadcast_to and reduce_to

Result<TensorType> infer_broadcast(InputTypes types, const Attrs& attrs) {
  const Shape& shape = attrs.list("shape");
  SUANLI_RETURN_IF_ERROR(expect_dtype("broadcast_to", types, 0, DType::f32));
  SUANLI_RETURN_IF_ERROR(expect_shape("broadcast_to", shape));
  if (!broadcasts(types[0].shape, shape))
    return op_error("broadcast_to",
                    types[0].to_string() + " cannot be repeated to [" + to_string(shape) + "]");
  return f32(shape);
}

Result<TensorType> infer_reduce(InputTypes types, const Attrs& attrs) {
  const Shape& shape = attrs.list("shape");
  SUANLI_RETURN_IF_ERROR(expect_float("reduce_to", types, 0));
  SUANLI_RETURN_IF_ERROR(expect_shape("reduce_to", shape));
  if (!broadcasts(shape, types[0].shape))
    return op_error("reduce_to",
                    types[0].to_string() + " cannot be summed to [" + to_string(shape) + "]");
  return f32(shape);
}

void reference_broadcast(const ReferenceCall& call) {
  const RefTensor& x = *call.inputs[0];
  const BroadcastIndex index(x.type.shape, call.out.type.shape);
  for (std::size_t i = 0; i < call.out.data.size(); ++i)
    call.out.data[i] = x.data[index(static_cast<std::int64_t>(i))];
}

void reference_reduce(const ReferenceCall& call) {
  const RefTensor& x = *call.inputs[0];
  const BroadcastIndex index(call.out.type.shape, x.type.shape);
  std::ranges::fill(call.out.data, 0);
  for (std::size_t i = 0; i < x.data.size(); ++i)
    call.out.data[index(static_cast<std::int64_t>(i))] += x.data[i];
}

std::vector<NodeId> gradient_broadcast(const GradientCall& c) {
  return {c.b.reduce_to(c.dy, c.types[0].shape)};
}

std::vector<NodeId> gradient_reduce(const GradientCall& c) {
  return {c.b.broadcast_to(c.dy, c.types[0].shape)};
}

struct Pair {
  Shape small, large;
};
const Pair kPairs[] = {{{}, {}},
                       {{}, {1}},
                       {{}, {5, 7}},
                       {{17}, {5, 17}},
                       {{5, 1}, {5, 17}},
                       {{1}, {19}},
                       {{1, 3, 1}, {2, 3, 5}},
                       {{3, 1}, {2, 3, 4}},
                       {{2, 1, 4}, {2, 3, 4}},
                       {{4, 3}, {4, 3}}};

std::vector<OpCase> cases_broadcast() {
  std::vector<OpCase> list;
  for (const Pair& pair : kPairs)
    list.push_back({.inputs = {{f32(pair.small)}}, .attrs = {{"shape", pair.large}}});
  return list;
}

std::vector<OpCase> cases_reduce() {
  std::vector<OpCase> list;
  for (const Pair& pair : kPairs)
    list.push_back({.inputs = {{f32(pair.large)}}, .attrs = {{"shape", pair.small}}});
  list.push_back(
      {.inputs = {{f32({300, 33})}}, .attrs = {{"shape", Shape{33}}}, .check_gradient = false});
  return list;
}

// ---- reduce_max

Result<TensorType> infer_max(InputTypes types, const Attrs&) {
  SUANLI_RETURN_IF_ERROR(expect_dtype("reduce_max", types, 0, DType::f32));
  TensorType out = types[0];
  if (out.shape.empty() || out.shape.back() < 1)
    return op_error("reduce_max", "input 0 is " + types[0].to_string() +
                                      ", expected a last dimension of at least 1");
  out.shape.back() = 1;
  return out;
}

void reference_max(const ReferenceCall& call) {
  const RefTensor& x = *call.inputs[0];
  const std::int64_t width = x.type.shape.back();
  for (std::size_t row = 0; row < call.out.data.size(); ++row) {
    const auto begin = x.data.begin() + static_cast<std::int64_t>(row) * width;
    call.out.data[row] = *std::max_element(begin, begin + width);
  }
}

// Shared evenly among the elements that attain the maximum.
std::vector<NodeId> gradient_max(const GradientCall& c) {
  const NodeId mask = c.b.apply("equal", {c.inputs[0], c.node});
  const NodeId ties = c.b.reduce_to(mask, c.type.shape);
  return {c.b.mul(mask, c.b.div(c.dy, ties))};
}

std::vector<OpCase> cases_max() {
  return {{.inputs = {{f32({1})}}},       {.inputs = {{f32({7, 1})}}},
          {.inputs = {{f32({1, 19})}}},   {.inputs = {{f32({5, 17})}}},
          {.inputs = {{f32({2, 3, 5})}}}, {.inputs = {{f32({4, 9}), -9, -3}}}};
}

}  // namespace

void register_reduce(Registry& registry) {
  registry.add({.name = "broadcast_to",
                .summary = "x repeated to `shape`: right-aligned, each dimension equal or 1",
                .inputs = 1,
                .attrs = {{"shape", AttrKind::list}},
                .infer = infer_broadcast,
                .flops = no_cost,
                .gradient = gradient_broadcast,
                .reference = reference_broadcast,
                .cases = cases_broadcast});
  registry.add({.name = "reduce_to",
                .summary = "sum over the dimensions in which `shape` is 1 or missing",
                .inputs = 1,
                .attrs = {{"shape", AttrKind::list}},
                .infer = infer_reduce,
                .flops = per_input_element<1>,
                .gradient = gradient_reduce,
                .reference = reference_reduce,
                .cases = cases_reduce});
  registry.add({.name = "reduce_max",
                .summary = "maximum over the last dimension, which becomes 1",
                .inputs = 1,
                .infer = infer_max,
                .flops = per_input_element<1>,
                .gradient = gradient_max,
                .reference = reference_max,
                .cases = cases_max});
}

}  // namespace suanli::graph
