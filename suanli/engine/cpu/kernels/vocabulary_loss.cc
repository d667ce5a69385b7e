// The head of a language model without its logits: for x [N, C], w [V, C] and targets [N],
//   vocabulary_loss       the losses of softmax_cross_entropy(x w^T, targets), and L = log_sum_exp(x w^T)
//   vocabulary_loss_grad  with G = (e^(x w^T - L) - onehot(targets)) dlosses, 0 for ignored rows:  dx = G w,  dw = G^T x
// Logits are computed piece by piece and dropped, in backward again (docs/decisions/0006): N V numbers are never stored. With
// bf16 operands G is rounded to bf16, too; sums are f32, over the vocabulary in ascending order of its pieces. Targets as in
// softmax_cross_entropy.cc: -1 is ignored, others outside the vocabulary give NaN and touch no foreign memory.
#include "suanli/engine/cpu/amx.h"
#include "suanli/engine/cpu/kernel_support.h"
#include "suanli/engine/cpu/vocabulary_amx.h"
#include "suanli/engine/cpu/vocabulary_tiles.h"

namespace suanli::engine {
namespace {

using graph::DType;

bool has_loss_types(const KernelSpec& spec, std::size_t floats, std::size_t most_outputs) {
  if (spec.inputs.size() != 3 + floats || spec.outputs.empty() || spec.outputs.size() > most_outputs) return false;
  for (std::size_t i = 0; i < spec.inputs.size(); ++i) {
    const DType dtype = spec.inputs[i].dtype;
    if (i < 2 ? !graph::is_float(dtype) : dtype != (i == 2 ? DType::i32 : DType::f32)) return false;
  }
  for (const graph::TensorType& type : spec.outputs)
    if (type.dtype != DType::f32) return false;
  return true;
}

bool is_empty(const VocabularyShape& s) { return s.rows * s.width * s.vocabulary == 0; }

Result<std::unique_ptr<Kernel>> make_loss(const KernelSpec& spec) {
  if (!has_loss_types(spec, 0, 2)) return unsupported(spec);
  const VocabularyShape shape = vocabulary_shape(spec);
  if (is_empty(shape)) return unsupported(spec);
  const bool with_sums = spec.outputs.size() == 2;
  if (shape.rounds() && amx::available()) return make_vocabulary_loss_amx(shape, with_sums);
  return make_vocabulary_loss_tiles(shape, with_sums);
}

Result<std::unique_ptr<Kernel>> make_grad(const KernelSpec& spec) {
  if (!has_loss_types(spec, 2, 2)) return unsupported(spec);
  const VocabularyShape shape = vocabulary_shape(spec);
  if (is_empty(shape)) return unsupported(spec);
  const bool with_dx = spec.outputs.size() == 2;
  if (shape.rounds() && amx::available()) return make_vocabulary_loss_grad_amx(shape, with_dx);
  return make_vocabulary_loss_grad_tiles(shape, with_dx);
}

}  // namespace

void register_vocabulary_loss(KernelTable& table) {
  table.add("vocabulary_loss", make_loss);
  table.add("vocabulary_loss_grad", make_grad);
}

}  // namespace suanli::engine
