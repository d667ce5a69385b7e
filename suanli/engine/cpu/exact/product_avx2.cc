// Products of panels with VPMADDWD: as product_avx512.cc, the pairs' sums added apart. A pair's sum is below 2^31.
#include "suanli/engine/cpu/exact/product_panels.h"

#include "suanli/base/error.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define SUANLI_AVX2 __attribute__((target("avx2")))

namespace suanli::engine::exact {
namespace {

constexpr std::int64_t kRows = 4, kColumns = 16;  // 8 sums of 8, four vectors of B, and what is in work: 16 registers

SUANLI_AVX2 inline __m256i load(const std::int32_t* from) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(from));
}
SUANLI_AVX2 inline void store(__m256i x, std::int32_t* to) { _mm256_store_si256(reinterpret_cast<__m256i*>(to), x); }

SUANLI_AVX2 void three_terms(const std::int32_t* h, const std::int32_t* l, const std::int32_t* v, const std::int32_t* bh,
                             std::int64_t pairs, std::int32_t* sums) {
  __m256i s[kRows][2];
  for (auto& row : s) row[0] = row[1] = _mm256_setzero_si256();
  for (std::int64_t p = 0; p < pairs; ++p, h += kPanel, l += kPanel, v += kPanel, bh += kPanel) {
    const __m256i v0 = load(v), v1 = load(v + 8), h0 = load(bh), h1 = load(bh + 8);
#pragma GCC unroll 4
    for (std::int64_t i = 0; i < kRows; ++i) {
      const __m256i high = _mm256_set1_epi32(h[i]), low = _mm256_set1_epi32(l[i]);
      s[i][0] = _mm256_add_epi32(s[i][0], _mm256_madd_epi16(high, v0));
      s[i][1] = _mm256_add_epi32(s[i][1], _mm256_madd_epi16(high, v1));
      s[i][0] = _mm256_add_epi32(s[i][0], _mm256_madd_epi16(low, h0));
      s[i][1] = _mm256_add_epi32(s[i][1], _mm256_madd_epi16(low, h1));
    }
  }
  for (std::int64_t i = 0; i < kRows; ++i) {
    store(s[i][0], sums + i * kPanel);
    store(s[i][1], sums + i * kPanel + 8);
  }
}

SUANLI_AVX2 void one_digit(const std::int32_t* digit, const std::int32_t* v, std::int64_t pairs, std::int32_t* sums) {
  __m256i s[kRows][2];
  for (auto& row : s) row[0] = row[1] = _mm256_setzero_si256();
  for (std::int64_t p = 0; p < pairs; ++p, digit += kPanel, v += kPanel) {
    const __m256i v0 = load(v), v1 = load(v + 8);
#pragma GCC unroll 4
    for (std::int64_t i = 0; i < kRows; ++i) {
      const __m256i x = _mm256_set1_epi32(digit[i]);
      s[i][0] = _mm256_add_epi32(s[i][0], _mm256_madd_epi16(x, v0));
      s[i][1] = _mm256_add_epi32(s[i][1], _mm256_madd_epi16(x, v1));
    }
  }
  for (std::int64_t i = 0; i < kRows; ++i) {
    store(s[i][0], sums + i * kPanel);
    store(s[i][1], sums + i * kPanel + 8);
  }
}

// The sums of 4 columns as exact doubles, scaled and rounded once.
SUANLI_AVX2 inline __m128 value_of(__m128i q, const std::int32_t* low, __m256d row, const double* columns) {
  __m256d t = _mm256_mul_pd(_mm256_cvtepi32_pd(q), _mm256_set1_pd(128));
  if (low != nullptr) t = _mm256_add_pd(t, _mm256_cvtepi32_pd(_mm_load_si128(reinterpret_cast<const __m128i*>(low))));
  return _mm256_cvtpd_ps(_mm256_mul_pd(_mm256_mul_pd(t, row), _mm256_load_pd(columns)));
}

// From sums to C: T = 128 middle + low, in units of 2^-(the exponents). low may be null.
SUANLI_AVX2 void finish(const std::int32_t* middle, const std::int32_t* lower, const PanelProduct& p) {
  const bool tame = p.tame();
  const __m256 nan = _mm256_castsi256_ps(_mm256_set1_epi32(0x7FC00000));
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  for (std::int64_t j = 0; j < p.columns; j += 8) {
    const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(p.columns - j)), lanes);
    const __m256 factors = _mm256_load_ps(p.b_scales->factor + j);
    for (std::int64_t i = 0; i < p.rows; ++i) {
      const std::int64_t at = i * kPanel + j;
      float* const c = p.c + i * p.stride + j;
      const __m256i q = load(middle + at);
      const __m256 before = p.add ? _mm256_maskload_ps(c, mask) : _mm256_setzero_ps();
      if (tame) {
        const __m256 x = _mm256_mul_ps(_mm256_cvtepi32_ps(q), _mm256_set1_ps(p.a_scales->factor[i]));
        _mm256_maskstore_ps(c, mask, _mm256_add_ps(before, _mm256_mul_ps(x, factors)));
        continue;
      }
      const __m256d row = _mm256_set1_pd(p.a_scales->inverse[i]);
      const std::int32_t* low = lower == nullptr ? nullptr : lower + at;
      const __m128 first = value_of(_mm256_castsi256_si128(q), low, row, p.b_scales->inverse + j);
      const __m128 second = value_of(_mm256_extracti128_si256(q, 1), low == nullptr ? nullptr : low + 4, row,
                                     p.b_scales->inverse + j + 4);
      const __m256 sum = _mm256_add_ps(before, _mm256_set_m128(second, first));
      const __m256 bad = _mm256_cmp_ps(sum, sum, _CMP_UNORD_Q);
      _mm256_maskstore_ps(c, mask, _mm256_blendv_ps(sum, nan, bad));
    }
  }
}

}  // namespace

SUANLI_AVX2 void multiply_panels_avx2(const PanelProduct& p) {
  alignas(64) std::int32_t q[kPanel * kPanel], low[kPanel * kPanel];
  const std::int64_t pairs = (p.length + 1) / 2, plane = pairs * kPanel;
  const auto* a = reinterpret_cast<const std::int32_t*>(p.a);
  const auto* b = reinterpret_cast<const std::int32_t*>(p.b);
  for (std::int64_t i = 0; i < p.rows; i += kRows)
    for (std::int64_t j = 0; j < p.columns; j += kColumns) {
      const std::int64_t at = i * kPanel + j;
      if (p.terms == 3) {
        three_terms(a + i, a + plane + i, b + j, b + plane + j, pairs, q + at);
      } else {
        one_digit(a + i, b + j, pairs, q + at);
        one_digit(a + plane + i, b + j, pairs, low + at);
      }
    }
  finish(q, p.terms == 3 ? nullptr : low, p);
}

}  // namespace suanli::engine::exact

#else

namespace suanli::engine::exact {

void multiply_panels_avx2(const PanelProduct&) { SUANLI_CHECK(false); }

}  // namespace suanli::engine::exact

#endif
