#include "suanli/engine/cpu/amx_attention_rows.h"

#include "suanli/base/error.h"

#if defined(__x86_64__)

#include "suanli/engine/cpu/avx512.h"

#include <algorithm>
#include <functional>
#include <limits>

namespace suanli::engine::amx {
namespace {

constexpr std::int64_t kBlock = 32;
constexpr std::int64_t kBlockFloats = kBlock * kBlock;
constexpr std::int64_t kBlockBytes = kBlockFloats * 2;  // of bf16
constexpr float kLog2E = 1.44269504F;
constexpr float kLn2 = 0.693147181F;

SUANLI_AVX512 inline __m512 splat(float x) { return _mm512_set1_ps(x); }

// 2^t: the fraction's power by a minimax polynomial of degree 6 for the relative error on [0, 1] (6e-8 with rounding), the
// rest by scalef, which takes the floor of t itself and is right at both ends; -infinity has fraction 0.
SUANLI_AVX512 inline __m512 exp2_of(__m512 t) {
  const __m512 r = _mm512_reduce_ps(t, 0x09);  // t - floor(t), no exceptions
  __m512 p = splat(0.000216129149F);
  p = _mm512_fmadd_ps(p, r, splat(0.0012467847F));
  p = _mm512_fmadd_ps(p, r, splat(0.00967545155F));
  p = _mm512_fmadd_ps(p, r, splat(0.0554852821F));
  p = _mm512_fmadd_ps(p, r, splat(0.240229309F));
  p = _mm512_fmadd_ps(p, r, splat(0.693147063F));
  p = _mm512_fmadd_ps(p, r, splat(1.0F));
  return _mm512_scalef_ps(p, t);
}

// 32 floats as bf16.
SUANLI_AVX512 inline void store_rounded(__m512 low, __m512 high, std::byte* to) {
  const __m512bh both = _mm512_cvtne2ps_pbh(high, low);
  __builtin_memcpy(to, &both, sizeof(both));
}

// Lanes 16 half .. 16 half + 15 of the first n of 32.
inline __mmask16 first(std::int64_t n, int half) {
  return static_cast<__mmask16>(((std::uint64_t{1} << n) - 1) >> (16 * half));
}

SUANLI_AVX512 inline __m512 combine(__m512 a, __m512 b, std::plus<>) { return _mm512_add_ps(a, b); }
SUANLI_AVX512 inline __m512 combine(__m512 a, __m512 b, std::greater<>) { return _mm512_max_ps(a, b); }

// Lane i of the result: all lanes of v[i] combined.
template <typename Op>
SUANLI_AVX512 inline __m512 across_lanes(const __m512 (&v)[16], Op op) {
  __m512 fours[4];  // fours[i], in each 128-bit lane: rows 4 i .. 4 i + 3, of that lane of theirs
  for (int i = 0; i < 4; ++i) {
    const __m512* const rows = v + 4 * i;
    const __m512 a = combine(_mm512_unpacklo_ps(rows[0], rows[1]), _mm512_unpackhi_ps(rows[0], rows[1]), op);
    const __m512 b = combine(_mm512_unpacklo_ps(rows[2], rows[3]), _mm512_unpackhi_ps(rows[2], rows[3]), op);
    const __m512d low = _mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b));
    const __m512d high = _mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b));
    fours[i] = combine(_mm512_castpd_ps(low), _mm512_castpd_ps(high), op);
  }
  const auto halves = [&](__m512 a, __m512 b) SUANLI_AVX512 {
    return combine(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD), op);
  };
  return halves(halves(fours[0], fours[1]), halves(fours[2], fours[3]));
}

// The valid lanes of one query's row of the last block.
struct Diagonal {
  __mmask16 low, high;
};
SUANLI_AVX512 inline Diagonal diagonal_of(std::int64_t query) { return {first(query + 1, 0), first(query + 1, 1)}; }

// Of one query's scores, whose row of the last block is `last`. A NaN may be lost.
SUANLI_AVX512 inline __m512 largest(const float* row, const float* last, Diagonal valid) {
  const __m512 least = splat(-std::numeric_limits<float>::infinity());
  __m512 a = _mm512_mask_loadu_ps(least, valid.low, last);
  __m512 b = _mm512_mask_loadu_ps(least, valid.high, last + 16);
  for (; row != last; row += kBlockFloats) {
    a = _mm512_max_ps(a, _mm512_load_ps(row));
    b = _mm512_max_ps(b, _mm512_load_ps(row + 16));
  }
  return _mm512_max_ps(a, b);
}

// p = 2^(power s - most) of one query, and their sum.
SUANLI_AVX512 inline __m512 weights(const float* row, const float* last, Diagonal valid, __m512 power, __m512 most,
                                    std::byte* p) {
  __m512 low = _mm512_setzero_ps(), high = _mm512_setzero_ps();
  for (; row != last; row += kBlockFloats, p += kBlockBytes) {
    const __m512 a = exp2_of(_mm512_fmsub_ps(power, _mm512_load_ps(row), most));
    const __m512 b = exp2_of(_mm512_fmsub_ps(power, _mm512_load_ps(row + 16), most));
    low = _mm512_add_ps(low, a);
    high = _mm512_add_ps(high, b);
    store_rounded(a, b, p);
  }
  const __m512 a = _mm512_maskz_mov_ps(valid.low, exp2_of(_mm512_fmsub_ps(power, _mm512_load_ps(last), most)));
  const __m512 b = _mm512_maskz_mov_ps(valid.high, exp2_of(_mm512_fmsub_ps(power, _mm512_load_ps(last + 16), most)));
  store_rounded(a, b, p);
  return _mm512_add_ps(_mm512_add_ps(low, a), _mm512_add_ps(high, b));
}


// 32 elements (those of the mask) as f32, in two vectors.
struct Two {
  __m512 low, high;
};
SUANLI_AVX512 inline Two widened(const float* from, __mmask32 mask) {
  return {_mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), from),
          _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask >> 16), from + 16)};
}
SUANLI_AVX512 inline Two widened(const Bf16* from, __mmask32 mask) {
  const __m512i bits = _mm512_maskz_loadu_epi16(mask, from);
  const __m512i low = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(bits));
  const __m512i high = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(bits, 1));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(low, 16)), _mm512_castsi512_ps(_mm512_slli_epi32(high, 16))};
}

template <typename A, typename B>
SUANLI_AVX512 __m512 dots_of_16(const A* a, const B* b, std::int64_t stride_a, std::int64_t stride_b, std::int64_t rows,
                                std::int64_t columns) {
  __m512 sums[16];
  for (std::int64_t r = 0; r < 16; ++r, a += stride_a, b += stride_b) {
    __m512 low = _mm512_setzero_ps(), high = _mm512_setzero_ps();
    for (std::int64_t c = 0; r < rows && c < columns; c += 32) {
      const __mmask32 mask = first_of_32(columns - c);
      const Two x = widened(a + c, mask), y = widened(b + c, mask);
      low = _mm512_fmadd_ps(x.low, y.low, low);
      high = _mm512_fmadd_ps(x.high, y.high, high);
    }
    sums[r] = _mm512_add_ps(low, high);
  }
  return across_lanes(sums, std::plus<>());
}

template <typename A, typename B>
SUANLI_AVX512 void dots(const FloatRows& a, const FloatRows& b, std::int64_t rows, std::int64_t columns, float scale,
                        float* to) {
  for (std::int64_t r = 0; r < kBlock; r += 16) {
    const A* const x = reinterpret_cast<const A*>(a.data) + r * a.stride;
    const B* const y = reinterpret_cast<const B*>(b.data) + r * b.stride;
    const __m512 sums = dots_of_16(x, y, a.stride, b.stride, rows - r, columns);
    _mm512_store_ps(to + r, _mm512_mul_ps(splat(scale), sums));
  }
}

template <bool kDiagonal>
SUANLI_AVX512 void grad_block(const GradBlock& block) {
  const __m512 power = splat(block.scale * kLog2E), scale = splat(block.scale);
  const __m512 stats[2] = {_mm512_load_ps(block.stats), _mm512_load_ps(block.stats + 16)};
  const __m512 delta[2] = {_mm512_load_ps(block.delta), _mm512_load_ps(block.delta + 16)};
  for (std::int64_t key = 0; key < kBlock; ++key) {
    __m512 p[2], ds[2];
    for (int half = 0; half < 2; ++half) {
      const std::int64_t at = key * kBlock + half * 16;
      p[half] = exp2_of(_mm512_fmsub_ps(power, _mm512_load_ps(block.s + at), stats[half]));
      ds[half] = _mm512_mul_ps(p[half], _mm512_fmsub_ps(scale, _mm512_load_ps(block.dp + at), delta[half]));
      if (kDiagonal) {
        const auto valid = static_cast<__mmask16>(~first(key, half));
        p[half] = _mm512_maskz_mov_ps(valid, p[half]);
        ds[half] = _mm512_maskz_mov_ps(valid, ds[half]);
      }
    }
    store_rounded(p[0], p[1], block.p + key * kBlock * 2);
    store_rounded(ds[0], ds[1], block.ds + key * kBlock * 2);
  }
}

// The cache lines of rows.
template <typename Visit>
void for_lines(const FloatRows& x, std::int64_t rows, std::int64_t columns, const Visit& visit) {
  const std::int64_t element = graph::size_of(x.dtype).value();
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::byte* const row = x.data + r * x.stride * element;
    for (std::int64_t at = 0; at < columns * element; at += 64) visit(row + at);
  }
}

}  // namespace

SUANLI_AVX512 void powers_of_two(const float* x, float* to, std::int64_t count) {
  for (std::int64_t i = 0; i < count; i += 16) _mm512_store_ps(to + i, exp2_of(_mm512_load_ps(x + i)));
}

SUANLI_AVX512 void softmax_panel(const float* s, std::int64_t blocks, float scale, std::byte* p, float* top, float* sum) {
  const __m512 power = splat(scale * kLog2E);
  const float* const last = s + (blocks - 1) * kBlockFloats;
  for (std::int64_t begin = 0; begin < kBlock; begin += 16) {
    __m512 rows[16];
    for (std::int64_t i = 0; i < 16; ++i) {
      const std::int64_t query = begin + i;
      rows[i] = largest(s + query * kBlock, last + query * kBlock, diagonal_of(query));
    }
    alignas(64) float most[16];  // of power s
    _mm512_store_ps(most, _mm512_mul_ps(power, across_lanes(rows, std::greater<>())));
    _mm512_store_ps(top + begin, _mm512_mul_ps(splat(kLn2), _mm512_load_ps(most)));
    for (std::int64_t i = 0; i < 16; ++i) {
      const std::int64_t query = begin + i;
      rows[i] = weights(s + query * kBlock, last + query * kBlock, diagonal_of(query), power, splat(most[i]),
                        p + query * kBlock * 2);
    }
    _mm512_store_ps(sum + begin, across_lanes(rows, std::plus<>()));
  }
}

void softmax_grad_block(const GradBlock& block) { block.diagonal ? grad_block<true>(block) : grad_block<false>(block); }

SUANLI_AVX512 void divide_rows(float* x, std::int64_t stride, std::int64_t columns, const float* divisors) {
  alignas(64) float factors[kBlock];
  for (std::int64_t i = 0; i < kBlock; i += 16)
    _mm512_store_ps(factors + i, _mm512_div_ps(splat(1), _mm512_load_ps(divisors + i)));
  for (std::int64_t r = 0; r < kBlock; ++r, x += stride) {
    const __m512 factor = splat(factors[r]);
    for (std::int64_t c = 0; c < columns; c += 16) _mm512_store_ps(x + c, _mm512_mul_ps(_mm512_load_ps(x + c), factor));
  }
}

SUANLI_AVX512 void round_rows(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t columns, Bf16* to,
                              std::int64_t to_stride) {
  for (std::int64_t r = 0; r < rows; ++r, x += stride, to += to_stride)
    for (std::int64_t c = 0; c < columns; c += 32) {
      const Two y = widened(x + c, first_of_32(columns - c));
      const __m512bh both = _mm512_cvtne2ps_pbh(y.high, y.low);
      __m512i bits;
      __builtin_memcpy(&bits, &both, sizeof(bits));
      _mm512_mask_storeu_epi16(to + c, first_of_32(columns - c), bits);
    }
}

void dot_panel(const FloatRows& a, const FloatRows& b, std::int64_t rows, std::int64_t columns, float scale, float* to) {
  const bool rounded_a = a.dtype == graph::DType::bf16, rounded_b = b.dtype == graph::DType::bf16;
  if (rounded_a)
    rounded_b ? dots<Bf16, Bf16>(a, b, rows, columns, scale, to) : dots<Bf16, float>(a, b, rows, columns, scale, to);
  else
    rounded_b ? dots<float, Bf16>(a, b, rows, columns, scale, to) : dots<float, float>(a, b, rows, columns, scale, to);
}

void prefetch_rows(const FloatRows& from, std::int64_t rows, std::int64_t columns) {
  for_lines(from, rows, columns, [](const std::byte* line) { __builtin_prefetch(line, 0, 2); });
}

void prefetch_rows_to_write(const FloatRows& to, std::int64_t rows, std::int64_t columns) {
  for_lines(
      to, rows, columns, [](const std::byte* line) __attribute__((target("prfchw"))) { __builtin_prefetch(line, 1, 2); });
}

}  // namespace suanli::engine::amx

#else  // another architecture: amx::available() is false and nothing here is called

namespace suanli::engine::amx {

void powers_of_two(const float*, float*, std::int64_t) { SUANLI_CHECK(false); }
void softmax_panel(const float*, std::int64_t, float, std::byte*, float*, float*) { SUANLI_CHECK(false); }
void softmax_grad_block(const GradBlock&) { SUANLI_CHECK(false); }
void divide_rows(float*, std::int64_t, std::int64_t, const float*) { SUANLI_CHECK(false); }
void round_rows(const float*, std::int64_t, std::int64_t, std::int64_t, Bf16*, std::int64_t) { SUANLI_CHECK(false); }
void dot_panel(const FloatRows&, const FloatRows&, std::int64_t, std::int64_t, float, float*) { SUANLI_CHECK(false); }
void prefetch_rows(const FloatRows&, std::int64_t, std::int64_t) { SUANLI_CHECK(false); }
void prefetch_rows_to_write(const FloatRows&, std::int64_t, std::int64_t) { SUANLI_CHECK(false); }

}  // namespace suanli::engine::amx

#endif
