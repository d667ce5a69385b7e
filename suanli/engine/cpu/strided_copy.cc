#include "suanli/engine/cpu/strided_copy.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "suanli/base/error.h"
#include "suanli/engine/cpu/kernel_support.h"

namespace suanli::engine {
namespace {

// A square of a transposition that stays in the L1 cache on both sides.
constexpr std::int64_t kSquare = 32;
constexpr std::int64_t kTaskElements = 16384;

template <typename T>
struct Plane {
  const T* from;
  T* to;
  std::int64_t from_row, from_column, to_row, to_column;  // strides
};

// Rows [0, rows) x columns [0, columns).
template <typename T>
void copy_plane(const Plane<T>& p, std::int64_t rows, std::int64_t columns) {
  if (p.to_column == 1 && p.from_column <= 1) {
    for (std::int64_t r = 0; r < rows; ++r) {
      const T* from = p.from + r * p.from_row;
      T* to = p.to + r * p.to_row;
      if (p.from_column == 1)
        std::memcpy(to, from, static_cast<std::size_t>(columns) * sizeof(T));
      else
        std::fill_n(to, columns, *from);
    }
    return;
  }
  for (std::int64_t r0 = 0; r0 < rows; r0 += kSquare)
    for (std::int64_t c0 = 0; c0 < columns; c0 += kSquare)
      for (std::int64_t r = r0; r < std::min(rows, r0 + kSquare); ++r)
        for (std::int64_t c = c0; c < std::min(columns, c0 + kSquare); ++c)
          p.to[r * p.to_row + c * p.to_column] = p.from[r * p.from_row + c * p.from_column];
}

}  // namespace

graph::Shape dense_strides(const graph::Shape& shape) {
  graph::Shape strides(shape.size());
  std::int64_t step = 1;
  for (std::size_t i = shape.size(); i-- > 0;) {
    strides[i] = step;
    step *= shape[i];
  }
  return strides;
}

graph::Shape broadcast_strides(const graph::Shape& small, const graph::Shape& large) {
  graph::Shape strides(large.size(), 0);
  const graph::Shape dense = dense_strides(small);
  const std::size_t missing = large.size() - small.size();
  for (std::size_t i = 0; i < small.size(); ++i)
    if (small[i] != 1) strides[missing + i] = dense[i];
  return strides;
}

StridedCopy::StridedCopy(graph::Shape shape, graph::Shape from_strides, graph::Shape to_strides,
                         std::int64_t element_size)
    : element_size_(element_size) {
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 1) continue;
    const bool continues = !shape_.empty() && from_.back() == from_strides[i] * shape[i] &&
                           to_.back() == to_strides[i] * shape[i];
    if (continues) {
      shape_.back() *= shape[i];
      from_.back() = from_strides[i];
      to_.back() = to_strides[i];
    } else {
      shape_.push_back(shape[i]);
      from_.push_back(from_strides[i]);
      to_.push_back(to_strides[i]);
    }
  }
  while (shape_.size() < 2) {
    shape_.insert(shape_.begin(), 1);
    from_.insert(from_.begin(), from_.empty() ? 1 : 0);
    to_.insert(to_.begin(), to_.empty() ? 1 : 0);
  }
  // Beside a scattered innermost run, put the dimension along which `from` is contiguous.
  const std::size_t last = shape_.size() - 1;
  if (from_[last] > 1) {
    const auto contiguous = std::find(from_.begin(), from_.end(), 1);
    if (contiguous != from_.end()) {
      const std::size_t axis = static_cast<std::size_t>(contiguous - from_.begin());
      std::swap(shape_[axis], shape_[last - 1]);
      std::swap(from_[axis], from_[last - 1]);
      std::swap(to_[axis], to_[last - 1]);
    }
  }
}

void StridedCopy::run(const std::byte* from, std::byte* to, ThreadPool& pool) const {
  const auto as = [&]<typename T>(T) {
    run_as(reinterpret_cast<const T*>(from), reinterpret_cast<T*>(to), pool);
  };
  switch (element_size_) {
    case 1:
      return as(std::uint8_t());
    case 2:
      return as(std::uint16_t());
    case 4:
      return as(std::uint32_t());
    case 8:
      return as(std::uint64_t());
    default:
      SUANLI_CHECK(false);
  }
}

// Tasks are bands of rows, or of columns where rows are long, of one plane (the last two
// dimensions) each.
template <typename T>
void StridedCopy::run_as(const T* from, T* to, ThreadPool& pool) const {
  const std::size_t plane = shape_.size() - 2;
  const std::int64_t rows = shape_[plane];
  const std::int64_t columns = shape_[plane + 1];
  if (graph::element_count(shape_) == 0) return;
  const std::int64_t width = std::min(columns, kTaskElements);
  const std::int64_t height = std::min(rows, std::max<std::int64_t>(1, kTaskElements / width));
  const std::int64_t across = divide_up(columns, width);
  const std::int64_t down = divide_up(rows, height);
  std::int64_t planes = 1;
  for (std::size_t i = 0; i < plane; ++i) planes *= shape_[i];

  const auto copy_band = [&](std::int64_t index) {
    const std::int64_t column = index % across * width;
    const std::int64_t row = index / across % down * height;
    std::int64_t rest = index / across / down;
    Plane<T> p{from, to, from_[plane], from_[plane + 1], to_[plane], to_[plane + 1]};
    for (std::size_t i = plane; i-- > 0; rest /= shape_[i]) {
      p.from += rest % shape_[i] * from_[i];
      p.to += rest % shape_[i] * to_[i];
    }
    p.from += row * p.from_row + column * p.from_column;
    p.to += row * p.to_row + column * p.to_column;
    copy_plane(p, std::min(height, rows - row), std::min(width, columns - column));
  };
  const std::int64_t bands = planes * down * across;
  const std::int64_t grain = std::max<std::int64_t>(1, kTaskElements / (width * height));
  parallel_ranges(pool, bands, grain, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t index = begin; index < end; ++index) copy_band(index);
  });
}

}  // namespace suanli::engine
