// Values that come from outside a step, and constants.
#include <algorithm>

#include "suanli/graph/ops/common.h"

namespace suanli::graph {
namespace {

// Graph::add takes a source's type from the node and does not ask.
Result<TensorType> infer_source(InputTypes, const Attrs&) {
  return fail(ErrorCode::graph, "a source states its own type");
}

OpDef source(std::string_view name, std::string_view summary, std::vector<AttrSpec> attrs) {
  return {.name = name,
          .summary = summary,
          .attrs = std::move(attrs),
          .op_class = OpClass::source,
          .cut = CutRule::stays,
          .infer = infer_source,
          .flops = no_cost,
          .bytes = no_cost};
}

Result<TensorType> infer_fill(InputTypes, const Attrs& attrs) {
  SUANLI_RETURN_IF_ERROR(expect_shape("fill", attrs.list("shape")));
  return f32(attrs.list("shape"));
}

void reference_fill(const ReferenceCall& call) {
  std::ranges::fill(call.out.data, call.attrs.real("value"));
}

std::vector<OpCase> cases_fill() {
  return without_gradient({{.inputs = {}, .attrs = {{"shape", Shape{}}, {"value", 1.5}}},
                           {.inputs = {}, .attrs = {{"shape", Shape{1}}, {"value", 0.0}}},
                           {.inputs = {}, .attrs = {{"shape", Shape{3, 17}}, {"value", -2.25}}}});
}

}  // namespace

void register_sources(Registry& registry) {
  registry.add(source("input", "a value given with every micro-batch", {}));
  registry.add(source("step_input",
                      "a value given with every step; round: of an update in rounds, the one that waits for it",
                      {{"round", AttrKind::integer, false}}));
  registry.add(source("param",
                      "a trained tensor; init: zeros, ones or normal with deviation std; decay: 1 "
                      "if weight decay applies",
                      {{"init", AttrKind::word},
                       {"std", AttrKind::real, false},
                       {"decay", AttrKind::integer, false}}));
  registry.add(source("state", "a tensor kept between steps, such as an optimizer's moment",
                      {{"init", AttrKind::word}}));
  registry.add({.name = "fill",
                .summary = "every element of an f32 tensor is `value`",
                .attrs = {{"shape", AttrKind::list}, {"value", AttrKind::real}},
                .cut = CutRule::stays,
                .infer = infer_fill,
                .flops = no_cost,
                .reference = reference_fill,
                .cases = cases_fill});
}

}  // namespace suanli::graph
