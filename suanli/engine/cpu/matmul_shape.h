// The shape of a matrix product, as the kernel "matmul" (kernel.h) is asked for it.
#pragma once

#include <cstdint>

#include "suanli/engine/kernel.h"

namespace suanli::engine {

// `batch` products of A [M, K] or, ta, [K, M] and B [K, N] or, tb, [N, K].
struct MatmulShape {
  std::int64_t batch = 1, m = 0, n = 0, k = 0;
  bool ta = false, tb = false;
  bool column_sums = false;  // a second result: the sums over K of B's columns

  bool empty() const { return batch * m * n * k == 0; }
};

// Are the products of bf16 operands?
inline bool rounds_to_bf16(const KernelSpec& matmul) {
  return matmul.inputs[0].dtype == graph::DType::bf16 || matmul.inputs[1].dtype == graph::DType::bf16;
}

}  // namespace suanli::engine
