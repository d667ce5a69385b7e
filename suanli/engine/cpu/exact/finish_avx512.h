// From a panel's sums to C, in AVX-512; for product_avx512.cc and product_amx.cc. x86-64 only.
#pragma once

#include "suanli/engine/cpu/avx512.h"
#include "suanli/engine/cpu/exact/product_panels.h"

#define SUANLI_FINISH __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))

namespace suanli::engine::exact {

// T = 128 (128 high + middle) + low, in units of 2^-(the exponents): [32][32] sums; high or low may be null.
struct PanelSums {
  const std::int32_t* high;
  const std::int32_t* middle;
  const std::int32_t* low;
};

// 8 columns: T as exact doubles, scaled and rounded once.
SUANLI_FINISH inline __m256 value_in_double(__m256i q, const std::int32_t* low, __m512d row, const double* columns) {
  __m512d t = _mm512_mul_pd(_mm512_cvtepi32_pd(q), _mm512_set1_pd(128));
  if (low != nullptr)
    t = _mm512_add_pd(t, _mm512_cvtepi32_pd(_mm256_load_si256(reinterpret_cast<const __m256i*>(low))));
  return _mm512_cvtpd_ps(_mm512_mul_pd(_mm512_mul_pd(t, row), _mm512_load_pd(columns)));
}

// 16 columns of row i, from j on. `tame`: product.tame().
SUANLI_FINISH inline void finish_16(const PanelSums& sums, const PanelProduct& p, std::int64_t i, std::int64_t j, bool tame) {
  const __mmask16 mask = static_cast<__mmask16>(first_of_32(p.columns - j));
  const std::int64_t at = i * kPanel + j;
  float* const c = p.c + i * p.stride + j;
  __m512i q = _mm512_load_si512(sums.middle + at);
  if (sums.high != nullptr) q = _mm512_add_epi32(q, _mm512_slli_epi32(_mm512_load_si512(sums.high + at), 7));
  const __m512 before = p.add ? _mm512_maskz_loadu_ps(mask, c) : _mm512_setzero_ps();
  if (tame) {
    const __m512 x = _mm512_mul_ps(_mm512_cvtepi32_ps(q), _mm512_set1_ps(p.a_scales->factor[i]));
    _mm512_mask_storeu_ps(c, mask, _mm512_add_ps(before, _mm512_mul_ps(x, _mm512_load_ps(p.b_scales->factor + j))));
    return;
  }
  const __m512d row = _mm512_set1_pd(p.a_scales->inverse[i]);
  const std::int32_t* low = sums.low == nullptr ? nullptr : sums.low + at;
  const double* columns = p.b_scales->inverse + j;
  const __m256 first = value_in_double(_mm512_castsi512_si256(q), low, row, columns);
  const __m256 second =
      value_in_double(_mm512_extracti64x4_epi64(q, 1), low == nullptr ? nullptr : low + 8, row, columns + 8);
  const __m512 sum = _mm512_add_ps(before, _mm512_insertf32x8(_mm512_castps256_ps512(first), second, 1));
  const __mmask16 bad = _mm512_cmp_ps_mask(sum, sum, _CMP_UNORD_Q);
  const __m512 nan = _mm512_castsi512_ps(_mm512_set1_epi32(0x7FC00000));
  _mm512_mask_storeu_ps(c, mask, _mm512_mask_mov_ps(sum, bad, nan));
}

SUANLI_FINISH inline void finish_row(const PanelSums& sums, const PanelProduct& p, std::int64_t i, bool tame) {
  finish_16(sums, p, i, 0, tame);
  if (p.columns > 16) finish_16(sums, p, i, 16, tame);
}

}  // namespace suanli::engine::exact
