// From a graph to a program: lower (operand casts), fuse (regions, paired kernels), plan memory, emit calls.
//
// For exact arithmetic the kernels of products and of what is defined with them are exact_NAME: matmul, attention,
// attention_stats, attention_grad, softmax_cross_entropy, softmax_cross_entropy_grad, log_sum_exp, vocabulary_loss and
// vocabulary_loss_grad. A product of the backward phase that a micro_sum reads, itself or through views, has attr terms = 4, any
// other 3.
#pragma once

#include "suanli/base/error.h"
#include "suanli/engine/program.h"
#include "suanli/graph/graph.h"

namespace suanli::engine {

// Compiles a whole job's graph, or that of one stage (graph/stage_graph.h). Errors: graph (slots below 1), unsupported (an
// output of a round that a later round would have to compute), no_memory (the plan exceeds target.memory_limit; the message says
// by how much).
Result<Program> compile(const graph::Graph& graph, const Target& target);

}  // namespace suanli::engine
