#include "suanli/engine/cpu/transpose_tile.h"

#include <algorithm>

#include "suanli/engine/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "suanli/engine/cpu/transpose_tile.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace suanli::engine {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET != HWY_SCALAR
// Transposes one square of as many elements a side as fit 16 bytes, in registers. Interleaving row
// i with row i + half, log2(side) times, is a perfect shuffle that ends at the transpose.
template <int kLog2Side, typename T>
HWY_INLINE void transpose_square(const T* HWY_RESTRICT from, std::int64_t from_row,
                                 T* HWY_RESTRICT to, std::int64_t to_row) {
  constexpr int kSide = 1 << kLog2Side;
  const hn::FixedTag<T, kSide> d;
  using V = hn::Vec<decltype(d)>;
  V rows[kSide];
  V mixed[kSide];
  for (int i = 0; i < kSide; ++i) rows[i] = hn::LoadU(d, from + i * from_row);
  for (int round = 0; round < kLog2Side; ++round) {
    for (int i = 0; i < kSide / 2; ++i) {
      mixed[2 * i] = hn::InterleaveLower(d, rows[i], rows[i + kSide / 2]);
      mixed[2 * i + 1] = hn::InterleaveUpper(d, rows[i], rows[i + kSide / 2]);
    }
    for (int i = 0; i < kSide; ++i) rows[i] = mixed[i];
  }
  for (int i = 0; i < kSide; ++i) hn::StoreU(rows[i], d, to + i * to_row);
}
#else
template <int kLog2Side, typename T>
HWY_INLINE void transpose_square(const T* HWY_RESTRICT from, std::int64_t from_row,
                                 T* HWY_RESTRICT to, std::int64_t to_row) {
  for (int i = 0; i < 1 << kLog2Side; ++i)
    for (int j = 0; j < 1 << kLog2Side; ++j) to[j * to_row + i] = from[i * from_row + j];
}
#endif

template <int kLog2Side, typename T>
HWY_INLINE void transpose(const T* HWY_RESTRICT from, std::int64_t from_row, T* HWY_RESTRICT to,
                          std::int64_t to_row, std::int64_t rows, std::int64_t columns) {
  constexpr std::int64_t kSide = std::int64_t{1} << kLog2Side;
  // Whole cache lines are written: 64 bytes of `to` are 64 / sizeof(T) rows of `from`.
  constexpr std::int64_t kLine = 64 / static_cast<std::int64_t>(sizeof(T));
  const std::int64_t whole_columns = columns - columns % kSide;
  for (std::int64_t i0 = 0; i0 < rows; i0 += kLine) {
    const std::int64_t line_end = std::min(rows, i0 + kLine);
    const std::int64_t whole_end = line_end - (line_end - i0) % kSide;
    for (std::int64_t j = 0; j < whole_columns; j += kSide)
      for (std::int64_t i = i0; i < whole_end; i += kSide)
        transpose_square<kLog2Side>(from + i * from_row + j, from_row, to + j * to_row + i, to_row);
    for (std::int64_t i = i0; i < line_end; ++i)
      for (std::int64_t j = i < whole_end ? whole_columns : 0; j < columns; ++j)
        to[j * to_row + i] = from[i * from_row + j];
  }
}

void Transpose16(const std::uint16_t* from, std::int64_t from_row, std::uint16_t* to,
                 std::int64_t to_row, std::int64_t rows, std::int64_t columns) {
  transpose<3>(from, from_row, to, to_row, rows, columns);
}

void Transpose32(const std::uint32_t* from, std::int64_t from_row, std::uint32_t* to,
                 std::int64_t to_row, std::int64_t rows, std::int64_t columns) {
  transpose<2>(from, from_row, to, to_row, rows, columns);
}

}  // namespace HWY_NAMESPACE
}  // namespace suanli::engine
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace suanli::engine {

HWY_EXPORT(Transpose16);
HWY_EXPORT(Transpose32);

void transpose_tile(const std::uint16_t* from, std::int64_t from_row, std::uint16_t* to,
                    std::int64_t to_row, std::int64_t rows, std::int64_t columns) {
  HWY_DYNAMIC_DISPATCH(Transpose16)(from, from_row, to, to_row, rows, columns);
}

void transpose_tile(const std::uint32_t* from, std::int64_t from_row, std::uint32_t* to,
                    std::int64_t to_row, std::int64_t rows, std::int64_t columns) {
  HWY_DYNAMIC_DISPATCH(Transpose32)(from, from_row, to, to_row, rows, columns);
}

}  // namespace suanli::engine
#endif
