// What the kernels vocabulary_loss and vocabulary_loss_grad (kernel.h) are asked for: x [N, C] and w [V, C], each f32 or bf16.
#pragma once

#include <cstdint>

#include "suanli/engine/kernel.h"

namespace suanli::engine {

struct VocabularyShape {
  std::int64_t rows = 0, width = 0, vocabulary = 0;  // N, C, V
  bool x_bf16 = false, w_bf16 = false;

  // Are the products of bf16 operands? Then a f32 operand is rounded, and so is the gradient of the logits.
  bool rounds() const { return x_bf16 || w_bf16; }
};

// Of a spec whose first inputs are x and w.
inline VocabularyShape vocabulary_shape(const KernelSpec& spec) {
  const graph::TensorType &x = spec.inputs.at(0), &w = spec.inputs.at(1);
  SUANLI_CHECK(x.shape.size() == 2 && w.shape.size() == 2 && x.shape[1] == w.shape[1]);
  SUANLI_CHECK(graph::is_float(x.dtype) && graph::is_float(w.dtype));
  return {x.shape[0], x.shape[1], w.shape[0], x.dtype == graph::DType::bf16, w.dtype == graph::DType::bf16};
}

}  // namespace suanli::engine
