// The kernels exact_vocabulary_loss and exact_vocabulary_loss_grad (kernel.h; docs/formats/exact-arithmetic.md, section 6): the
// head of a language model without its logits. The vocabulary is taken in chunks of 512 entries, ascending, rows in tiles.
#pragma once

#include <memory>

#include "suanli/engine/cpu/vocabulary_shape.h"
#include "suanli/engine/kernel.h"

namespace suanli::engine::exact {

// x, w in f32, none empty. `with_sums`: L is the second output.
std::unique_ptr<Kernel> make_vocabulary_loss(const VocabularyShape& shape, bool with_sums);
// `with_dx`: the outputs are dx and dw, else dw alone.
std::unique_ptr<Kernel> make_vocabulary_loss_grad(const VocabularyShape& shape, bool with_dx);

}  // namespace suanli::engine::exact
