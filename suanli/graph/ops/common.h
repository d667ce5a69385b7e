// What the op files share: checks of input types with messages, index arithmetic, shorthands for
// costs and cases.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/graph/builder.h"
#include "suanli/graph/op.h"
#include "suanli/graph/types.h"

namespace suanli::graph {

// ErrorCode::graph with the message "op: text".
tl::unexpected<Error> op_error(std::string_view op, const std::string& text);

// Each holds for input `index` of `op`, or tells the type it has and the one it should have.
Status expect_dtype(std::string_view op, InputTypes types, std::size_t index, DType dtype);
Status expect_float(std::string_view op, InputTypes types, std::size_t index);  // f32 or bf16
Status expect_rank(std::string_view op, InputTypes types, std::size_t index, std::size_t rank);
Status expect_type(std::string_view op, InputTypes types, std::size_t index,
                   const TensorType& wanted);
// f32, or bf16 where an arithmetic has rounded the value, of this shape.
Status expect_float_shape(std::string_view op, InputTypes types, std::size_t index, const Shape& shape);
// An f32 matrix [N, C] with C >= 1.
Status expect_rows(std::string_view op, InputTypes types, std::size_t index);

// An attribute `shape` must be a valid shape (types.h).
Status expect_shape(std::string_view op, const Shape& shape);
// An integer attribute must lie in [low, high].
Status expect_integer(std::string_view op, const Attrs& attrs, std::string_view name,
                      std::int64_t low, std::int64_t high);

// May `small` be repeated to fill `large`? Aligned at the right, each dimension equal or 1.
bool broadcasts(const Shape& small, const Shape& large);

// Elements between neighbours along each dimension, row-major.
Shape strides_of(const Shape& shape);

// Flat index into `large` -> flat index into `small`, which broadcasts to it.
class BroadcastIndex {
 public:
  BroadcastIndex(const Shape& small, const Shape& large);
  std::int64_t operator()(std::int64_t flat) const;

 private:
  Shape large_strides_;
  Shape small_strides_;  // 0 where repeated
};

// Sum of `dy` over what broadcasting `from` to `to` has repeated.
NodeId reduce_if_needed(Builder& b, NodeId dy, const Shape& from, const Shape& to);
// `x` cast to `dtype` unless it has it.
NodeId cast_if_needed(Builder& b, NodeId x, DType have, DType want);

double no_cost(InputTypes types, const Attrs& attrs, const TensorType& out);
// `kCount` operations for each element of the output.
template <int kCount>
double per_element(InputTypes, const Attrs&, const TensorType& out) {
  return kCount * static_cast<double>(out.elements());
}
// `kCount` operations for each element of the first input.
template <int kCount>
double per_input_element(InputTypes types, const Attrs&, const TensorType&) {
  return kCount * static_cast<double>(types[0].elements());
}

// The same cases without the check of the gradient.
std::vector<OpCase> without_gradient(std::vector<OpCase> cases);

}  // namespace suanli::graph
