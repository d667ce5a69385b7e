// Attention of bf16 operands on AMX: blocked, no T x T anywhere; blocks of 32 x 32 above the diagonal are left out.
//
// Forward: a task is a sequence and head (or a run of its queries, if there are few of those). For each panel of 32 queries
// the scores of all keys up to its last one are computed, their exponentials are written as the bf16 panel that the product
// with V takes, and the row sums divide that product's result. K and V are packed as the diagonal moves on.
//
// Backward: a task is a sequence and head. For each panel of 32 keys, and each panel of queries from the diagonal on, the
// transposed scores S^T and dP^T are computed and become P^T and dS^T in bf16, the panels that
//   dV = P^T dY and dK = dS^T Q take at the end of the panel of keys, one sum over all queries each.
// dS^T is also kept transposed, for a block of keys at a time, after which
//   dQ = dS K is added up in f32, blocks of keys ascending.
//
// A NaN or infinity in a row of k, v, y or dy reaches at least the rows that it should; as 0 times it is NaN, it may also
// reach earlier queries of its panel of 32.
#pragma once

#include <memory>

#include "suanli/engine/kernel.h"

namespace suanli::engine {

// Require amx::available() and a spec as in kernel.h with qkv of bf16.
std::unique_ptr<Kernel> make_amx_attention(const KernelSpec& spec);  // "attention" or "attention_stats"
std::unique_ptr<Kernel> make_amx_attention_grad(const KernelSpec& spec);

}  // namespace suanli::engine
