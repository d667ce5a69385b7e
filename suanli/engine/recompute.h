// Recomputation (activation checkpointing): values of forward that backward reads are made again there instead of being kept.
// Chen, Xu, Zhang and Guestrin, "Training deep nets with sublinear memory cost", 2016. The same ops run on the same operands,
// so results have the same bits with and without it.
#pragma once

#include "suanli/base/error.h"
#include "suanli/engine/lower.h"

namespace suanli::engine {

// How many blocks Recomputation::blocks can choose: all with values that backward reads, but the last, which reads them at once.
int recomputable_blocks(const graph::Graph& graph);

Result<Lowered> recompute(const Lowered& lowered, const Recomputation& what);

}  // namespace suanli::engine
