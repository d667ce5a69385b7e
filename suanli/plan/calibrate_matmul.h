// Rates of bare matrix products by class of shape, as the engine computes them: what two machines are compared by.
#pragma once

#include <memory>
#include <vector>

#include "suanli/engine/device.h"
#include "suanli/engine/executor.h"
#include "suanli/plan/profile.h"
#include "suanli/plan/samples.h"

namespace suanli::plan {

struct MatmulShapeClass {
  const char* name;      // stable: profiles are compared by it
  const char* what;      // where such products come from
  std::int64_t m, n, k;
  bool ta, tb;           // is the first, second operand transposed?
};
// Of a model of width 512 on 2,048 tokens where nothing else is said.
const std::vector<MatmulShapeClass>& matmul_shape_classes();

// One arithmetic. The device outlives it; one thread.
class MatmulSampler {
 public:
  static Result<std::unique_ptr<MatmulSampler>> create(engine::Arithmetic arithmetic, engine::Device& device);
  // Each shape for about `each`, twice at least, of which the first run only warms caches.
  Status sample(Seconds each);
  // At least one sample.
  std::vector<MatmulRate> rates() const;

 private:
  struct Product {
    MatmulShapeClass shape;
    std::unique_ptr<engine::State> state;
    std::unique_ptr<engine::Executor> executor;
    std::size_t call = 0;  // of forward: the product, beside casts of its operands
    Samples flops_per_second;
  };
  explicit MatmulSampler(engine::Arithmetic arithmetic) : arithmetic_(arithmetic) {}
  const engine::Arithmetic arithmetic_;
  std::vector<Product> products_;
};

}  // namespace suanli::plan
