// The types of values in a graph: element type and static shape.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/units.h"

namespace suanli::graph {

enum class DType : std::uint8_t { f32, bf16, i32, i64, u8 };

std::string_view name_of(DType dtype);
std::optional<DType> dtype_from_name(std::string_view name);
Bytes size_of(DType dtype);
bool is_float(DType dtype);

// Dimensions, outermost first; a scalar has none. Row-major everywhere.
using Shape = std::vector<std::int64_t>;

inline constexpr std::int64_t kMaxElements = std::int64_t{1} << 40;

// Product of the dimensions (1 for a scalar).
std::int64_t element_count(const Shape& shape);
// No negative dimension, at most 8 dimensions, at most kMaxElements elements.
bool is_valid(const Shape& shape);
std::string to_string(const Shape& shape);  // "4096x384", "" for a scalar

struct TensorType {
  DType dtype = DType::f32;
  Shape shape;

  bool operator==(const TensorType&) const = default;
  std::int64_t elements() const { return element_count(shape); }
  Bytes bytes() const { return size_of(dtype) * elements(); }
  std::string to_string() const;  // "f32[4096x384]", "i32[]"
};

inline TensorType f32(Shape shape) { return {DType::f32, std::move(shape)}; }
inline TensorType i32(Shape shape) { return {DType::i32, std::move(shape)}; }
inline TensorType bf16(Shape shape) { return {DType::bf16, std::move(shape)}; }

}  // namespace suanli::graph
