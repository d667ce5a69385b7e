#include "suanli/graph/ops/common.h"

namespace suanli::graph {
namespace {

std::string input_is(InputTypes types, std::size_t index) {
  return "input " + std::to_string(index) + " is " + types[index].to_string();
}

}  // namespace

tl::unexpected<Error> op_error(std::string_view op, const std::string& text) {
  return fail(ErrorCode::graph, std::string(op) + ": " + text);
}

Status expect_dtype(std::string_view op, InputTypes types, std::size_t index, DType dtype) {
  if (types[index].dtype == dtype) return {};
  return op_error(op, input_is(types, index) + ", expected " + std::string(name_of(dtype)));
}

Status expect_float(std::string_view op, InputTypes types, std::size_t index) {
  if (is_float(types[index].dtype)) return {};
  return op_error(op, input_is(types, index) + ", expected f32 or bf16");
}

Status expect_rank(std::string_view op, InputTypes types, std::size_t index, std::size_t rank) {
  if (types[index].shape.size() == rank) return {};
  return op_error(op, input_is(types, index) + ", expected " + std::to_string(rank) +
                          (rank == 1 ? " dimension" : " dimensions"));
}

Status expect_type(std::string_view op, InputTypes types, std::size_t index,
                   const TensorType& wanted) {
  if (types[index] == wanted) return {};
  return op_error(op, input_is(types, index) + ", expected " + wanted.to_string());
}

Status expect_float_shape(std::string_view op, InputTypes types, std::size_t index, const Shape& shape) {
  SUANLI_RETURN_IF_ERROR(expect_float(op, types, index));
  return expect_type(op, types, index, {types[index].dtype, shape});
}

Status expect_rows(std::string_view op, InputTypes types, std::size_t index) {
  SUANLI_RETURN_IF_ERROR(expect_dtype(op, types, index, DType::f32));
  SUANLI_RETURN_IF_ERROR(expect_rank(op, types, index, 2));
  if (types[index].shape[1] >= 1) return {};
  return op_error(op, input_is(types, index) + ", expected at least one column");
}

Status expect_shape(std::string_view op, const Shape& shape) {
  if (is_valid(shape)) return {};
  return op_error(op, "shape [" + to_string(shape) +
                          "] is not valid: at most 8 dimensions, none negative, at most 2^40 "
                          "elements");
}

Status expect_integer(std::string_view op, const Attrs& attrs, std::string_view name,
                      std::int64_t low, std::int64_t high) {
  const std::int64_t value = attrs.integer(name);
  if (value >= low && value <= high) return {};
  return op_error(op, std::string(name) + " is " + std::to_string(value) + ", expected " +
                          std::to_string(low) + " to " + std::to_string(high));
}

bool broadcasts(const Shape& small, const Shape& large) {
  if (small.size() > large.size()) return false;
  const std::size_t offset = large.size() - small.size();
  for (std::size_t i = 0; i < small.size(); ++i)
    if (small[i] != 1 && small[i] != large[offset + i]) return false;
  return true;
}

Shape strides_of(const Shape& shape) {
  Shape strides(shape.size(), 1);
  for (std::size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

BroadcastIndex::BroadcastIndex(const Shape& small, const Shape& large)
    : large_strides_(strides_of(large)), small_strides_(large.size(), 0) {
  const std::size_t offset = large.size() - small.size();
  const Shape strides = strides_of(small);
  for (std::size_t i = 0; i < small.size(); ++i)
    if (small[i] != 1) small_strides_[offset + i] = strides[i];
}

std::int64_t BroadcastIndex::operator()(std::int64_t flat) const {
  std::int64_t index = 0;
  for (std::size_t i = 0; i < large_strides_.size(); ++i) {
    index += flat / large_strides_[i] * small_strides_[i];
    flat %= large_strides_[i];
  }
  return index;
}

NodeId reduce_if_needed(Builder& b, NodeId dy, const Shape& from, const Shape& to) {
  return from == to ? dy : b.reduce_to(dy, from);
}

NodeId cast_if_needed(Builder& b, NodeId x, DType have, DType want) {
  return have == want ? x : b.cast(x, want);
}

double no_cost(InputTypes, const Attrs&, const TensorType&) { return 0; }

std::vector<OpCase> without_gradient(std::vector<OpCase> cases) {
  for (OpCase& c : cases) c.check_gradient = false;
  return cases;
}

}  // namespace suanli::graph
