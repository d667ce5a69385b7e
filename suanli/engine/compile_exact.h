// What exact arithmetic asks of a kernel (compile.h).
#pragma once

#include "suanli/engine/fuse.h"
#include "suanli/engine/kernel.h"
#include "suanli/engine/lower.h"
#include "suanli/graph/graph.h"

namespace suanli::engine {

// Gives the call of a group of the lowered graph the name and the attributes of exact arithmetic. They depend on the canonical
// graph alone, not on what is fused or made again.
void ask_for_exact(const graph::Graph& canonical, const Lowered& lowered, const Group& group, KernelSpec& spec);

}  // namespace suanli::engine
