// From a graph to a program: lower (operand casts), fuse (regions, paired kernels), plan memory, emit calls.
//
// For exact arithmetic the kernels of products and of what is defined with them are exact_NAME: matmul, attention,
// attention_stats, attention_grad, softmax_cross_entropy, softmax_cross_entropy_grad, log_sum_exp, vocabulary_loss and
// vocabulary_loss_grad. A product of the backward phase that a micro_sum reads, itself or through views, has attr terms = 4, any
// other 3.
#pragma once

#include "suanli/base/error.h"
#include "suanli/engine/program.h"
#include "suanli/graph/cut.h"
#include "suanli/graph/graph.h"

namespace suanli::engine {

// Compiles stage `stage` of the graph cut by `cut` (no cut: the only stage is the whole graph). Errors: graph (a bad
// cut), unsupported (a stage of a real cut, until the pool's executor can feed it), no_memory (the plan exceeds
// target.memory_limit; the message says by how much).
Result<Program> compile(const graph::Graph& graph, const Target& target,
                        const graph::Cut& cut = {}, int stage = 0);

}  // namespace suanli::engine
