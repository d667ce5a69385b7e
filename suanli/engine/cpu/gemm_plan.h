// How a matrix product is cut into tiles. A function of the shape alone, so that every thread count
// gives the same bits.
#pragma once

#include <cstdint>

namespace suanli::engine {

// [0, total) in `count` pieces: all of `size` but the last, which has `last`, between a little and
// a little more.
struct Split {
  std::int64_t size = 0;
  std::int64_t count = 0;
  std::int64_t last = 0;

  std::int64_t begin(std::int64_t i) const { return i * size; }
  std::int64_t length(std::int64_t i) const { return i + 1 == count ? last : size; }
  std::int64_t longest() const { return size > last ? size : last; }
};

// Even pieces of about `limit`, a multiple of `unit` except the last, which is no shorter than a
// unit unless it is the only one (a stub is given to its neighbour).
Split split(std::int64_t total, std::int64_t limit, std::int64_t unit);

struct GemmPlan {
  // Packed: B is brought into oneDNN's layout tile by tile, a transposed A is transposed first, and
  // C tiles narrower than C are computed apart. Else operands are read and C written where they
  // lie, cut by columns only.
  bool packed = false;
  Split m;
  Split n;
};

// For `batch` products of m x n x k, each at least 1.
GemmPlan plan_gemm(std::int64_t batch, std::int64_t m, std::int64_t n, std::int64_t k);

}  // namespace suanli::engine
