// Which kernel calls take their time in the same way: what a measured call says about another one.
//
// Calls of one class run the same loops over operands of other sizes. So a class has a name, the sizes that its time depends on,
// and the operations and bytes from which the roofline (Williams, Waterman, Patterson, "Roofline", CACM 2009) follows; what a
// measured call reached of its roofline is interpolated over the sizes (rate_table.h).
//
//   products       "matmul forward", "matmul input gradient" (second operand transposed), "matmul weight gradient" (first one
//                  transposed); sizes M, N, K of all products of a batch together; then what the epilogue does to each element:
//                  "", " map" (additions and the like) or " curve" (GELU and other functions that take many instructions)
//   attention,     sizes: batch x heads, sequence, width of a head
//   attention_grad
//   vocabulary_*   sizes: rows, width, vocabulary
//   row kernels    (norms, softmax) sizes: rows, columns; with " map" or " curve" as above
//   all others     by bytes; regions also by what their code does, as above; "embedding_grad map" adds to a sum
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "suanli/engine/kernel.h"
#include "suanli/engine/program.h"

namespace suanli::plan {

struct CallClass {
  std::string kind;
  std::vector<double> sizes;  // each at least 1
  double flops = 0;           // of the canonical nodes
  double bytes = 0;           // operands and results once; of a table that is looked up only the rows
  bool is_product = false;    // its operations are those of matrix products
};
CallClass classify(const engine::KernelCall& call);

// The kinds from which the time of a kind that was not measured may be told, nearest first: "matmul forward curve" from
// "matmul forward map", "matmul forward", then other products.
std::vector<std::string> related_kinds(std::string_view kind);
bool is_product_kind(std::string_view kind);

}  // namespace suanli::plan
