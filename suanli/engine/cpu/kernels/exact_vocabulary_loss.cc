// exact_vocabulary_loss and exact_vocabulary_loss_grad: their namesakes (kernel.h) in exact arithmetic
// (docs/formats/exact-arithmetic.md, section 6). Logits are computed a piece at a time and dropped, in backward again.
#include "suanli/engine/cpu/exact/vocabulary.h"
#include "suanli/engine/cpu/kernel_support.h"

namespace suanli::engine {
namespace {

using graph::DType;

Result<std::unique_ptr<Kernel>> make_loss(const KernelSpec& spec) {
  const std::size_t outputs = spec.outputs.size();
  if (outputs < 1 || outputs > 2) return unsupported(spec);
  if (!has_dtypes(spec, {DType::f32, DType::f32, DType::i32}, std::vector<DType>(outputs, DType::f32))) return unsupported(spec);
  const VocabularyShape shape = vocabulary_shape(spec);
  if (shape.rows * shape.width * shape.vocabulary == 0) return unsupported(spec);
  return exact::make_vocabulary_loss(shape, outputs == 2);
}

Result<std::unique_ptr<Kernel>> make_grad(const KernelSpec& spec) {
  const std::size_t outputs = spec.outputs.size();
  if (outputs < 1 || outputs > 2) return unsupported(spec);
  if (!has_dtypes(spec, {DType::f32, DType::f32, DType::i32, DType::f32, DType::f32}, std::vector<DType>(outputs, DType::f32)))
    return unsupported(spec);
  const VocabularyShape shape = vocabulary_shape(spec);
  if (shape.rows * shape.width * shape.vocabulary == 0) return unsupported(spec);
  return exact::make_vocabulary_loss_grad(shape, outputs == 2);
}

}  // namespace

void register_exact_vocabulary_loss(KernelTable& table) {
  table.add("exact_vocabulary_loss", make_loss);
  table.add("exact_vocabulary_loss_grad", make_grad);
}

}  // namespace suanli::engine
