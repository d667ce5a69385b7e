#include "suanli/engine/cpu/attention_shape.h"

#include <cmath>

#include "suanli/base/error.h"

namespace suanli::engine {
namespace {

// The number of outputs that the epilogue writes; the first result is [rows, columns].
std::size_t check_first_result(const KernelSpec& spec, const graph::Shape& shape) {
  if (spec.region == nullptr) {
    SUANLI_CHECK(!spec.outputs.empty() && spec.outputs[0].shape == shape && graph::is_float(spec.outputs[0].dtype));
    return 1;
  }
  SUANLI_CHECK(graph::element_count(spec.region->shape) == graph::element_count(shape));
  SUANLI_CHECK(!spec.region->shape.empty() && spec.region->shape.back() == shape.back());
  SUANLI_CHECK(spec.region->outputs.size() <= spec.outputs.size());
  return spec.region->outputs.size();
}

std::size_t region_operands(const KernelSpec& spec) { return spec.region == nullptr ? 0 : spec.region->inputs.size() - 1; }

}  // namespace

float AttentionShape::scale() const { return 1.0F / std::sqrt(static_cast<float>(depth)); }

AttentionShape attention_shape(const KernelSpec& spec) {
  SUANLI_CHECK(!spec.inputs.empty());
  const graph::TensorType& qkv = spec.inputs[0];
  AttentionShape shape{.heads = spec.attrs.integer("heads"), .seq = spec.attrs.integer("seq"), .dtype = qkv.dtype};
  SUANLI_CHECK(graph::is_float(qkv.dtype) && qkv.shape.size() == 2);
  SUANLI_CHECK(shape.heads >= 1 && shape.seq >= 1);
  SUANLI_CHECK(qkv.shape[0] % shape.seq == 0 && qkv.shape[1] % (3 * shape.heads) == 0);
  shape.batch = qkv.shape[0] / shape.seq;
  shape.depth = qkv.shape[1] / (3 * shape.heads);
  SUANLI_CHECK(shape.depth >= 1);
  return shape;
}

AttentionOutputs attention_outputs(const KernelSpec& spec, const AttentionShape& shape) {
  const graph::TensorType stats = graph::f32({shape.tasks(), shape.seq});
  if (spec.name == "attention_stats") {
    SUANLI_CHECK(spec.inputs.size() == 1 && spec.region == nullptr);
    SUANLI_CHECK(spec.outputs.size() == 1 && spec.outputs[0] == stats);
    return {.out = false, .stats = 0};
  }
  SUANLI_CHECK(spec.inputs.size() == 1 + region_operands(spec));
  const std::size_t first = check_first_result(spec, {shape.batch * shape.seq, shape.width()});
  SUANLI_CHECK(spec.outputs.size() == first || spec.outputs.size() == first + 1);
  if (spec.outputs.size() == first) return {.out = true, .stats = -1};
  SUANLI_CHECK(spec.outputs.back() == stats);
  return {.out = true, .stats = static_cast<int>(first)};
}

void check_attention_grad(const KernelSpec& spec, const AttentionShape& shape) {
  SUANLI_CHECK(spec.inputs.size() == 4 + region_operands(spec));
  for (const std::size_t i : {1, 3}) {
    SUANLI_CHECK(graph::is_float(spec.inputs[i].dtype));
    SUANLI_CHECK((spec.inputs[i].shape == graph::Shape{shape.batch * shape.seq, shape.width()}));
  }
  SUANLI_CHECK(spec.inputs[2] == graph::f32({shape.tasks(), shape.seq}));
  SUANLI_CHECK(check_first_result(spec, spec.inputs[0].shape) == spec.outputs.size());
}

}  // namespace suanli::engine
