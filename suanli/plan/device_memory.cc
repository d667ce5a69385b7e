#include "suanli/plan/device_memory.h"

#include <algorithm>

namespace suanli::plan {
namespace {

constexpr double kLogitBytes = 6;  // bf16, and f32 for the softmax

// The block whose activations full recomputation makes again while its backward runs.
double block_made_again(Transformer model, Layout layout, std::int64_t micro_batch, bool flash) {
  model.layers = 1;
  layout.pipeline = layout.interleave = 1;
  return activation_memory(model, layout, micro_batch, Recomputation::none, flash);
}

}  // namespace

DeviceMemory device_memory(const TrainingSetup& setup, bool trims) {
  Layout layout = setup.layout;
  const double t = layout.tensor, p = layout.pipeline;
  // Behind a pipeline weights stay gathered for the whole step.
  if (layout.pipeline > 1 && layout.shard == 3) layout.shard = 2;
  if (setup.gather_group > 0) layout.data = setup.gather_group;
  Transformer piece = setup.model;
  piece.context = std::max<std::int64_t>(1, piece.context / setup.context_parallel);
  const double trimmed = !trims ? 1 : layout.sequence_parallel ? 22.0 / 34 : (6 + 16 / t) / (10 + 24 / t);
  const double kept = trimmed * activation_memory(piece, layout, setup.micro_batch, setup.recomputation, setup.flash);
  const double again =
      setup.recomputation == Recomputation::full ? block_made_again(piece, layout, setup.micro_batch, setup.flash) : 0;
  const double logits = static_cast<double>(piece.context) * static_cast<double>(setup.micro_batch) *
                        static_cast<double>(piece.vocab) / t * kLogitBytes;
  return {state_memory(setup.model, layout), std::max(kept + again, kept / p + again + logits)};
}

double usable_memory(const Accelerator& device) {
  return device.memory ? kUsableShare * static_cast<double>(device.memory->value.value()) : 0;
}

}  // namespace suanli::plan
