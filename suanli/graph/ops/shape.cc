// Ops that move or select elements and compute nothing.
#include <algorithm>

#include "suanli/graph/ops/common.h"

namespace suanli::graph {
namespace {

// ---- reshape

Result<TensorType> infer_reshape(InputTypes types, const Attrs& attrs) {
  const Shape& shape = attrs.list("shape");
  SUANLI_RETURN_IF_ERROR(expect_shape("reshape", shape));
  if (element_count(shape) != types[0].elements())
    return op_error("reshape", types[0].to_string() + " has " +
                                   std::to_string(types[0].elements()) + " elements, [" +
                                   to_string(shape) + "] has " +
                                   std::to_string(element_count(shape)));
  return TensorType{types[0].dtype, shape};
}

void reference_reshape(const ReferenceCall& call) { call.out.data = call.inputs[0]->data; }

std::vector<NodeId> gradient_reshape(const GradientCall& c) {
  if (!is_float(c.types[0].dtype)) return {kNoNode};
  return {c.b.reshape(c.dy, c.types[0].shape)};
}

std::vector<OpCase> cases_reshape() {
  return {
      {.inputs = {{f32({})}}, .attrs = {{"shape", Shape{1, 1}}}},
      {.inputs = {{f32({6, 5})}}, .attrs = {{"shape", Shape{2, 3, 5}}}},
      {.inputs = {{f32({2, 3, 7})}}, .attrs = {{"shape", Shape{42}}}},
      {.inputs = {{i32({4, 3}), 0, 9}}, .attrs = {{"shape", Shape{12}}}, .check_gradient = false},
      {.inputs = {{bf16({4, 3})}}, .attrs = {{"shape", Shape{3, 4}}}, .check_gradient = false}};
}

// ---- transpose

Result<TensorType> infer_transpose(InputTypes types, const Attrs& attrs) {
  SUANLI_RETURN_IF_ERROR(expect_dtype("transpose", types, 0, DType::f32));
  const Shape& permutation = attrs.list("permutation");
  Shape sorted = permutation;
  std::ranges::sort(sorted);
  bool valid = sorted.size() == types[0].shape.size();
  for (std::size_t i = 0; valid && i < sorted.size(); ++i)
    valid = sorted[i] == static_cast<std::int64_t>(i);
  if (!valid) {
    std::string text;
    for (std::int64_t axis : permutation) text += (text.empty() ? "" : " ") + std::to_string(axis);
    return op_error("transpose",
                    "(" + text + ") does not order the dimensions of " + types[0].to_string());
  }
  TensorType out{types[0].dtype, {}};
  for (std::int64_t axis : permutation) out.shape.push_back(types[0].shape[axis]);
  return out;
}

void reference_transpose(const ReferenceCall& call) {
  const Shape& permutation = call.attrs.list("permutation");
  const Shape from = strides_of(call.inputs[0]->type.shape);
  const Shape to = strides_of(call.out.type.shape);
  for (std::size_t i = 0; i < call.out.data.size(); ++i) {
    std::int64_t rest = static_cast<std::int64_t>(i);
    std::int64_t index = 0;
    for (std::size_t axis = 0; axis < to.size(); ++axis) {
      index += rest / to[axis] * from[permutation[axis]];
      rest %= to[axis];
    }
    call.out.data[i] = call.inputs[0]->data[index];
  }
}

std::vector<NodeId> gradient_transpose(const GradientCall& c) {
  const Shape& permutation = c.attrs.list("permutation");
  Shape inverse(permutation.size());
  for (std::size_t i = 0; i < permutation.size(); ++i)
    inverse[permutation[i]] = static_cast<std::int64_t>(i);
  return {c.b.transpose(c.dy, inverse)};
}

std::vector<OpCase> cases_transpose() {
  const auto one = [](Shape shape, Shape permutation) {
    return OpCase{.inputs = {{f32(std::move(shape))}},
                  .attrs = {{"permutation", std::move(permutation)}}};
  };
  return {one({}, {}),
          one({5}, {0}),
          one({3, 17}, {1, 0}),
          one({1, 7}, {1, 0}),
          one({2, 3, 5}, {2, 0, 1}),
          one({2, 3, 4, 5}, {0, 2, 1, 3}),
          one({2, 3, 1, 5}, {3, 1, 0, 2})};
}

// ---- slice and its adjoint, pad

Status expect_axis(std::string_view op, InputTypes types, const Attrs& attrs) {
  SUANLI_RETURN_IF_ERROR(expect_dtype(op, types, 0, DType::f32));
  const auto rank = static_cast<std::int64_t>(types[0].shape.size());
  const std::int64_t axis = attrs.integer("axis");
  if (axis >= 0 && axis < rank) return {};
  return op_error(
      op, "axis " + std::to_string(axis) + " of " + types[0].to_string() + " does not exist");
}

Result<TensorType> infer_slice(InputTypes types, const Attrs& attrs) {
  SUANLI_RETURN_IF_ERROR(expect_axis("slice", types, attrs));
  TensorType out = types[0];
  std::int64_t& size = out.shape[attrs.integer("axis")];
  const std::int64_t start = attrs.integer("start");
  const std::int64_t wanted = attrs.integer("size");
  if (start < 0 || wanted < 0 || start > size || wanted > size - start)
    return op_error("slice", std::to_string(wanted) + " elements from " + std::to_string(start) +
                                 " lie outside axis " + std::to_string(attrs.integer("axis")) +
                                 " of " + types[0].to_string());
  size = wanted;
  return out;
}

Result<TensorType> infer_pad(InputTypes types, const Attrs& attrs) {
  SUANLI_RETURN_IF_ERROR(expect_axis("pad", types, attrs));
  SUANLI_RETURN_IF_ERROR(expect_integer("pad", attrs, "before", 0, kMaxElements));
  SUANLI_RETURN_IF_ERROR(expect_integer("pad", attrs, "after", 0, kMaxElements));
  TensorType out = types[0];
  out.shape[attrs.integer("axis")] += attrs.integer("before") + attrs.integer("after");
  SUANLI_RETURN_IF_ERROR(expect_shape("pad", out.shape));
  return out;
}

// Copies a window: elements of `small` are those of `large` at `offset` and beyond along `axis`.
// Calls copy(index in large, index in small) for each element of `small`.
template <typename Copy>
void for_window(const Shape& small, const Shape& large, std::int64_t axis, std::int64_t offset,
                Copy copy) {
  std::int64_t inner = 1;
  for (std::size_t i = axis + 1; i < small.size(); ++i) inner *= small[i];
  const std::int64_t run = small[axis] * inner;  // elements of `small` that lie together
  for (std::int64_t i = 0; i < element_count(small); ++i)
    copy(i / run * large[axis] * inner + offset * inner + i % run, i);
}

void reference_slice(const ReferenceCall& call) {
  const RefTensor& x = *call.inputs[0];
  for_window(call.out.type.shape, x.type.shape, call.attrs.integer("axis"),
             call.attrs.integer("start"),
             [&](std::int64_t from, std::int64_t to) { call.out.data[to] = x.data[from]; });
}

void reference_pad(const ReferenceCall& call) {
  const RefTensor& x = *call.inputs[0];
  std::ranges::fill(call.out.data, 0);
  for_window(x.type.shape, call.out.type.shape, call.attrs.integer("axis"),
             call.attrs.integer("before"),
             [&](std::int64_t to, std::int64_t from) { call.out.data[to] = x.data[from]; });
}

std::vector<NodeId> gradient_slice(const GradientCall& c) {
  const std::int64_t axis = c.attrs.integer("axis");
  const std::int64_t before = c.attrs.integer("start");
  const std::int64_t after = c.types[0].shape[axis] - before - c.attrs.integer("size");
  return {c.b.apply("pad", {c.dy}, {{"axis", axis}, {"before", before}, {"after", after}})};
}

std::vector<NodeId> gradient_pad(const GradientCall& c) {
  const std::int64_t axis = c.attrs.integer("axis");
  return {c.b.slice(c.dy, axis, c.attrs.integer("before"), c.types[0].shape[axis])};
}

double bytes_slice(InputTypes, const Attrs&, const TensorType& out) {
  return 2 * static_cast<double>(out.bytes().value());
}

std::vector<OpCase> cases_slice() {
  const auto one = [](Shape shape, std::int64_t axis, std::int64_t start, std::int64_t size) {
    return OpCase{.inputs = {{f32(std::move(shape))}},
                  .attrs = {{"axis", axis}, {"start", start}, {"size", size}}};
  };
  return {one({1}, 0, 0, 1),     one({9}, 0, 2, 5),       one({5, 17}, 1, 3, 11),
          one({5, 17}, 0, 4, 1), one({2, 3, 5}, 1, 1, 2), one({2, 3, 5}, 2, 0, 5)};
}

std::vector<OpCase> cases_pad() {
  const auto one = [](Shape shape, std::int64_t axis, std::int64_t before, std::int64_t after) {
    return OpCase{.inputs = {{f32(std::move(shape))}},
                  .attrs = {{"axis", axis}, {"before", before}, {"after", after}}};
  };
  return {one({1}, 0, 0, 0),    one({4}, 0, 2, 3),       one({5, 7}, 1, 3, 0),
          one({5, 7}, 0, 0, 2), one({2, 3, 5}, 1, 1, 2), one({2, 3, 5}, 2, 4, 1)};
}

}  // namespace

void register_shape(Registry& registry) {
  registry.add({.name = "reshape",
                .summary = "the same elements in the same order with another shape",
                .inputs = 1,
                .attrs = {{"shape", AttrKind::list}},
                .op_class = OpClass::view,
                .infer = infer_reshape,
                .flops = no_cost,
                .bytes = no_cost,
                .gradient = gradient_reshape,
                .reference = reference_reshape,
                .cases = cases_reshape});
  registry.add({.name = "transpose",
                .summary = "dimension i of y is dimension permutation[i] of x",
                .inputs = 1,
                .attrs = {{"permutation", AttrKind::list}},
                .infer = infer_transpose,
                .flops = no_cost,
                .gradient = gradient_transpose,
                .reference = reference_transpose,
                .cases = cases_transpose});
  registry.add({.name = "slice",
                .summary = "elements start .. start + size - 1 along `axis`",
                .inputs = 1,
                .attrs = {{"axis", AttrKind::integer},
                          {"start", AttrKind::integer},
                          {"size", AttrKind::integer}},
                .infer = infer_slice,
                .flops = no_cost,
                .bytes = bytes_slice,
                .gradient = gradient_slice,
                .reference = reference_slice,
                .cases = cases_slice});
  registry.add({.name = "pad",
                .summary = "zeros put before and after along `axis`; the adjoint of slice",
                .inputs = 1,
                .attrs = {{"axis", AttrKind::integer},
                          {"before", AttrKind::integer},
                          {"after", AttrKind::integer}},
                .infer = infer_pad,
                .flops = no_cost,
                .gradient = gradient_pad,
                .reference = reference_pad,
                .cases = cases_pad});
}

}  // namespace suanli::graph
