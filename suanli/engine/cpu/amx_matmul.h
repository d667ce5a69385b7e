// Matrix products on AMX: C [M, N] = A B, bf16 operands, f32 sums, then an epilogue.
//
// Operands are packed into panels (amx.h) while they are read, so that neither the forward product, nor that for the
// input's gradient, nor that for the weight's has a transposition or conversion of its own in memory: the interleaving
// that TDPBF16PS wants, the transposition of A^T and the rounding of f32 weights all happen there. B (as a rule a weight) is
// packed once per run for all tasks and each task packs the rows of A it needs; if A is transposed (a weight's gradient), it
// is packed once for all, since transposing costs most, and each task packs its columns of B.
// K is cut into stretches whose panel of A stays in L1; the sums of a block of C stay in L2 between them.
#pragma once

#include <memory>

#include "suanli/engine/cpu/gemm_plan.h"
#include "suanli/engine/cpu/matmul_shape.h"
#include "suanli/engine/kernel.h"

namespace suanli::engine {

// The blocks of one product; a function of the shape alone.
struct AmxPlan {
  Split m, n, k;               // blocks of C and of K; m, n and k sizes are multiples of 32
  std::int64_t group = 0;      // columns of B packed at a time: a multiple of n.size
};
AmxPlan plan_amx(const MatmulShape& shape);

// Requires amx::available(), batch = 1, m, n, k >= 1 and a spec as in kernel.h ("matmul").
std::unique_ptr<Kernel> make_amx_matmul(const KernelSpec& spec, const MatmulShape& shape);

}  // namespace suanli::engine
