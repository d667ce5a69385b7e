#include "suanli/engine/cpu/amx.h"

#include "suanli/base/error.h"

#if defined(__x86_64__)

#include "suanli/engine/cpu/avx512.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

// Every function below that uses these instructions says so itself: the rest of the program runs on any CPU.
#define SUANLI_AMX __attribute__((target("amx-tile,amx-bf16,amx-int8,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))

namespace suanli::engine::amx {
namespace {

// arch_prctl: permission to use an XSAVE feature (Linux, Documentation/arch/x86/xstate.rst).
constexpr int kArchReqXcompPerm = 0x1023;
constexpr int kXfeatureTileData = 18;
constexpr std::int64_t kTileBytes = 1024;

bool ask() {
  __builtin_cpu_init();
  unsigned a = 0, b = 0, c = 0, d = 0;
  __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(7), "c"(0));
  constexpr unsigned kBf16 = 1U << 22, kTile = 1U << 24, kInt8 = 1U << 25;
  if ((d & kBf16) == 0 || (d & kTile) == 0 || (d & kInt8) == 0) return false;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512bf16"))
    return false;
  return syscall(SYS_arch_prctl, kArchReqXcompPerm, kXfeatureTileData) == 0;
}

struct alignas(64) TileConfig {  // Intel SDM, vol. 2, LDTILECFG
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// The 32 elements (fewer: zeros after them) from `from` on, as bf16.
SUANLI_AMX inline __m512i load(const Bf16* from, __mmask32 mask) { return _mm512_maskz_loadu_epi16(mask, from); }
SUANLI_AMX inline __m512i load(const float* from, __mmask32 mask) {
  const __m512 low = _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), from);
  const __m512 high = _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask >> 16), from + 16);
  const __m512bh both = _mm512_cvtne2ps_pbh(high, low);
  __m512i bits;
  std::memcpy(&bits, &both, sizeof(bits));
  return bits;
}

SUANLI_AMX inline __m512bh as_bf16(__m512i bits) {
  __m512bh x;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}

SUANLI_AMX inline void store(std::byte* to, __m512i x) { _mm512_store_si512(reinterpret_cast<__m512i*>(to), x); }

// out[c] = dword column c of the 16 rows.
SUANLI_AMX inline void transpose(const __m512i (&in)[16], __m512i (&out)[16]) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {  // 2 x 2 blocks
    t[i] = _mm512_unpacklo_epi32(in[i], in[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(in[i], in[i + 1]);
  }
  __m512i u[16];
  for (int i = 0; i < 16; i += 4) {  // u[i + q]: in each 128-bit lane L column 4 L + q of rows i .. i + 3
    u[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    u[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    u[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    u[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int q = 0; q < 4; ++q) {
    const __m512i even_low = _mm512_shuffle_i32x4(u[q], u[4 + q], 0x88);       // lanes 0, 2 of rows 0-3 and 4-7
    const __m512i odd_low = _mm512_shuffle_i32x4(u[q], u[4 + q], 0xDD);        // lanes 1, 3
    const __m512i even_high = _mm512_shuffle_i32x4(u[8 + q], u[12 + q], 0x88);
    const __m512i odd_high = _mm512_shuffle_i32x4(u[8 + q], u[12 + q], 0xDD);
    out[q] = _mm512_shuffle_i32x4(even_low, even_high, 0x88);
    out[4 + q] = _mm512_shuffle_i32x4(odd_low, odd_high, 0x88);
    out[8 + q] = _mm512_shuffle_i32x4(even_low, even_high, 0xDD);
    out[12 + q] = _mm512_shuffle_i32x4(odd_low, odd_high, 0xDD);
  }
}

// Rows `even` and `odd` of 32 columns as dwords (even, odd) of columns 0-15 and of 16-31.
struct Pairs {
  __m512i low, high;
};
SUANLI_AMX inline Pairs interleave(__m512i even, __m512i odd) {
  const __m512i a = _mm512_unpacklo_epi16(even, odd);  // lane L: columns 8 L .. 8 L + 3
  const __m512i b = _mm512_unpackhi_epi16(even, odd);  // lane L: columns 8 L + 4 .. 8 L + 7
  const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
  const __m512i high = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
  return {_mm512_permutex2var_epi64(a, low, b), _mm512_permutex2var_epi64(a, high, b)};
}

SUANLI_AMX inline void transpose_in_place(std::byte* tile) {
  __m512i in[16], out[16];
  for (int i = 0; i < 16; ++i) in[i] = _mm512_load_si512(tile + i * 64);
  transpose(in, out);
  for (int i = 0; i < 16; ++i) store(tile + i * 64, out[i]);
}

// The 16 x 16 dwords of each tile of a step, transposed.
SUANLI_AMX inline void transpose_step(std::byte* step) {
  transpose_in_place(step);
  transpose_in_place(step + kTileBytes);
}

// Panels whose rows lie along K in memory. Per step [row][32 k]: panels of A; transposed they are panels of B.
template <typename T>
SUANLI_AMX void rows_along_k(const T* from, std::int64_t stride, std::int64_t rows, std::int64_t k, std::byte* to,
                             std::int64_t panel, bool transposed) {
  for (std::int64_t r0 = 0; r0 < rows; r0 += kPanel, to += panel) {
    for (std::int64_t r = 0; r < kPanel; ++r) {
      const T* row = from + (r0 + r) * stride;
      std::byte* out = to + r * 64;
      if (r0 + r >= rows) {
        for (std::int64_t p = 0; p < k; p += kStep, out += kStepBytes) store(out, _mm512_setzero_si512());
        continue;
      }
      std::int64_t p = 0;
      for (; p + kStep <= k; p += kStep, out += kStepBytes) store(out, load(row + p, ~__mmask32{0}));
      if (p < k) store(out, load(row + p, first_of_32(k - p)));
    }
    if (transposed)
      for (std::int64_t step = 0; step < steps_of(k); ++step) transpose_step(to + step * kStepBytes);
  }
}

// Panels whose rows lie across K in memory. Per step [column / 16][pair of k][column % 16][2]: panels of B; transposed they
// are panels of A.
template <typename T>
SUANLI_AMX void rows_across_k(const T* from, std::int64_t stride, std::int64_t k, std::int64_t columns, std::byte* to,
                              std::int64_t panel, bool transposed) {
  const std::int64_t panels = panels_of(columns);
  for (std::int64_t p0 = 0; p0 < k; p0 += kStep, to += kStepBytes) {
    for (std::int64_t p = p0; p < p0 + kStep; p += 2) {
      const T* even = from + p * stride;
      std::byte* out = to + (p - p0) * 32;
      for (std::int64_t c = 0; c < columns; c += kPanel, out += panel) {
        const __mmask32 mask = first_of_32(columns - c);
        const __m512i a = p < k ? load(even + c, mask) : _mm512_setzero_si512();
        const __m512i b = p + 1 < k ? load(even + stride + c, mask) : _mm512_setzero_si512();
        const Pairs pairs = interleave(a, b);
        store(out, pairs.low);
        store(out + kTileBytes, pairs.high);
      }
    }
    if (transposed)
      for (std::int64_t i = 0; i < panels; ++i) transpose_step(to + i * panel);
  }
}

// Functions of their own, since g++ does not apply a target to a constructor; the configuration lies in memory for good,
// since g++ 12 tells the optimiser only of its first eight bytes.
constinit const TileConfig kConfig;
SUANLI_AMX void configure() { _tile_loadconfig(&kConfig); }
SUANLI_AMX void release() { _tile_release(); }

SUANLI_AMX inline void prefetch(const std::byte* from) {
  for (int line = 0; line < 8; ++line) _mm_prefetch(reinterpret_cast<const char*>(from + line * 64), _MM_HINT_T0);
}

}  // namespace

bool available() {
  static const bool yes = ask();
  return yes;
}

Tiles::Tiles() { configure(); }
Tiles::~Tiles() { release(); }

void pack_a(const Bf16* from, std::int64_t stride, std::int64_t rows, std::int64_t k, std::byte* to,
            std::int64_t panel) {
  rows_along_k(from, stride, rows, k, to, panel, false);
}
void pack_a(const float* from, std::int64_t stride, std::int64_t rows, std::int64_t k, std::byte* to,
            std::int64_t panel) {
  rows_along_k(from, stride, rows, k, to, panel, false);
}
void pack_a_transposed(const Bf16* from, std::int64_t stride, std::int64_t rows, std::int64_t k, std::byte* to,
                       std::int64_t panel) {
  rows_across_k(from, stride, k, rows, to, panel, true);
}
void pack_a_transposed(const float* from, std::int64_t stride, std::int64_t rows, std::int64_t k, std::byte* to,
                       std::int64_t panel) {
  rows_across_k(from, stride, k, rows, to, panel, true);
}
void pack_b(const Bf16* from, std::int64_t stride, std::int64_t k, std::int64_t columns, std::byte* to,
            std::int64_t panel) {
  rows_across_k(from, stride, k, columns, to, panel, false);
}
void pack_b(const float* from, std::int64_t stride, std::int64_t k, std::int64_t columns, std::byte* to,
            std::int64_t panel) {
  rows_across_k(from, stride, k, columns, to, panel, false);
}
void pack_b_transposed(const Bf16* from, std::int64_t stride, std::int64_t k, std::int64_t columns, std::byte* to,
                       std::int64_t panel) {
  rows_along_k(from, stride, columns, k, to, panel, true);
}
void pack_b_transposed(const float* from, std::int64_t stride, std::int64_t k, std::int64_t columns, std::byte* to,
                       std::int64_t panel) {
  rows_along_k(from, stride, columns, k, to, panel, true);
}

SUANLI_AMX void transpose_tiles(std::byte* tiles, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) transpose_in_place(tiles + i * kTileBytes);
}

SUANLI_AMX void column_sums(const std::byte* b, std::int64_t steps, float* to) {
  const __m512i ones = _mm512_set1_epi16(0x3F80);
  __m512 low = _mm512_setzero_ps(), high = _mm512_setzero_ps();
  for (std::int64_t row = 0; row < 16 * steps; ++row) {
    const std::byte* from = b + row / 16 * kStepBytes + row % 16 * 64;
    low = _mm512_dpbf16_ps(low, as_bf16(_mm512_load_si512(from)), as_bf16(ones));
    high = _mm512_dpbf16_ps(high, as_bf16(_mm512_load_si512(from + kTileBytes)), as_bf16(ones));
  }
  _mm512_storeu_ps(to, low);
  _mm512_storeu_ps(to + 16, high);
}

namespace {

// Sums in tiles 0-3 (2 x 2), A in 4 and 5, B in 6 and 7. g++ takes tile numbers as written only, so each product has its name.
template <bool kInt8>
SUANLI_AMX inline void product_upper_left() {
  if constexpr (kInt8)
    _tile_dpbssd(0, 4, 6);
  else
    _tile_dpbf16ps(0, 4, 6);
}
template <bool kInt8>
SUANLI_AMX inline void product_upper_right() {
  if constexpr (kInt8)
    _tile_dpbssd(1, 4, 7);
  else
    _tile_dpbf16ps(1, 4, 7);
}
template <bool kInt8>
SUANLI_AMX inline void product_lower_left() {
  if constexpr (kInt8)
    _tile_dpbssd(2, 5, 6);
  else
    _tile_dpbf16ps(2, 5, 6);
}
template <bool kInt8>
SUANLI_AMX inline void product_lower_right() {
  if constexpr (kInt8)
    _tile_dpbssd(3, 5, 7);
  else
    _tile_dpbf16ps(3, 5, 7);
}

// B of two steps ahead is prefetched between the products.
template <bool kInt8, typename Sum>
SUANLI_AMX inline void multiply_panels(const std::byte* a, const std::byte* b, std::int64_t steps, Sum* c, std::int64_t c_row,
                                       bool accumulate) {
  static_assert(sizeof(Sum) == 4);
  const auto row_bytes = static_cast<std::size_t>(c_row) * sizeof(Sum);
  Sum* const below = c + 16 * c_row;
  if (accumulate) {
    _tile_loadd(0, c, row_bytes);
    _tile_loadd(1, c + 16, row_bytes);
    _tile_loadd(2, below, row_bytes);
    _tile_loadd(3, below + 16, row_bytes);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (std::int64_t step = 0; step < steps; ++step, a += kStepBytes, b += kStepBytes) {
    const std::byte* const ahead = b + 2 * kStepBytes;
    _tile_loadd(4, a, 64);
    _tile_loadd(6, b, 64);
    prefetch(ahead);
    product_upper_left<kInt8>();
    _tile_loadd(7, b + kTileBytes, 64);
    prefetch(ahead + 512);
    product_upper_right<kInt8>();
    _tile_loadd(5, a + kTileBytes, 64);
    prefetch(ahead + 1024);
    product_lower_left<kInt8>();
    prefetch(ahead + 1536);
    product_lower_right<kInt8>();
  }
  _tile_stored(0, c, row_bytes);
  _tile_stored(1, c + 16, row_bytes);
  _tile_stored(2, below, row_bytes);
  _tile_stored(3, below + 16, row_bytes);
}

}  // namespace

SUANLI_AMX void multiply(const std::byte* a, const std::byte* b, std::int64_t steps, float* c, std::int64_t c_row,
                         bool accumulate) {
  multiply_panels<false>(a, b, steps, c, c_row, accumulate);
}

SUANLI_AMX void multiply_int8(const std::byte* a, const std::byte* b, std::int64_t steps, std::int32_t* c,
                              std::int64_t c_row, bool accumulate) {
  multiply_panels<true>(a, b, steps, c, c_row, accumulate);
}

}  // namespace suanli::engine::amx

#else  // another architecture: available() is false and nothing else is called

namespace suanli::engine::amx {

bool available() { return false; }
Tiles::Tiles() { SUANLI_CHECK(false); }
Tiles::~Tiles() = default;
void pack_a(const Bf16*, std::int64_t, std::int64_t, std::int64_t, std::byte*, std::int64_t) { SUANLI_CHECK(false); }
void pack_a(const float*, std::int64_t, std::int64_t, std::int64_t, std::byte*, std::int64_t) { SUANLI_CHECK(false); }
void pack_a_transposed(const Bf16*, std::int64_t, std::int64_t, std::int64_t, std::byte*, std::int64_t) { SUANLI_CHECK(false); }
void pack_a_transposed(const float*, std::int64_t, std::int64_t, std::int64_t, std::byte*, std::int64_t) { SUANLI_CHECK(false); }
void pack_b(const Bf16*, std::int64_t, std::int64_t, std::int64_t, std::byte*, std::int64_t) { SUANLI_CHECK(false); }
void pack_b(const float*, std::int64_t, std::int64_t, std::int64_t, std::byte*, std::int64_t) { SUANLI_CHECK(false); }
void pack_b_transposed(const Bf16*, std::int64_t, std::int64_t, std::int64_t, std::byte*, std::int64_t) { SUANLI_CHECK(false); }
void pack_b_transposed(const float*, std::int64_t, std::int64_t, std::int64_t, std::byte*, std::int64_t) { SUANLI_CHECK(false); }
void column_sums(const std::byte*, std::int64_t, float*) { SUANLI_CHECK(false); }
void transpose_tiles(std::byte*, std::int64_t) { SUANLI_CHECK(false); }
void multiply(const std::byte*, const std::byte*, std::int64_t, float*, std::int64_t, bool) { SUANLI_CHECK(false); }
void multiply_int8(const std::byte*, const std::byte*, std::int64_t, std::int32_t*, std::int64_t, bool) {
  SUANLI_CHECK(false);
}

}  // namespace suanli::engine::amx

#endif
