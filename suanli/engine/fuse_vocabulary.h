// Fusion of a language model's head with its loss.
#pragma once

#include <vector>

#include "suanli/engine/fuse.h"

namespace suanli::engine {

// Logits larger than this are not stored, if nothing but the loss and its gradient reads them.
inline constexpr std::int64_t kMaxWholeLogitsBytes = std::int64_t{32} << 20;

// Adds groups for
//   logits = x w^T, softmax_cross_entropy and log_sum_exp of them          vocabulary_loss (x, w, targets)
//   the gradient of those logits, its cast, dx and dw                      vocabulary_loss_grad (x, w, targets, lse, dlosses)
// where the logits are large; with bf16 operands, w is the f32 parameter, which the kernels round themselves. The second
// group is there for every graph that differentiates the loss, else the logits stay. For whole logits:
//   softmax_cross_entropy and log_sum_exp of them                          softmax_cross_entropy with two outputs
//   the gradient of the logits and the cast that alone reads it            softmax_cross_entropy_grad into bf16
// Exact arithmetic stores no logits whatever their size: the kernels' chunks of the vocabulary are part of its definition.
void find_vocabulary_loss(const graph::Graph& graph, Arithmetic arithmetic, std::vector<Group>& found);

}  // namespace suanli::engine
