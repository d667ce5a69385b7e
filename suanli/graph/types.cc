#include "suanli/graph/types.h"

namespace suanli::graph {
namespace {

struct DTypeInfo {
  DType dtype;
  std::string_view name;
  std::int64_t size;
};
constexpr DTypeInfo kDTypes[] = {{DType::f32, "f32", 4},
                                 {DType::bf16, "bf16", 2},
                                 {DType::i32, "i32", 4},
                                 {DType::i64, "i64", 8},
                                 {DType::u8, "u8", 1}};

}  // namespace

std::string_view name_of(DType dtype) { return kDTypes[static_cast<int>(dtype)].name; }

std::optional<DType> dtype_from_name(std::string_view name) {
  for (const DTypeInfo& info : kDTypes)
    if (info.name == name) return info.dtype;
  return std::nullopt;
}

Bytes size_of(DType dtype) { return Bytes(kDTypes[static_cast<int>(dtype)].size); }

bool is_float(DType dtype) { return dtype == DType::f32 || dtype == DType::bf16; }

std::int64_t element_count(const Shape& shape) {
  std::int64_t count = 1;
  for (std::int64_t dimension : shape) count *= dimension;
  return count;
}

bool is_valid(const Shape& shape) {
  if (shape.size() > 8) return false;
  std::int64_t count = 1;
  for (std::int64_t dimension : shape) {
    if (dimension < 0 || dimension > kMaxElements) return false;
    if (dimension != 0 && count > kMaxElements / dimension) return false;
    count *= dimension;
  }
  return true;
}

std::string to_string(const Shape& shape) {
  std::string text;
  for (std::size_t i = 0; i < shape.size(); ++i)
    text += (i == 0 ? "" : "x") + std::to_string(shape[i]);
  return text;
}

std::string TensorType::to_string() const {
  return std::string(name_of(dtype)) + "[" + graph::to_string(shape) + "]";
}

}  // namespace suanli::graph
