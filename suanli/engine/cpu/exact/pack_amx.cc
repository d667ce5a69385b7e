// Splitting into int8 digits and laying them out as tiles, in AVX-512: each element is read twice, for the scale and for the
// digits, the second time from L2.
#include "suanli/engine/cpu/exact/product_panels.h"

#include "suanli/base/error.h"

#if defined(__x86_64__)

#include "suanli/engine/cpu/avx512.h"

#include <algorithm>
#include <bit>

#include "suanli/engine/cpu/amx.h"

namespace suanli::engine::exact {
namespace {

constexpr std::int64_t kTile = 1024;
constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

inline __mmask16 first_of_16(std::int64_t n) { return static_cast<__mmask16>(first_of_32(n)); }
SUANLI_AVX512 inline __m512i bits_without_sign(__m512 x) {
  return _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7FFFFFFF));
}
SUANLI_AVX512 inline void store(std::byte* to, __m512i x) { _mm512_store_si512(to, x); }

// Of a normal number.
inline float power_of_two(int exponent) { return std::bit_cast<float>(static_cast<std::uint32_t>(127 + exponent) << 23); }

// A scale as two powers of two, since 2^162 is no f32; a poisoned row becomes zeros.
struct Factors {
  float first = 0, second = 0;
};
Factors factors_of(int exponent) {
  if (exponent == kPoisoned) return {};
  const int first = std::min(exponent, 127);
  return {power_of_two(first), power_of_two(exponent - first)};
}

SUANLI_AVX512 inline __m512i scaled(__m512 x, __m512 first, __m512 second) {
  return _mm512_cvt_roundps_epi32(_mm512_mul_ps(_mm512_mul_ps(x, first), second), kNearest);
}

// Digits of int16.
SUANLI_AVX512 inline __m512i high_of(__m512i v) { return _mm512_srai_epi16(_mm512_add_epi16(v, _mm512_set1_epi16(64)), 7); }
SUANLI_AVX512 inline __m512i low_of(__m512i v, __m512i high) { return _mm512_sub_epi16(v, _mm512_slli_epi16(high, 7)); }

SUANLI_AVX512 int exponent_along_k(const float* row, std::int64_t length) {
  __m512i even = _mm512_setzero_si512(), odd = even;
  std::int64_t p = 0;
  for (; p + 32 <= length; p += 32) {
    even = _mm512_max_epi32(even, bits_without_sign(_mm512_loadu_ps(row + p)));
    odd = _mm512_max_epi32(odd, bits_without_sign(_mm512_loadu_ps(row + p + 16)));
  }
  for (; p < length; p += 16)
    even = _mm512_max_epi32(even, bits_without_sign(_mm512_maskz_loadu_ps(first_of_16(length - p), row + p)));
  return exponent_of(static_cast<std::uint32_t>(_mm512_reduce_max_epi32(_mm512_max_epi32(even, odd))));
}

// One row of a panel: 64 bytes per step and digit, steps 2 KiB apart.
SUANLI_AVX512 void digits_along_k(const float* row, std::int64_t length, const Factors& factors, std::byte* high,
                                  std::byte* low) {
  const __m512 first = _mm512_set1_ps(factors.first), second = _mm512_set1_ps(factors.second);
  // Where the two packings below, which keep to lanes of 128 bits, leave each dword.
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  for (std::int64_t p = 0; p < length; p += 64, high += amx::kStepBytes, low += amx::kStepBytes) {
    __m512i v[4];
    if (p + 64 <= length)
      for (int i = 0; i < 4; ++i) v[i] = scaled(_mm512_loadu_ps(row + p + 16 * i), first, second);
    else
      for (int i = 0; i < 4; ++i)
        v[i] = scaled(_mm512_maskz_loadu_ps(first_of_16(length - p - 16 * i), row + p + 16 * i), first, second);
    const __m512i v01 = _mm512_packs_epi32(v[0], v[1]), v23 = _mm512_packs_epi32(v[2], v[3]);
    const __m512i h01 = high_of(v01), h23 = high_of(v23);
    store(high, _mm512_permutexvar_epi32(order, _mm512_packs_epi16(h01, h23)));
    store(low, _mm512_permutexvar_epi32(order, _mm512_packs_epi16(low_of(v01, h01), low_of(v23, h23))));
  }
}

SUANLI_AVX512 void pack_along_k(const Packing& packing, const Matrix& x, std::int64_t rows, std::int64_t length, std::byte* to) {
  const std::int64_t plane = (length + amx::kStepInt8 - 1) / amx::kStepInt8 * amx::kStepBytes;
  int exponents[kPanel] = {};
  for (std::int64_t r = 0; r < kPanel; ++r) {
    std::byte* const high = to + r * 64;
    const float* row = x.data + r * x.row_stride;
    if (r < rows) exponents[r] = exponent_along_k(row, length);
    if (r < rows && exponents[r] != kPoisoned) {
      digits_along_k(row, length, factors_of(exponents[r]), high, high + plane);
    } else {
      for (std::int64_t at = 0; at < plane; at += amx::kStepBytes) {
        store(high + at, _mm512_setzero_si512());
        store(high + plane + at, _mm512_setzero_si512());
      }
    }
  }
  if (packing.side == Side::b) amx::transpose_tiles(to, 2 * plane / kTile);
  set_scales(packing.side, exponents, scales_of(to, Isa::amx, length));
}

constexpr std::int64_t kWide = 4 * kPanel;  // rows at a time of a matrix that lies across K: what is read in one piece

struct Wide {
  alignas(64) std::uint32_t largest[kWide];
  alignas(64) float first[kWide];
  alignas(64) float second[kWide];
  int exponents[kWide];
};

SUANLI_AVX512 void largest_across_k(const Matrix& x, std::int64_t rows, std::int64_t length, Wide& wide) {
  __m512i largest[kWide / 16];
  __mmask16 masks[kWide / 16];
  for (std::int64_t i = 0; i < kWide / 16; ++i) {
    largest[i] = _mm512_setzero_si512();
    masks[i] = first_of_16(rows - 16 * i);
  }
  for (std::int64_t p = 0; p < length; ++p)
    for (std::int64_t i = 0; i < kWide / 16; ++i)
      largest[i] = _mm512_max_epi32(
          largest[i], bits_without_sign(_mm512_maskz_loadu_ps(masks[i], x.data + p * x.k_stride + 16 * i)));
  for (std::int64_t i = 0; i < kWide / 16; ++i) _mm512_store_si512(wide.largest + 16 * i, largest[i]);
}

// Four consecutive k of 16 rows as dwords (k, k + 1, k + 2, k + 3) of either digit.
struct Dwords {
  __m512i high, low;
};
SUANLI_AVX512 inline Dwords digits_of(const __m512i (&v)[4]) {
  const __mmask32 upper = 0xAAAAAAAA;
  const __m512i v02 = _mm512_mask_blend_epi16(upper, v[0], _mm512_slli_epi32(v[2], 16));
  const __m512i v13 = _mm512_mask_blend_epi16(upper, v[1], _mm512_slli_epi32(v[3], 16));
  const __m512i h02 = high_of(v02), h13 = high_of(v13), l02 = low_of(v02, h02), l13 = low_of(v13, h13);
  const __mmask64 odd = 0xAAAAAAAAAAAAAAAA;
  return {_mm512_mask_blend_epi8(odd, h02, _mm512_slli_epi16(h13, 8)),
          _mm512_mask_blend_epi8(odd, l02, _mm512_slli_epi16(l13, 8))};
}

SUANLI_AVX512 void digits_across_k(const Matrix& x, std::int64_t rows, std::int64_t length, const Wide& wide, std::byte* to,
                                   std::int64_t panel_bytes, std::int64_t plane) {
  const std::int64_t tiles = (rows + kPanel - 1) / kPanel * 2;
  for (std::int64_t p = 0; p < plane / 32; p += 4) {
    std::byte* const line = to + p / 64 * amx::kStepBytes + p % 64 * 16;
    for (std::int64_t i = 0; i < tiles; ++i) {
      std::byte* const out = line + i / 2 * panel_bytes + i % 2 * kTile;
      const __mmask16 mask = first_of_16(rows - 16 * i);
      const __m512 first = _mm512_load_ps(wide.first + 16 * i), second = _mm512_load_ps(wide.second + 16 * i);
      // A poisoned row's factors are 0, and its elements, of which some would be NaN, are not read.
      const __mmask16 read = mask & _mm512_cmp_ps_mask(first, _mm512_setzero_ps(), _CMP_NEQ_OQ);
      __m512i v[4];
      for (std::int64_t q = 0; q < 4; ++q)
        v[q] = p + q < length ? scaled(_mm512_maskz_loadu_ps(read, x.data + (p + q) * x.k_stride + 16 * i), first, second)
                              : _mm512_setzero_si512();
      const Dwords digits = digits_of(v);
      store(out, digits.high);
      store(out + plane, digits.low);
    }
  }
}

SUANLI_AVX512 void pack_across_k(const Packing& packing, const Matrix& x, std::int64_t rows, std::int64_t length, std::byte* to,
                                 std::int64_t panel_bytes) {
  const std::int64_t plane = (length + amx::kStepInt8 - 1) / amx::kStepInt8 * amx::kStepBytes;
  Wide wide;
  largest_across_k(x, rows, length, wide);
  for (std::int64_t r = 0; r < kWide; ++r) {
    wide.exponents[r] = exponent_of(wide.largest[r]);
    const Factors factors = factors_of(wide.exponents[r]);
    wide.first[r] = factors.first;
    wide.second[r] = factors.second;
  }
  digits_across_k(x, rows, length, wide, to, panel_bytes, plane);
  for (std::int64_t r = 0; r < rows; r += kPanel, to += panel_bytes) {
    if (packing.side == Side::a) amx::transpose_tiles(to, 2 * plane / kTile);
    int exponents[kPanel];
    std::copy_n(wide.exponents + r, kPanel, exponents);
    set_scales(packing.side, exponents, scales_of(to, Isa::amx, length));
  }
}

}  // namespace

void pack_amx(const Packing& packing, const Matrix& x, std::int64_t rows, std::int64_t length, std::byte* to,
              std::int64_t panel_bytes) {
  if (x.k_stride == 1) {
    for (std::int64_t r = 0; r < rows; r += kPanel)
      pack_along_k(packing, {x.data + r * x.row_stride, x.row_stride, 1}, std::min(kPanel, rows - r), length,
                   to + r / kPanel * panel_bytes);
    return;
  }
  SUANLI_CHECK(x.row_stride == 1);
  for (std::int64_t r = 0; r < rows; r += kWide)
    pack_across_k(packing, {x.data + r, 1, x.k_stride}, std::min(kWide, rows - r), length, to + r / kPanel * panel_bytes,
                  panel_bytes);
}

}  // namespace suanli::engine::exact

#else

namespace suanli::engine::exact {

void pack_amx(const Packing&, const Matrix&, std::int64_t, std::int64_t, std::byte*, std::int64_t) { SUANLI_CHECK(false); }

}  // namespace suanli::engine::exact

#endif
