// Matrix products on oneDNN tiles, then an epilogue: where there is no AMX, for f32, and as the oracle of our own kernel.
// K is never cut, so each element is one sum in an order that oneDNN fixes for the tile; the tiles depend on the shape alone
// (gemm_plan.h).
#pragma once

#include <memory>

#include "suanli/engine/cpu/matmul_shape.h"
#include "suanli/engine/kernel.h"

namespace suanli::engine {

// All of batch, m, n, k >= 1, no column sums. Error unsupported if this machine cannot.
Result<std::unique_ptr<Kernel>> make_onednn_matmul(const KernelSpec& spec, const MatmulShape& shape);

}  // namespace suanli::engine
