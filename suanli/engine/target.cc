#include "suanli/engine/target.h"

namespace suanli::engine {

std::string_view name_of(Arithmetic arithmetic) {
  return arithmetic == Arithmetic::f32 ? "f32" : "bf16";
}

std::optional<Arithmetic> arithmetic_from_name(std::string_view name) {
  if (name == "f32") return Arithmetic::f32;
  if (name == "bf16") return Arithmetic::bf16;
  return std::nullopt;
}

}  // namespace suanli::engine
