#include "suanli/engine/cpu/transpose_tile.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "suanli/engine/cpu/simd_targets.h"
// After simd_targets.h.
#include <hwy/highway.h>

namespace suanli::engine {
namespace {

template <typename T>
void check(std::int64_t rows, std::int64_t columns) {
  SCOPED_TRACE(std::to_string(rows) + "x" + std::to_string(columns));
  const std::int64_t from_row = columns + 3, to_row = rows + 5;
  std::vector<T> from(static_cast<std::size_t>(rows * from_row));
  std::iota(from.begin(), from.end(), T{1});
  std::vector<T> to(static_cast<std::size_t>(columns * to_row), T{0});
  transpose_tile(from.data(), from_row, to.data(), to_row, rows, columns);
  for (std::int64_t j = 0; j < columns; ++j)
    for (std::int64_t i = 0; i < to_row; ++i)
      ASSERT_EQ(to[static_cast<std::size_t>(j * to_row + i)],
                i < rows ? from[static_cast<std::size_t>(i * from_row + j)] : T{0})
          << i << ", " << j;
}

// 0: all.
void use_targets(std::int64_t targets) {
  hwy::SetSupportedTargetsForTest(targets);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

TEST(TransposeTile, EveryShapeOnEveryInstructionSet) {
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    SCOPED_TRACE(hwy::TargetName(target));
    use_targets(target);
    for (const auto& [rows, columns] :
         {std::pair{1, 1}, {8, 8}, {4, 4}, {7, 9}, {33, 17}, {64, 40}, {65, 41}, {31, 100}}) {
      check<std::uint16_t>(rows, columns);
      check<std::uint32_t>(rows, columns);
    }
    use_targets(0);
  }
}

}  // namespace
}  // namespace suanli::engine
