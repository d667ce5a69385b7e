#include "suanli/graph/ops/common.h"

namespace suanli::graph {
namespace {

bool convertible(DType from, DType to) {
  return (from == DType::f32 && to == DType::bf16) || (from == DType::bf16 && to == DType::f32) ||
         (from == DType::i32 && to == DType::f32);
}

Result<TensorType> infer(InputTypes types, const Attrs& attrs) {
  const std::string& word = attrs.word("dtype");
  const std::optional<DType> dtype = dtype_from_name(word);
  if (!dtype) return op_error("cast", "'" + word + "' is not an element type");
  if (!convertible(types[0].dtype, *dtype))
    return op_error("cast", types[0].to_string() + " to " + word +
                                ": only f32 to bf16, bf16 to f32 and i32 to f32");
  return TensorType{*dtype, types[0].shape};
}

// Rounding to bf16 is the interpreter's, by the type of the node.
void reference(const ReferenceCall& call) { call.out.data = call.inputs[0]->data; }

std::vector<NodeId> gradient(const GradientCall& c) {
  if (!is_float(c.types[0].dtype)) return {kNoNode};
  return {c.b.cast(c.dy, c.types[0].dtype)};
}

std::vector<OpCase> cases() {
  std::vector<OpCase> list;
  for (const Shape& shape : {Shape{}, Shape{1}, Shape{5, 17}, Shape{2, 3, 19}}) {
    list.push_back({.inputs = {{f32(shape)}}, .attrs = {{"dtype", "bf16"}}});
    list.push_back({.inputs = {{bf16(shape)}}, .attrs = {{"dtype", "f32"}}});
    list.push_back({.inputs = {{i32(shape), -1000, 1000}}, .attrs = {{"dtype", "f32"}}});
  }
  return without_gradient(std::move(list));  // a rounded value has steps
}

}  // namespace

void register_cast(Registry& registry) {
  registry.add({.name = "cast",
                .summary = "the same numbers as `dtype`; f32 to bf16 rounds to nearest even",
                .inputs = 1,
                .attrs = {{"dtype", AttrKind::word}},
                .op_class = OpClass::elementwise,
                .infer = infer,
                .flops = no_cost,
                .gradient = gradient,
                .reference = reference,
                .cases = cases});
}

}  // namespace suanli::graph
