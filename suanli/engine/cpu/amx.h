// The building blocks of every AMX product: packed panels, and the 32 x 32 product of two of them.
//
// A panel of A holds 32 rows, a panel of B 32 columns, both cut into steps of 32 along K; a step is two tiles of 1 KiB:
//   A  [step][row / 16][row % 16][32 k]
//   B  [step][column / 16][k / 2 (16)][column % 16][k % 2]
// Rows, columns and k that do not exist are zeros, so a panel is always whole. Tiles are what TDPBF16PS takes (Intel SDM,
// vol. 2, "TDPBF16PS"; Intel Optimization Reference Manual, "AMX"): products of bf16, sums in f32, subnormals as zero.
//
// Only if available() has said yes. Thread rule: multiply functions run inside a Tiles of the same thread; nothing is shared.
#pragma once

#include <cstddef>
#include <cstdint>

#include "suanli/engine/cpu/bf16.h"

namespace suanli::engine::amx {

// Can this process use AMX for bf16 and int8? Asks the CPU, and Linux for permission (once).
bool available();

// Configures the calling thread's tile registers, and gives them back.
class Tiles {
 public:
  Tiles();
  ~Tiles();
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
};

inline constexpr std::int64_t kPanel = 32;             // rows of A, columns of B
inline constexpr std::int64_t kStep = 32;              // k per step, of bf16
inline constexpr std::int64_t kStepBytes = 2048;       // of a panel

constexpr std::int64_t steps_of(std::int64_t k) { return (k + kStep - 1) / kStep; }
constexpr std::int64_t panels_of(std::int64_t n) { return (n + kPanel - 1) / kPanel; }
constexpr std::int64_t panel_bytes(std::int64_t k) { return steps_of(k) * kStepBytes; }

// Packing of panels from a matrix in memory, whose rows are `stride` elements apart. f32 is rounded to nearest even.
// Elements beyond `rows`, `columns` or `k` are not read. Any number of rows or columns: the panel of rows 32 i .. 32 i + 31
// begins at to + i * panel, `panel` in bytes (unused if there is only one). Rows of memory are read from end to end.
//   pack_a             A[i][p] = from[i * stride + p]
//   pack_a_transposed  A[i][p] = from[p * stride + i]
//   pack_b             B[p][j] = from[p * stride + j]
//   pack_b_transposed  B[p][j] = from[j * stride + p]
void pack_a(const Bf16* from, std::int64_t stride, std::int64_t rows, std::int64_t k, std::byte* to,
            std::int64_t panel = 0);
void pack_a(const float* from, std::int64_t stride, std::int64_t rows, std::int64_t k, std::byte* to,
            std::int64_t panel = 0);
void pack_a_transposed(const Bf16* from, std::int64_t stride, std::int64_t rows, std::int64_t k, std::byte* to,
                       std::int64_t panel = 0);
void pack_a_transposed(const float* from, std::int64_t stride, std::int64_t rows, std::int64_t k, std::byte* to,
                       std::int64_t panel = 0);
void pack_b(const Bf16* from, std::int64_t stride, std::int64_t k, std::int64_t columns, std::byte* to,
            std::int64_t panel = 0);
void pack_b(const float* from, std::int64_t stride, std::int64_t k, std::int64_t columns, std::byte* to,
            std::int64_t panel = 0);
void pack_b_transposed(const Bf16* from, std::int64_t stride, std::int64_t k, std::int64_t columns, std::byte* to,
                       std::int64_t panel = 0);
void pack_b_transposed(const float* from, std::int64_t stride, std::int64_t k, std::int64_t columns, std::byte* to,
                       std::int64_t panel = 0);

// to[j] = the sum over k of column j of a packed panel of B, j in [0, 32).
void column_sums(const std::byte* b, std::int64_t steps, float* to);

// C [32, 32] = A B, or C += A B, over `steps`; c[i * c_row + j]. All 32 x 32 elements are written.
// The panel of A should lie in L1; that of B may come from L2 (it is prefetched).
void multiply(const std::byte* a, const std::byte* b, std::int64_t steps, float* c, std::int64_t c_row, bool accumulate);

// The same for int8 and int32 sums, which wrap. A step is 64 along K:
//   A  [step][row / 16][row % 16][64 k]
//   B  [step][column / 16][k / 4 (16)][column % 16][k % 4]
inline constexpr std::int64_t kStepInt8 = 64;
void multiply_int8(const std::byte* a, const std::byte* b, std::int64_t steps, std::int32_t* c, std::int64_t c_row,
                   bool accumulate);

// Transposes `count` tiles, each of 16 x 16 dwords, in place: what turns tiles of A into tiles of B and back, for bf16 and int8.
void transpose_tiles(std::byte* tiles, std::int64_t count);

}  // namespace suanli::engine::amx
