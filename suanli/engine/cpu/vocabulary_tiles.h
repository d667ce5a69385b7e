// Loss of a vocabulary and its gradients on oneDNN tiles (kernels/vocabulary_loss.cc says what is computed): for f32, and for
// bf16 where there is no AMX.
//
// Logits are computed transposed, w x^T, in tiles of some hundred entries and rows that meet the softmax in L2. Backward keeps
// the gradient of a chunk of the vocabulary, which both products read where it lies. Products of bf16 operands are products
// of f32 operands that were rounded to bf16: each is exact in f32, so only the order of sums differs from other paths.
#pragma once

#include <memory>

#include "suanli/engine/cpu/vocabulary_shape.h"
#include "suanli/engine/kernel.h"

namespace suanli::engine {

// Both need N, C, V >= 1. Outputs are losses and, with_sums, lse. Error unsupported if this machine cannot.
Result<std::unique_ptr<Kernel>> make_vocabulary_loss_tiles(const VocabularyShape& shape, bool with_sums);
// Outputs are dx, if with_dx, and dw.
Result<std::unique_ptr<Kernel>> make_vocabulary_loss_grad_tiles(const VocabularyShape& shape, bool with_dx);

}  // namespace suanli::engine
