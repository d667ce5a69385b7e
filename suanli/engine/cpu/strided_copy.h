// Copies elements between two strided views: the heart of transpose, slice, pad and broadcast.
#pragma once

#include <cstddef>
#include <cstdint>

#include "suanli/base/thread_pool.h"
#include "suanli/graph/types.h"

namespace suanli::engine {

// Elements between neighbours along each dimension of a dense row-major tensor.
graph::Shape dense_strides(const graph::Shape& shape);
// The strides that repeat a dense tensor of shape `small` to `large` (right-aligned): 0 where it is
// repeated.
graph::Shape broadcast_strides(const graph::Shape& small, const graph::Shape& large);

class StridedCopy {
 public:
  // For each index of `shape`: to[sum index * to_strides] = from[sum index * from_strides]. Strides
  // count elements of `element_size` bytes (1, 2, 4 or 8); those of `to` never meet.
  StridedCopy(graph::Shape shape, graph::Shape from_strides, graph::Shape to_strides,
              std::int64_t element_size);

  void run(const std::byte* from, std::byte* to, ThreadPool& pool) const;

 private:
  template <typename T>
  void run_as(const T* from, T* to, ThreadPool& pool) const;

  // Dimensions of size 1 dropped, those that continue one another merged; at least two remain. The
  // last is the innermost run; the one before it is the other axis of a transposition if there is
  // one.
  graph::Shape shape_, from_, to_;
  std::int64_t element_size_;
};

}  // namespace suanli::engine
