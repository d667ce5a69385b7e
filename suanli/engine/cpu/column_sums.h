// Column sums of a product's second operand, apart from the product (kernel.h, "matmul" with column_sums).
#pragma once

#include <memory>

#include "suanli/base/error.h"
#include "suanli/engine/kernel.h"

namespace suanli::engine {

// `product` computes all of the spec but its last output, which the kernel reduce_to makes after it.
Result<std::unique_ptr<Kernel>> with_column_sums(std::unique_ptr<Kernel> product, const KernelSpec& spec);

}  // namespace suanli::engine
