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

// Of a spec of "matmul" or "exact_matmul". The outputs may be any that an epilogue makes.
inline MatmulShape matmul_shape(const KernelSpec& spec) {
  SUANLI_CHECK(spec.inputs.size() >= 2 && !spec.outputs.empty());
  const graph::Shape &a = spec.inputs[0].shape, &b = spec.inputs[1].shape;
  const std::size_t rank = a.size();
  SUANLI_CHECK(rank >= 2 && b.size() == rank);
  MatmulShape shape{.ta = spec.attrs.integer("ta", 0) != 0,
                    .tb = spec.attrs.integer("tb", 0) != 0,
                    .column_sums = spec.attrs.integer("column_sums", 0) != 0};
  shape.m = a[shape.ta ? rank - 1 : rank - 2];
  shape.k = a[shape.ta ? rank - 2 : rank - 1];
  shape.n = b[shape.tb ? rank - 2 : rank - 1];
  SUANLI_CHECK(b[shape.tb ? rank - 1 : rank - 2] == shape.k);
  for (std::size_t i = 0; i + 2 < rank; ++i) shape.batch *= a[i];
  return shape;
}

// Are the products of bf16 operands?
inline bool rounds_to_bf16(const KernelSpec& matmul) {
  return matmul.inputs[0].dtype == graph::DType::bf16 || matmul.inputs[1].dtype == graph::DType::bf16;
}

}  // namespace suanli::engine
