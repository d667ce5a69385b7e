#include "suanli/engine/target.h"

namespace suanli::engine {

std::string_view name_of(Arithmetic arithmetic) {
  if (arithmetic == Arithmetic::exact) return "exact";
  return arithmetic == Arithmetic::f32 ? "f32" : "bf16";
}

std::optional<Arithmetic> arithmetic_from_name(std::string_view name) {
  for (const Arithmetic each : kArithmetics)
    if (name_of(each) == name) return each;
  return std::nullopt;
}

}  // namespace suanli::engine
