// Loss of a vocabulary and its gradients on AMX (kernels/vocabulary_loss.cc says what is computed).
//
// Logits are computed transposed, w x^T, 32 x 32 of them at a time. They meet the softmax in L1 and never leave it as logits:
// forward keeps sums, backward keeps their gradient in bf16, packed at once for both products that read it.
#pragma once

#include <memory>

#include "suanli/engine/cpu/vocabulary_shape.h"
#include "suanli/engine/kernel.h"

namespace suanli::engine {

// Both need amx::available() and N, C, V >= 1; products are of bf16 operands. Outputs are losses and, with_sums, lse.
std::unique_ptr<Kernel> make_vocabulary_loss_amx(const VocabularyShape& shape, bool with_sums);
// Outputs are dx, if with_dx, and dw.
std::unique_ptr<Kernel> make_vocabulary_loss_grad_amx(const VocabularyShape& shape, bool with_dx);

}  // namespace suanli::engine
